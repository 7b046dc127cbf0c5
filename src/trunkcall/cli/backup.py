"""`trunkcall backup` and `trunkcall restore`: the ledger, the journal, keys and added models in one file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

from trunkcall.cli.offline import Offline, find
from trunkcall.home import MODELS_FILE, Home, locate
from trunkcall.store import archive
from trunkcall.store.archive import Progress, Saved

_LISTS: Final = (MODELS_FILE, "workers.json")
"""What of a home is kept beside the ledger and the journal."""


def backup(file: Path, home_flag: Path | None, told: Offline) -> None:
    """Write a backup, also while the server runs; raises ServingError as archive.save does."""
    home = Home(locate(home_flag, os.environ))
    url, _ = find(home, told)
    home.ensure()
    with _progress("backing up") as progress:
        saved = archive.save(file, url, home.path, _LISTS, progress)
    print(f"{file}: {_told(saved)}, {file.stat().st_size:,} bytes")


def restore(file: Path, home_flag: Path | None, told: Offline, force: bool) -> None:
    """Put a backup in place; raises ServingError as archive.restore does, and conflict while a server runs."""
    home = Home(locate(home_flag, os.environ))
    url, _ = find(home, told)
    with home.lock(), _progress("restoring") as progress:
        saved = archive.restore(file, url, home.path, _LISTS, progress, force=force)
    print(f"restored {_told(saved)}")


def _told(saved: Saved) -> str:
    parts = [f"{saved.rows:,} rows of the ledger", f"{saved.journal} files of the journal", *saved.lists]
    return ", ".join(parts)


@contextlib.contextmanager
def _progress(what: str) -> Generator[Progress]:
    """A bar on a terminal's stderr, for what takes long."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
