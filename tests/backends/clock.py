"""A clock that only pauses move on, in the place of the event loop's."""

from __future__ import annotations

import asyncio


class Clock:
    """Stands for the module `asyncio` where somebody pauses: each pause ends at once, and as late as it was to."""

    def __init__(self) -> None:
        self._now = 0.0

    def get_running_loop(self) -> Clock:
        return self

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)
