"""The last requests and those that run: what happened to each, for people."""

from __future__ import annotations

from collections import deque
from typing import Final

from trunkcall.core.meter import Meter

KEPT: Final = 1000


class Stories:
    """Keeps the meters of running requests and of the last that ended."""

    def __init__(self) -> None:
        self._running: dict[int, Meter] = {}
        self._ended: deque[Meter] = deque(maxlen=KEPT)

    def began(self, meter: Meter) -> None:
        """A request has arrived."""
        self._running[id(meter)] = meter

    def ended(self, meter: Meter) -> None:
        """A request has ended."""
        self._running.pop(id(meter), None)
        self._ended.append(meter)
