"""The last lines of this process's own log, kept for whoever administers it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

KEPT: Final = 1000


class LogLines:
    """A bounded list of lines, numbered from 0; any thread may add and read."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=kept)
        self._next = 0

    def add(self, line: str) -> None:
        """Keep a line, in place of the oldest where there is no room."""
        with self._lock:
            self._lines.append(line)
            self._next += 1

    def tail(self, number: int = 0) -> tuple[int, tuple[str, ...]]:
        """The number of the next line, and the lines from this number on that are still there."""
        with self._lock:
            first = self._next - len(self._lines)
            return self._next, tuple(self._lines)[max(0, number - first) :]


OWN_LINES: Final = LogLines()
"""Those of this process; what logs.start has set up adds to them."""
