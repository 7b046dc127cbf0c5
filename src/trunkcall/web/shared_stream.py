"""One answer that carries those of several calls, as events that name which of them they are of."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Header, Response
from trunkcall.net.inner import Inner
from trunkcall.protocols.frames import event


class SharedStream:
    """The answer of `exchange`, shared by a part for each of `asked`: its path and its body."""

    def __init__(self, exchange: Exchange, asked: Sequence[tuple[str, bytes]]) -> None:
        self.exchange = exchange
        self.parts = [Part(self, place, path, body) for place, (path, body) in enumerate(asked)]
        self._turn = asyncio.Lock()

    async def run(self, part: Part, answer: Callable[[Exchange], Awaitable[None]]) -> None:
        """Have a part answered to its end, whatever becomes of the others; answer: tells failures by itself."""
        part.task = task = asyncio.current_task()
        try:
            try:
                await answer(part)
            except asyncio.CancelledError:
                # Meant is this part alone when it was left, unless all are cancelled as well.
                if task is None or not part.left or task.uncancel():
                    raise
            await self.tell("end", {"part": part.place})
        except ServingError:
            # The client has left: nobody is to be told.
            return
        finally:
            part.task = None

    async def tell(self, kind: str, about: Any) -> None:
        """Send an event; waits while the client does not read, one after the other."""
        async with self._turn:
            await self.exchange.write(event(kind, about))

    def leave(self) -> None:
        """The client has gone: all parts stop."""
        for part in self.parts:
            part.leave()


class Part(Inner):
    """Fits core.ports.Exchange: one of the calls, whose answer goes out as events of the shared stream."""

    def __init__(self, stream: SharedStream, place: int, path: str, body: bytes) -> None:
        super().__init__(stream.exchange, place, body)
        self.path = path
        self.left = False
        """The answer is not wanted any longer."""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._on_gone: Callable[[], None] | None = None

    @property
    def unread(self) -> int:
        """As of the shared stream."""
        return self.outer.unread

    async def respond(self, response: Response) -> None:
        """Send a whole answer; does nothing when one has begun."""
        if self.started:
            return
        await self.begin(response.status, response.headers)
        await self.finish(response.body)

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Tell the head."""
        self.started = True
        told = {name.decode(): value.decode("latin-1") for name, value in (*headers, *self.extra_headers)}
        told["x-trunkcall-request-id"] = self.id
        await self._stream.tell("head", {"part": self.place, "status": status, "headers": told})

    async def write(self, data: bytes) -> None:
        """Tell a piece of the body."""
        text = self._decoder.decode(data)
        if text:
            await self._stream.tell("body", {"part": self.place, "text": text})

    def push(self, data: bytes) -> bool:
        """Tell a piece at once; gives whether there is room for another."""
        text = self._decoder.decode(data)
        return not text or self.outer.push(event("body", {"part": self.place, "text": text}))

    async def finish(self, data: bytes = b"") -> None:
        """Tell the last piece."""
        await self.write(data)
        self.complete = True

    def leave(self) -> None:
        """The answer is not wanted any longer."""
        self.left = True
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    def when_gone(self, callback: Callable[[], None]) -> Part:
        """Call back once when the answer is not wanted any longer; at once when that was said before."""
        if self.left:
            callback()
        else:
            self._on_gone = callback
        return self

    def close(self) -> None:
        """No longer call back."""
        self._on_gone = None
