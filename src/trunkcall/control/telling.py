"""Events on their way to the caller: noted in the meter, emitted in the caller's protocol, written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from trunkcall.control.calls import GenerateCall
from trunkcall.core.events import Event, Fault, Finish, Text, Thinking, ToolCall, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Emitter, Header
from trunkcall.core.requests import Generate
from trunkcall.net.relay import Reply
from trunkcall.protocols.frames import comment
from trunkcall.protocols.headers import RESUMED, dropped_header

KEPT_EVENTS: Final = 100_000
"""Most events of an answer that are kept for going on elsewhere."""


class Telling:
    """One answer in events, from whatever replicas they come. keep: they are kept, so that it can go on elsewhere."""

    def __init__(self, call: GenerateCall, request: Generate, meter: Meter, reply: Reply, *, keep: bool) -> None:
        self._call = call
        self._meter = meter
        self._reply = reply
        self._emitter: Emitter = call.emitter(request)
        self.kept: list[Event] | None = [] if keep else None
        """What was told so far; None when it is not kept, or is too much."""

    def catch_up(self, events: Sequence[Event]) -> None:
        """The caller has had these already, as bytes that were passed through."""
        for event in events:
            self._emitter.feed(event)
        self.kept = list(events)

    async def tell(self, events: AsyncIterator[Event]) -> None:
        """Pass events on until they end. Raises ServingError: that of a Fault, and as Reply.write does."""
        emitter, reply, meter, kept = self._emitter, self._reply, self._meter, self.kept
        async for event in events:
            _note(event, meter)
            if isinstance(event, Fault):
                raise event.error
            if kept is not None:
                kept.append(event)
                if len(kept) > KEPT_EVENTS:
                    kept = self.kept = None
            data = emitter.feed(event)
            if not data:
                continue
            reply.answering = True
            if not reply.started:
                await reply.exchange.begin(200, stream_head(emitter.content_type, meter))
            await reply.exchange.write(data)

    async def last(self, events: Sequence[Event]) -> None:
        """Pass the events on that nobody but us tells."""
        for event in events:
            _note(event, self._meter)
            await self._reply.exchange.write(self._emitter.feed(event))

    async def remark(self, text: str) -> None:
        """Say something beside a stream that has begun, where its protocol has comments."""
        if self._reply.started and self._call.stream and self._call.comment is not None:
            await self._reply.exchange.write(comment(text))

    async def end(self) -> None:
        """All has been said: the end of the stream, or the whole answer."""
        rest = self._emitter.end()
        meter, reply = self._meter, self._reply
        meter.status = 200
        reply.answering = True
        if reply.started:
            await reply.exchange.finish(rest)
        else:
            await reply.whole(200, answer_head(self._emitter.content_type, meter), rest)


def _note(event: Event, meter: Meter) -> None:
    match event:
        case Text() | Thinking() | ToolCall():
            meter.progress()
        case Usage():
            meter.usage = event
        case Finish():
            meter.finish = event.reason
        case _:
            pass


def answer_head(content_type: bytes, meter: Meter | None = None) -> list[Header]:
    """The head of an answer of ours; meter: of the call, where there is something to say of it."""
    head: list[Header] = [(b"content-type", content_type)]
    if meter is not None:
        if meter.dropped:
            head.append(dropped_header(meter.dropped))
        if meter.resumed:
            head.append((RESUMED, meter.resumed.encode()))
    return head


def stream_head(content_type: bytes, meter: Meter | None = None) -> list[Header]:
    """Likewise, of a stream."""
    return [*answer_head(content_type, meter), (b"cache-control", b"no-cache")]
