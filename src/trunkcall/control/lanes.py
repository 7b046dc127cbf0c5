"""The two ways of an answer from a replica to its caller: bytes passed through, or events translated."""

from __future__ import annotations

from functools import cache
from typing import Final, TypeGuard

from trunkcall.control.calls import Call, EmbedCall, GenerateCall
from trunkcall.control.dispatch import Lease
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Fault, Finish, Text, Thinking, ToolCall, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Answer, Backend, Embeds, Forwards, Generates, Header
from trunkcall.net.relay import Reply
from trunkcall.protocols.headers import DROPPED, dropped_header

_PASSED_HEADERS: Final = frozenset(
    {b"content-type", b"retry-after", DROPPED, b"x-trunkcall-failed-by", b"cache-control"}
)


@cache
def _has_forward(kind: type) -> bool:
    return issubclass(kind, Forwards)


def forwards(backend: Backend) -> TypeGuard[Forwards]:
    """Whether a backend has the ability to forward; asked per request, so the slow look is taken once per class."""
    return _has_forward(type(backend))


async def attempt(lease: Lease, call: Call, meter: Meter, reply: Reply) -> None:
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
                await reply.begin(200, stream_head(emitter.content_type, meter.dropped))
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


def stream_head(content_type: bytes, dropped: tuple[str, ...] = ()) -> list[Header]:
    return [*_head(content_type, dropped), (b"cache-control", b"no-cache")]
