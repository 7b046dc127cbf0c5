"""The two ways of an answer from a replica to its caller: bytes passed through, or events translated."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cache
from typing import Final, TypeGuard, cast

import msgspec

from trunkcall.control.calls import Call, EmbedCall, GenerateCall
from trunkcall.control.dispatch import Lease
from trunkcall.control.recovery import Again, Recovery, resumable, resumes, traced
from trunkcall.control.refusals import UpstreamRefusal, refuses
from trunkcall.control.telling import Telling, answer_head
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Answer, Backend, Embeds, Forwards, Generates, Header, Pours, Retains
from trunkcall.net.relay import Reply
from trunkcall.protocols.headers import DROPPED, FAILED_BY, RETRY_AFTER, TRACED

_PASSED_HEADERS: Final = frozenset({b"content-type", RETRY_AFTER, DROPPED, FAILED_BY, b"cache-control"})

_TRACED: Final[Header] = (TRACED, b"1")


@cache
def _has(kind: type, ability: type) -> bool:
    # Requests ask for it; Python takes longer to see whether a class fits a protocol than to pass a chunk on.
    return issubclass(kind, ability)


def forwards(backend: Backend) -> TypeGuard[Forwards]:
    """Whether a backend has the ability to forward."""
    return _has(type(backend), Forwards)


def _generates(backend: Backend) -> TypeGuard[Generates]:
    return _has(type(backend), Generates)


def _retaining(answer: Answer) -> Retains | None:
    return cast(Retains, answer) if _has(type(answer), Retains) else None


async def attempt(lease: Lease, call: Call, meter: Meter, reply: Reply, again: Again) -> None:
    """Answer by the leased replica; again: gives the one on which a stream goes on that has begun here."""
    backend = lease.backend
    if call.wire.protocol in backend.protocols and forwards(backend):
        if isinstance(call, GenerateCall) and resumable(lease):
            await _pass_resumably(lease, backend, call, meter, reply, again)
            return
        async with backend.forward(call.wire, meter) as answer:
            await _pass_on(answer, call, meter, reply)
    elif isinstance(call, EmbedCall):
        if not isinstance(backend, Embeds):
            raise ServingError("unsupported", f"the model {call.model!r} does not give embeddings", param="model")
        await _embed(backend, call, meter, reply)
    elif _generates(backend):
        await _translate(lease, backend, call, meter, reply, again)
    else:
        raise ServingError("unsupported", f"the model {call.model!r} does not generate text", param="model")


async def _pass_resumably(
    lease: Lease, backend: Forwards, call: GenerateCall, meter: Meter, reply: Reply, again: Again
) -> None:
    """The forwarding lane where a stream can go on elsewhere: from then on it is translated."""
    wire = call.wire
    if "greedy" in resumes(lease):
        wire = msgspec.structs.replace(wire, headers=[*wire.headers, _TRACED])
    retaining: Retains | None = None
    try:
        async with backend.forward(wire, meter) as answer:
            retaining = _retaining(answer)
            if retaining is not None:
                retaining.retain()
            await _pass_on(answer, call, meter, reply)
        return
    except ServingError as error:
        if retaining is None or not reply.answering or not error.is_of_replica:
            raise
        failure = error
    request = call.read()
    events = retaining.retold(request)
    if events is None:
        raise failure
    telling = Telling(call, request, meter, reply, keep=True)
    telling.catch_up(events)
    await Recovery(call, meter, lease, again).go_on(telling, failure)


async def _pass_on(answer: Answer, call: Call, meter: Meter, reply: Reply) -> None:
    """The forwarding lane: the upstream's bytes, its status, and few of its headers."""
    meter.status = status = answer.status
    if isinstance(call, GenerateCall) and call.content_type is not None:
        head = answer_head(call.content_type)
    else:
        head = [header for header in answer.headers if header[0] in _PASSED_HEADERS]
    if status >= 400 and not any(name == FAILED_BY for name, _ in head):
        head.append((FAILED_BY, b"upstream"))
    if refuses(status):
        raise UpstreamRefusal(status, answer.headers, head, b"".join([piece async for piece in answer]))
    if status >= 400:
        meter.error = meter.error or "upstream_error"
    if answer.streamed:
        await _pass_stream(answer, head, reply)
    else:
        await _pass_whole(status, head, await answer.whole(), reply)


async def pass_refusal(refusal: UpstreamRefusal, meter: Meter, reply: Reply) -> None:
    """Give the caller the upstream's own answer, since nobody else has a better one."""
    meter.status = refusal.answered
    meter.error = meter.error or "upstream_error"
    await _pass_whole(refusal.answered, refusal.head, refusal.body, reply)


async def _pass_stream(answer: Answer, head: list[Header], reply: Reply) -> None:
    status, exchange = answer.status, reply.exchange
    pour = cast(Pours, answer).pour if _has(type(answer), Pours) else None
    async for piece in answer:
        if not reply.answering:
            reply.answering = True
            if not reply.started:
                await exchange.begin(status, head)
        await exchange.write(piece)
        if pour is not None:
            # What comes from here on does without a turn of this task.
            await pour(exchange.push)
    if not reply.started:
        await exchange.begin(status, head)
    await exchange.finish()


def _pass_whole(status: int, head: list[Header], body: bytes, reply: Reply) -> Awaitable[None]:
    reply.answering = True
    if reply.started:
        # The stream began with queue comments, so an error that came as JSON is told as a frame.
        return reply.exchange.finish(b"data: " + body.strip() + b"\n\n" if status >= 400 else body)
    return reply.whole(status, head, body)


async def _translate(
    lease: Lease, backend: Generates, call: GenerateCall, meter: Meter, reply: Reply, again: Again
) -> None:
    """The translating lane: decode, let the backend answer in events, encode."""
    request = call.read()
    if call.prepare is not None:
        request = await call.prepare(request, backend)
    telling: Telling | None = None
    try:
        async with backend.open(traced(lease, request), meter) as events:
            _refuse_dropped(call, meter)
            telling = Telling(call, request, meter, reply, keep=resumable(lease))
            await telling.tell(events)
    except ServingError as error:
        if telling is None or not telling.kept or not error.is_of_replica:
            raise
        await Recovery(call, meter, lease, again).go_on(telling, error)
    else:
        await telling.end()


async def _embed(backend: Embeds, call: EmbedCall, meter: Meter, reply: Reply) -> None:
    request = call.read()
    if call.prepare is not None:
        request = await call.prepare(request, backend)
    vectors = await backend.embed(request, meter)
    _refuse_dropped(call, meter)
    meter.usage = Usage(vectors.prompt_tokens, 0)
    meter.status = 200
    await reply.whole(200, answer_head(b"application/json", meter), call.emit(vectors, request))


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
