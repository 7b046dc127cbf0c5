"""Whether somebody needs a model's engines, since when, and who is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Demand(asyncio.Event):
    """Set by the first who finds no engine to ask; stays set while the model is to be kept loaded.

    since: `time.monotonic()` seconds, when it was set; calls: how often somebody asked for it, also while it was set;
    told: called at each of these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.since = 0.0
        self.calls = 0
        self.told: Callable[[], None] | None = None

    def set(self) -> None:
        """Somebody needs the engines now."""
        if not self.is_set():
            self.since = time.monotonic()
        self.calls += 1
        super().set()
        if self.told is not None:
            self.told()
