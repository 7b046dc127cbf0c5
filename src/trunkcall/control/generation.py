"""One call from grant to last byte: lease, lane, retry before the first byte, measurements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final, TypeGuard

import msgspec

from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Fault, Finish, Queue, Text, Thinking, ToolCall, Usage
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.ports import (
    Answer,
    Backend,
    Embeds,
    Emitter,
    Exchange,
    Forwards,
    Generates,
    Header,
    Journal,
    Response,
)
from trunkcall.core.requests import Embed, Generate, Vectors, Wire
from trunkcall.net.relay import Relay, Reply
from trunkcall.protocols.headers import DROPPED, TIMEOUT, dropped_header, read_timeout

FIRST_COMMENT_SECONDS: Final = 1.0
"""How long a streaming client hears nothing before it is told its place in the queue."""

_PASSED_HEADERS: Final = frozenset(
    {b"content-type", b"retry-after", DROPPED, b"x-trunkcall-failed-by", b"cache-control"}
)
_ATTEMPTS: Final = 2


class GenerateCall(msgspec.Struct, frozen=True):
    """A generation as an api hands it over.

    read: the whole request, decoded only when a replica does not speak the wire's protocol;
    emitter: how events become this protocol's answer; comment: how a stream says that it waits,
    None where it cannot; content_type: of a forwarded answer, None for the upstream's own;
    lease: what the caller has reserved before, released here; prepare: what the request becomes
    for the replica that will answer, where that depends on the replica; accept: told which fields the
    replica drops, raises ServingError where no answer is better than one without them.
    """

    model: str
    stream: bool
    wire: Wire
    read: Callable[[], Generate]
    emitter: Callable[[Generate], Emitter]
    failure: Callable[[ServingError], Response]
    fault: Callable[[ServingError], bytes]
    comment: Callable[[Queue], bytes] | None = None
    content_type: bytes | None = None
    strict: bool = False
    lease: Lease | None = None
    prepare: Callable[[Generate, Generates], Awaitable[Generate]] | None = None
    accept: Callable[[tuple[str, ...]], None] | None = None


class EmbedCall(msgspec.Struct, frozen=True):
    """A request for vectors as an api hands it over.

    prepare: what the request becomes for the replica that will answer, where that depends on the replica.
    """

    model: str
    wire: Wire
    read: Callable[[], Embed]
    emit: Callable[[Vectors, Embed], bytes]
    failure: Callable[[ServingError], Response]
    strict: bool = False
    stream: bool = False
    lease: None = None
    prepare: Callable[[Embed, Embeds], Awaitable[Embed]] | None = None


Call = GenerateCall | EmbedCall


class Serving:
    """What a call needs of this process; one per process, shared by the apis."""

    def __init__(self, dispatch: Dispatch, relay: Relay, journal: Journal, counters: Counters) -> None:
        self.dispatch = dispatch
        self._relay = relay
        self._journal = journal
        self._counters = counters

    async def serve(self, exchange: Exchange, call: Call) -> None:
        """Answer a call; failures are told in the caller's protocol, before or after the first byte."""
        meter = Meter(
            exchange.id,
            model=call.model,
            protocol=call.wire.protocol,
            stream=call.stream,
            key=exchange.principal,
        )
        counters = self._counters.of(call.model) if call.model in self.dispatch.pools else None
        if counters is not None:
            counters.running += 1
        try:
            limit = exchange.header(TIMEOUT)
            deadline = None if limit is None else asyncio.get_running_loop().time() + read_timeout(limit)
            stayed = await self._relay.run(exchange, lambda reply: self._attempts(call, meter, reply), deadline)
            if not stayed:
                meter.error = meter.error or "cancelled"
                meter.status = meter.status or 499
        except ServingError as error:
            meter.error = meter.error or error.kind
            meter.status = meter.status or error.status
            if not exchange.started:
                await exchange.respond(call.failure(error))
            else:
                await exchange.finish(call.fault(error) if isinstance(call, GenerateCall) else b"")
        except BaseException:
            meter.error = meter.error or "bug"
            meter.status = 500
            raise
        finally:
            if call.lease is not None:
                call.lease.release()
            meter.ended = time.monotonic()
            if counters is not None:
                counters.running -= 1
                self._counters.close(meter)
            self._journal.close(meter)

    def cut(self, exchange: Exchange, cause: ServingError) -> None:
        """End a running call for a reason of ours; its caller is told `cause` in the protocol's words."""
        self._relay.cut(exchange, cause)

    async def _attempts(self, call: Call, meter: Meter, reply: Reply) -> None:
        avoid: str | None = None
        while True:
            meter.attempts += 1
            granted = call.lease if meter.attempts == 1 else None
            if granted is None:
                granted = self.dispatch.lease(call.model, key=meter.key, avoid=avoid)
            lease = granted if isinstance(granted, Lease) else await _wait(granted, call, reply)
            meter.replica = lease.replica.id
            if meter.attempts == 1:
                self._journal.open(meter)
            began = time.monotonic()
            try:
                await _attempt(lease, call, meter, reply)
                lease.pool.mean_seconds += 0.1 * (time.monotonic() - began - lease.pool.mean_seconds)
                return
            except ServingError as error:
                if error.kind != "unreachable":
                    raise
                lease.release("unreachable")
                # Only a refusal or a reset before any response byte is tried again: the work cannot have been seen.
                if reply.answering or meter.attempts >= _ATTEMPTS or call.model not in self.dispatch.pools:
                    raise
                avoid = lease.replica.id
            finally:
                lease.release()


