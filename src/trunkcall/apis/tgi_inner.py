"""One HTTP request that asks several things: each is answered on an exchange of its own, which only collects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from trunkcall.core.ports import Exchange, Header, Response
from trunkcall.net.inner import Inner


class _NoWatch:
    """The outer exchange watches for a client that leaves."""

    def close(self) -> None:
        return


class Collecting(Inner):
    """Fits core.ports.Exchange; `answer` is what was said, once it is complete. Made in the task that answers."""

    unread = 0

    def __init__(self, outer: Exchange, place: int, body: bytes) -> None:
        super().__init__(outer, place, body)
        self.task = asyncio.current_task()
        self.answer = Response(500, b"")
        self._status = 0
        self._pieces: list[bytes] = []

    async def respond(self, response: Response) -> None:
        """Keep a whole answer."""
        if not self.started:
            self.started = self.complete = True
            self.answer = response

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Begin to keep an answer."""
        self.started = True
        self._status = status

    async def write(self, data: bytes) -> None:
        """Keep a piece."""
        self._pieces.append(data)

    def push(self, data: bytes) -> bool:
        """Keep a piece."""
        self._pieces.append(data)
        return True

    async def finish(self, data: bytes = b"") -> None:
        """Keep the last piece."""
        self._pieces.append(data)
        self.complete = True
        self.answer = Response(self._status, b"".join(self._pieces))

    def when_gone(self, callback: Callable[[], None]) -> _NoWatch:
        """Never calls back: whoever leaves cancels the outer task, and with it this one."""
        return _NoWatch()
