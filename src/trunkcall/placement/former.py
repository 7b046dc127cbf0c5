"""Processes that a killed server of this home has left behind: found by the mark of its children, and ended.

Children end by their link when the server ends, however it ends; those that others wrote are ended by a runner, and are
left when that was killed too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MARK: Final = "TRUNKCALL_SERVER"
"""The environment variable that names the server whose child a process is: HOME, process id, start time."""
GRACE_SECONDS: Final = 2.0

_PROC: Final = Path("/proc")


def mark(home: Path) -> dict[str, str]:
    """What the environment of this server's children holds; SPT_NOENV keeps setproctitle from overwriting it."""
    pid = os.getpid()
    return {MARK: f"{home.resolve()}:{pid}:{_started(pid)}", "SPT_NOENV": "1"}


def end_left_behind(home: Path, grace: float = GRACE_SECONDS) -> list[int]:
    """End what former servers of this home have left, and give the process ids; on Linux only.

    Only one server at a time may have the home. Each is ended over a descriptor of its own, so that no other process
    is hit that got its id meanwhile.
    """
    if sys.platform != "linux":
        return []
    with contextlib.ExitStack() as opened:
        found: dict[int, int] = {}
        for pid in (int(entry.name) for entry in _PROC.glob("[0-9]*")):
            if _left_behind(pid, home):
                with contextlib.suppress(OSError):
                    descriptor = os.pidfd_open(pid)
                    opened.callback(os.close, descriptor)
                    # It may be another one than was looked at.
                    if _left_behind(pid, home):
                        found[pid] = descriptor
        _signal(found.values(), signal.SIGTERM)
        waiting = set(found.values())
        end = time.monotonic() + grace
        while waiting and (left := end - time.monotonic()) > 0:
            waiting.difference_update(select.select(list(waiting), (), (), left)[0])
        _signal(waiting, signal.SIGKILL)
        return sorted(found)


def _signal(descriptors: Iterable[int], number: signal.Signals) -> None:
    if sys.platform == "linux":
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptor, number)


def _left_behind(pid: int, home: Path) -> bool:
    """Whether a process is a child of a server of this home that is no more."""
    try:
        words = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    marks = [word for word in words if word.startswith(MARK.encode() + b"=")]
    if len(marks) != 1:
        return False
    place, server, started = ("::" + os.fsdecode(marks[0]).partition("=")[2]).rsplit(":", 2)
    if place != f"::{home.resolve()}" or not server.isdecimal() or not started:
        return False
    return _started(int(server)) != started and pid not in _line(os.getpid())


def _started(pid: int) -> str:
    """When a process was started, in ticks since the boot; empty when there is none, or only its remains."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def _line(pid: int) -> set[int]:
    """A process and those that it descends from."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if len(fields) > 1 else 0
    return found


def _stat(pid: int) -> list[str]:
    """The fields of a process's state, from the third one on."""
    try:
        # The name before may hold spaces and brackets.
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