async def _wait(wait: Wait, call: Call, reply: Reply) -> Lease:
    """A place in the queue becomes a lease; a streaming caller hears how far it is."""
    try:
        while True:
            done, _ = await asyncio.wait({wait.future}, timeout=FIRST_COMMENT_SECONDS)
            if done:
                lease = wait.future.result()
                wait.taken = True
                return lease
            if isinstance(call, GenerateCall) and call.stream and call.comment is not None:
                if not reply.started:
                    await reply.begin(200, _stream_head(b"text/event-stream"))
                await reply.write(call.comment(Queue(wait.position)))
    finally:
        wait.close()


@cache
def _has_forward(kind: type) -> bool:
    return issubclass(kind, Forwards)


def forwards(backend: Backend) -> TypeGuard[Forwards]:
    """Whether a backend has the ability to forward; asked per request, so the slow look is taken once per class."""
    return _has_forward(type(backend))


async def _attempt(lease: Lease, call: Call, meter: Meter, reply: Reply) -> None:
    backend = lease.backend
    if call.wire.protocol in backend.protocols and forwards(backend):
        async with backend.forward(call.wire, meter) as answer:
            await _pass_on(answer, call, meter, reply)
    elif isinstance(call, EmbedCall):
        if not isinstance(backend, Embeds):
            raise ServingError("unsupported", f"the model {call.model!r} does not give embeddings", param="model")
        await _embed(backend, call, meter, reply)
    elif isinstance(backend, Generates):
        await _translate(backend, call, meter, reply)
    else:
        raise ServingError("unsupported", f"the model {call.model!r} does not generate text", param="model")


async def _pass_on(answer: Answer, call: Call, meter: Meter, reply: Reply) -> None:
    """The forwarding lane: the upstream's bytes, its status, and few of its headers."""
    meter.status = status = answer.status
    if isinstance(call, GenerateCall) and call.content_type is not None:
        head = _head(call.content_type)
    else:
        head = [header for header in answer.headers if header[0] in _PASSED_HEADERS]
    if status >= 400:
        meter.error = meter.error or "upstream_error"
        if not any(name == b"x-trunkcall-failed-by" for name, _ in head):
            head.append((b"x-trunkcall-failed-by", b"upstream"))
    await (_pass_stream if answer.streamed else _pass_whole)(answer, head, reply)


async def _pass_stream(answer: Answer, head: list[Header], reply: Reply) -> None:
    write = reply.write
    async for piece in answer:
        if not reply.answering:
            reply.answering = True
            if not reply.started:
                await reply.begin(answer.status, head)
        await write(piece)
    if not reply.started:
        await reply.begin(answer.status, head)
    await reply.finish()


async def _pass_whole(answer: Answer, head: list[Header], reply: Reply) -> None:
    body = b"".join([piece async for piece in answer])
    reply.answering = True
    if reply.started:
        # The stream began with queue comments, so an error that came as JSON is told as a frame.
        await reply.finish(b"data: " + body.strip() + b"\n\n" if answer.status >= 400 else body)
        return
    head.append((b"content-length", b"%d" % len(body)))
    await reply.begin(answer.status, head)
    await reply.finish(body)


async def _translate(backend: Generates, call: GenerateCall, meter: Meter, reply: Reply) -> None:
    """The translating lane: decode, let the backend answer in events, encode."""
    request = call.read()
    if call.prepare is not None:
        request = await call.prepare(request, backend)
    async with backend.open(request, meter) as events:
        _refuse_dropped(call, meter)
        emitter = call.emitter(request)
        async for event in events:
            _note(event, meter)
            if isinstance(event, Fault):
                raise event.error
            data = emitter.feed(event)
            if not data:
                continue
            reply.answering = True
            if not reply.started:
                await reply.begin(200, _stream_head(emitter.content_type, meter.dropped))
            await reply.write(data)
    rest = emitter.end()
    meter.status = 200
    reply.answering = True
    if not reply.started:
        head = _head(emitter.content_type, meter.dropped)
        head.append((b"content-length", b"%d" % len(rest)))
        await reply.begin(200, head)
    await reply.finish(rest)


async def _embed(backend: Embeds, call: EmbedCall, meter: Meter, reply: Reply) -> None:
    request = call.read()
    if call.prepare is not None:
        request = await call.prepare(request, backend)
    vectors = await backend.embed(request, meter)
    _refuse_dropped(call, meter)
    meter.usage = Usage(vectors.prompt_tokens, 0)
    meter.status = 200
    body = call.emit(vectors, request)
    head = _head(b"application/json", meter.dropped)
    head.append((b"content-length", b"%d" % len(body)))
    await reply.begin(200, head)
    await reply.finish(body)


def _note(event: object, meter: Meter) -> None:
    match event:
        case Text() | Thinking() | ToolCall():
            meter.progress()
        case Usage():
            meter.usage = event
        case Finish():
            meter.finish = event.reason
        case _:
            pass


def _refuse_dropped(call: Call, meter: Meter) -> None:
    if isinstance(call, GenerateCall) and call.accept is not None:
        call.accept(meter.dropped)
    if call.strict and meter.dropped:
        raise ServingError(
            "unsupported",
            f"the model {call.model!r} cannot honour: {', '.join(meter.dropped)}. "
            "Leave them out, or send the request without x-trunkcall-strict",
            param=meter.dropped[0],
        )


def _head(content_type: bytes, dropped: tuple[str, ...] = ()) -> list[Header]:
    head: list[Header] = [(b"content-type", content_type)]
    if dropped:
        head.append(dropped_header(dropped))
    return head


def _stream_head(content_type: bytes, dropped: tuple[str, ...] = ()) -> list[Header]:
    return [*_head(content_type, dropped), (b"cache-control", b"no-cache")]
