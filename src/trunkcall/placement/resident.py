"""How much memory processes take, with all that they started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path


def resident(pids: Sequence[int], root: Path = Path("/")) -> list[int]:
    """Bytes of memory that each process holds with its descendants; 0 for one that is gone, or without a /proc.

    Pages that several of them share count for each. root: where proc is found.
    """
    children: dict[int, list[int]] = {}
    for entry in (root / "proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name before may hold spaces and brackets.
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    return [_with_descendants(pid, children, root) for pid in pids]


def _with_descendants(pid: int, children: dict[int, list[int]], root: Path) -> int:
    size, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, ())
        with contextlib.suppress(OSError, ValueError, IndexError):
            size += int((root / f"proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return size
