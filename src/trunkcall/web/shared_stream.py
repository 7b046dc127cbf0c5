"""One answer that carries those of several calls, as events that name which of them they are of."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Exchange, Header, Response
from trunkcall.protocols import openai as codec


class SharedStream:
    """The answer of `exchange`, shared by so many parts."""

    def __init__(self, exchange: Exchange, parts: int) -> None:
        self.exchange = exchange
        self.parts = [Part(self, place) for place in range(parts)]
        self._turn = asyncio.Lock()

    async def run(self, part: Part, work: Callable[[Part], Awaitable[None]]) -> None:
        """Do a part's work to its end, whatever becomes of the others."""
        part.task = asyncio.current_task()
        try:
            try:
                await work(part)
            except ServingError as error:
                await part.respond(codec.failure(error))
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


def event(kind: str, about: Any) -> bytes:
    """One server-sent event; JSON has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(about))


class Part:
    """Fits core.ports.Exchange: one of the calls, whose answer goes out as events of the shared stream."""

    method = "POST"
    query = b""

    def __init__(self, stream: SharedStream, place: int) -> None:
        outer = stream.exchange
        self._stream = stream
        self.place = place
        self.path = outer.path
        self.headers = outer.headers
        self.parameters = outer.parameters
        self.client = outer.client
        self.id = f"{outer.id}-{place}"
        self.principal = outer.principal
        self.meter: Meter | None = None
        self.started = False
        self.extra_headers: list[Header] = []
        self.task: asyncio.Task[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._on_gone: Callable[[], None] | None = None
        self._gone = False

    @property
    def unread(self) -> int:
        """As of the shared stream."""
        return self._stream.exchange.unread

    def header(self, name: bytes) -> bytes | None:
        """As the shared request has it."""
        return self._stream.exchange.header(name)

    async def body(self) -> bytes:
        """The whole shared body."""
        return await self._stream.exchange.body()

    async def respond(self, response: Response) -> None:
        """Send a whole answer; does nothing when one has begun."""
        if self.started:
            return
        await self.begin(response.status, response.headers)
        await self.write(response.body)

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
        return not text or self._stream.exchange.push(event("body", {"part": self.place, "text": text}))

    async def finish(self, data: bytes = b"") -> None:
        """Tell the last piece."""
        await self.write(data)

    def cancel(self) -> None:
        """Cancel this part's work, and no other's."""
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """The answer is not wanted any longer."""
        self._gone = True
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    def when_gone(self, callback: Callable[[], None]) -> Part:
        """Call back once when the answer is not wanted any longer; at once when that was said before."""
        if self._gone:
            callback()
        else:
            self._on_gone = callback
        return self

    def close(self) -> None:
        """No longer call back."""
        self._on_gone = None
