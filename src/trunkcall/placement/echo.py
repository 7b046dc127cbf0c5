"""What children print, also on our own stderr: by a thread, because a terminal or a pipe may stall."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Final

MOST: Final = 1 << 20
"""Bytes that wait for a slow stderr; what comes on top is left out."""

_LEFT_OUT: Final = b"\n... output was left out here: nobody read it fast enough ...\n"


class Echo:
    """One for a process; `write` returns at once."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._waiting = bytearray()
        self._full = False
        self._news = threading.Condition()
        threading.Thread(target=self._run, name="echo", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Print a piece of output, or note that some was left out."""
        with self._news:
            if len(self._waiting) + len(data) > MOST:
                if not self._full:
                    self._full = True
                    self._waiting += _LEFT_OUT
                return
            self._waiting += data
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._waiting:
                    self._news.wait()
                data = bytes(self._waiting)
                self._waiting.clear()
                self._full = False
            with contextlib.suppress(OSError):
                while data:
                    data = data[os.write(self._descriptor, data) :]
