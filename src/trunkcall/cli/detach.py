"""A server in the background: started and watched until it is ready, and ended in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from trunkcall import __version__
from trunkcall.cli.server import Up
from trunkcall.core.errors import ServingError
from trunkcall.home import Home, ServerInfo, locate

START_SECONDS: Final = 120.0
"""A server that is not ready by then is ended; a database that is away is waited for, which is the longest."""
END_SECONDS: Final = 600.0
"""Longest wait for running answers without --timeout; the setting drain_timeout usually ends it long before."""
CUT_SECONDS: Final = 15.0
"""Once answers are cut, the rest takes so long at most."""
_LOOK: Final = 0.05
_TOLD: Final = 20
"""Last lines of its log that a failed start is explained with."""


def start(asked: Up) -> int:
    """Start a server whose log is HOME/logs/server.log and say where it listens.

    Gives 0 once it is ready; else its own exit code, after its last lines on stderr. Raises ServingError
    (conflict) when a server runs on the home already.
    """
    home = Home(locate(Path(asked.home) if asked.home else None, os.environ))
    running = home.running()
    if running is not None:
        raise ServingError("conflict", f"a server already uses {home.path}: {running}. End it with: trunkcall down")
    home.ensure()
    with home.server_log.open("ab") as log:
        home.server_log.chmod(0o600)
        began_at = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "trunkcall.cli.server", msgspec.json.encode(asked).decode()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    info = None
    try:
        info = _ready(home, child)
    finally:
        if info is None:
            _end(child)
    if info is None:
        lines = _lines_since(home.server_log, began_at)
        print("\n".join(lines[-_TOLD:]) or "trunkcall: it said nothing", file=sys.stderr)
        print(f"trunkcall: the server did not start; its log is {home.server_log}", file=sys.stderr)
        return child.returncode if child.returncode > 0 else 1
    flag = f" --home {asked.home}" if asked.home else ""
    print(
        f"Trunkcall {__version__} runs in the background, {info}.\n\n"
        f"  Log     {home.server_log}\n  State   trunkcall status{flag}\n  End     trunkcall down{flag}"
    )
    # Popen complains of a child that outlives it, which is what was asked for.
    child.returncode = 0
    return 0


def down(home_flag: Path | None, timeout: float | None) -> int:
    """End the server of a home: running answers are finished, for `timeout` seconds at most, then cut.

    Gives 0 when none runs any more, 1 when it still does.
    """
    home = Home(locate(home_flag, os.environ))
    info = home.running()
    if info is None:
        print(f"no server runs on {home.path}")
        return 0
    patience = END_SECONDS if timeout is None else timeout
    _signal(home, info, signal.SIGTERM)
    if not _gone(home, info, patience):
        print(f"trunkcall: answers still run after {patience:g} s and are cut", file=sys.stderr)
        _signal(home, info, signal.SIGTERM)
        if not _gone(home, info, CUT_SECONDS):
            print(
                f"trunkcall: {info} does not end; its log may say why: {home.server_log}. "
                f"`kill -9 {info.pid}` ends it, and the ledger stays right",
                file=sys.stderr,
            )
            return 1
    print(f"the server of {home.path} has ended, {info}")
    return 0


def _ready(home: Home, child: subprocess.Popen[bytes]) -> ServerInfo | None:
    end = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < end:
        info = home.running()
        if info is not None and info.pid == child.pid and info.url:
            return info
        time.sleep(_LOOK)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(CUT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _lines_since(path: Path, offset: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace").splitlines()


def _signal(home: Home, info: ServerInfo, number: int) -> None:
    """Send a signal to the very process that holds the home, not to another that has got its number."""
    if not info.alive:
        raise ServingError("conflict", f"{home.path} is held by {info}; try again in a moment")
    try:
        os.kill(info.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise ServingError("forbidden", f"{info} belongs to another user: end it as that one") from None


def _gone(home: Home, info: ServerInfo, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        now = home.running()
        if now is None or now.pid not in (0, info.pid):
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK)
