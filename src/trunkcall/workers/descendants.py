"""All that descends from this process, in whatever process group it is: found, and ended with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_PAUSE: Final = 0.02


def adopt_orphans() -> None:
    """What a child starts stays our descendant when that child ends before it. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """The process ids of the living; empty where there is no /proc, as on macOS."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name before may hold spaces and brackets.
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.parent.name))
    found: list[int] = []
    parents = [os.getpid()]
    while parents:
        theirs = children.get(parents.pop(), [])
        found += theirs
        parents += theirs
    return found


def send(number: signal.Signals, *pids: int) -> None:
    """A signal to processes that may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_all(seconds: float) -> None:
    """End all descendants: SIGTERM, and SIGKILL after so many seconds.

    Where they cannot be found, the process group is killed if it is our own, and so are we.
    """
    send(signal.SIGTERM, *descendants())
    end = time.monotonic() + seconds
    while descendants() and time.monotonic() < end:
        time.sleep(_PAUSE)
    send(signal.SIGKILL, *descendants())
    if sys.platform != "linux" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
