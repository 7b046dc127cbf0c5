"""One HTTP request that asks several things: each is answered on an exchange of its own, which only collects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from trunkcall.core.meter import Meter
from trunkcall.core.ports import Exchange, Header, Response


class _NoWatch:
    """The outer exchange watches for a client that leaves."""

    def close(self) -> None:
        return


class Inner:
    """Fits core.ports.Exchange; `answer` is what was said, once it is complete."""

    method = "POST"
    query = b""
    unread = 0

    def __init__(self, outer: Exchange, place: int) -> None:
        self.path = outer.path
        self.headers = outer.headers
        self.parameters = outer.parameters
        self.client = outer.client
        self.id = f"{outer.id}-{place}"
        self.principal = outer.principal
        self.meter: Meter | None = None
        self.started = False
        self.extra_headers: list[Header] = []
        self.answer = Response(500, b"")
        self._outer = outer
        self._task = asyncio.current_task()
        self._status = 0
        self._pieces: list[bytes] = []

    def header(self, name: bytes) -> bytes | None:
        """As the outer request has it."""
        return self._outer.header(name)

    async def body(self) -> bytes:
        """The whole outer body."""
        return await self._outer.body()

    async def respond(self, response: Response) -> None:
        """Keep a whole answer."""
        if not self.started:
            self.started = True
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
        self.answer = Response(self._status, b"".join(self._pieces))

    def cancel(self) -> None:
        """Cancel the task in which this was made."""
        if self._task is not None:
            self._task.cancel()

    def when_gone(self, callback: Callable[[], None]) -> _NoWatch:
        """Never calls back: whoever leaves cancels the outer task, and with it this one."""
        return _NoWatch()
