"""Which revision a ledger's tables are of, and bringing them to the newest."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.store.database import Database, away

REVISION: Final = "0003"
"""The newest of store/migrations/versions; revisions sort by name."""
_LIMIT: Final = 600.0
"""Seconds that a migration may take; 0002 sums up a million requests in about ten."""


def revision(database: Database) -> str:
    """The revision of a database's tables; empty where there are none."""
    try:
        found = database.query("SELECT version_num FROM alembic_version")
    except ServingError:
        return ""
    return found[0][0] if found else ""


def bring_up_to_date(database: Database, url: str, alive: Callable[[], None] = lambda: None) -> None:
    """Make or upgrade the tables where that is needed, in a child process of its own; `alive` is called meanwhile.

    Raises ServingError: conflict for a ledger of a newer version, unreachable when it could not be done.
    """
    found = revision(database)
    if found == REVISION:
        return
    if found > REVISION:
        raise ServingError(
            "conflict", f"the ledger is at revision {found}, written by a newer Trunkcall than this ({REVISION})"
        )
    command = [sys.executable, "-m", "trunkcall.store.migrate"]
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
    except OSError as error:
        raise away(error) from error
    with child:
        end = time.monotonic() + _LIMIT
        told: str | None = url
        while True:
            try:
                _, errors = child.communicate(told, timeout=1.0)
                break
            except subprocess.TimeoutExpired as error:
                told = None
                alive()
                if time.monotonic() > end:
                    child.kill()
                    raise away(error) from error
            except BaseException:
                child.kill()
                raise
    if child.returncode:
        lines = errors.strip().splitlines() or ["no reason given"]
        raise ServingError("unreachable", f"the ledger's schema could not be brought up to date: {lines[-1]}")
