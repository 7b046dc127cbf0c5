"""How often and how long a busy upstream is asked again."""

from __future__ import annotations

import asyncio
from typing import Final

from trunkcall.core.errors import ServingError

RETRY_AFTER: Final = 5.0
"""Seconds after which a caller whose patience is over may come back."""

_DOUBLINGS: Final = 20

_TICK: Final = 0.001
"""Seconds; loops count in milliseconds, and a pause for less than one does not pause at all."""


def next_pause(tried: int, first: float, most: float, left: float) -> float | None:
    """Seconds until the next try: `first`, doubled each time up to `most`, the last one at the very end.

    tried: pauses made so far; left: seconds of patience; None when there is none worth a pause.
    """
    if left < _TICK:
        return None
    return min(first * 2 ** min(tried, _DOUBLINGS), most, left)


class Patience:
    """The pauses of one request; its time runs from its making. All in seconds."""

    def __init__(self, first: float, most: float, whole: float) -> None:
        self._first = first
        self._most = most
        self._whole = whole
        self._until = asyncio.get_running_loop().time() + whole
        self._tried = 0

    async def pause(self, busy: str) -> None:
        """Wait before the next try; `busy` says who has no time.

        Raises ServingError (overloaded, with retry_after) when the patience is over.
        """
        left = self._until - asyncio.get_running_loop().time()
        pause = next_pause(self._tried, self._first, self._most, left)
        if pause is None:
            raise ServingError(
                "overloaded",
                f"{busy} was busy for {self._whole:g} s; try again later, or raise the option patience",
                retry_after=RETRY_AFTER,
            )
        self._tried += 1
        await asyncio.sleep(pause)
