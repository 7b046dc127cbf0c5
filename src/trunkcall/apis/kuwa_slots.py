"""How many calls an executor answers at once, and which of them came by which endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from trunkcall.core.ports import Exchange

PATIENCE: Final = 0.5
"""Seconds before a caller hears that all slots are taken: who left a moment ago may still be leaving."""


class Slots:
    """Room for `limit` calls; a call can be found by the number of its endpoint until it has ended."""

    def __init__(self, limit: int) -> None:
        self._room = asyncio.Semaphore(limit)
        self._running: dict[Exchange, tuple[int, asyncio.Event]] = {}

    @property
    def busy(self) -> bool:
        """Whether any call runs."""
        return bool(self._running)

    @asynccontextmanager
    async def hold(self, exchange: Exchange, endpoint: int) -> AsyncGenerator[bool]:
        """A slot for the time of this context; False when none is free."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._room.acquire()
        except TimeoutError:
            yield False
            return
        ended = asyncio.Event()
        self._running[exchange] = (endpoint, ended)
        try:
            yield True
        finally:
            del self._running[exchange]
            self._room.release()
            ended.set()

    def of(self, endpoint: int) -> list[Exchange]:
        """The calls that came by an endpoint and have not ended."""
        return [exchange for exchange, (number, _) in self._running.items() if number == endpoint]

    async def ended(self, exchanges: list[Exchange], seconds: float) -> None:
        """Wait until these calls have given their slots back, at most so long."""
        events = [self._running[exchange][1] for exchange in exchanges if exchange in self._running]
        try:
            async with asyncio.timeout(seconds):
                for event in events:
                    await event.wait()
        except TimeoutError:
            pass
