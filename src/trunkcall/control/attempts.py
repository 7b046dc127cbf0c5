"""The tries of one call: a lease, the way to the caller, and before the first byte another replica or another model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from functools import partial
from typing import Final

from trunkcall.control.affinity import Belonging
from trunkcall.control.breaker import judge
from trunkcall.control.calls import Call, GenerateCall
from trunkcall.control.choice import AFFINE
from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.lanes import attempt, pass_refusal
from trunkcall.control.refusals import UpstreamRefusal, refuses
from trunkcall.control.telling import stream_head
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.events import Queue
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Journal
from trunkcall.net.relay import Reply
from trunkcall.protocols.headers import MODEL, SESSION, model_header

FIRST_COMMENT_SECONDS: Final = 1.0
"""How long a streaming client hears nothing before it is told its place in the queue."""
_ATTEMPTS: Final = 2
"""At most so many for each model."""
_ATTEMPTS_OF_OURS: Final = 4
"""Where children of ours have ended under a call before its first byte: several may end at once."""
NO_REPLICA: Final[frozenset[Kind]] = frozenset({"no_capacity", "overloaded", "out_of_memory", "draining"})
"""Ours: the model has nobody who could answer now."""
SAID: Final = 120
"""Characters of a failure that the ledger keeps."""
_ENDS: Final[frozenset[Kind]] = frozenset({"cancelled", "deadline"})
_WHAT: Final[dict[Kind, str]] = {"unreachable": "could not be reached", "upstream_timeout": "took too long"}


async def attempts(dispatch: Dispatch, journal: Journal, call: Call, meter: Meter, reply: Reply) -> None:
    """Answer a call: by a replica of the model, or by one of those that stand in for it.

    Raises ServingError: what the model that was asked for failed with; what the last one failed with once its answer
    had begun.
    """
    try:
        try:
            await _by_model(dispatch, journal, call, meter, reply, "")
        except ServingError as error:
            await _by_others(dispatch, journal, call, meter, reply, error)
    except UpstreamRefusal as refusal:
        await pass_refusal(refusal, meter, reply)


async def granted(dispatch: Dispatch, call: Call, meter: Meter, reply: Reply, avoid: Collection[str] = ()) -> Lease:
    """A lease for a call on `meter.served`, waited for in the model's queue; it is the caller's to release.

    avoid: ids of the replicas that failed this call before. Raises ServingError as Dispatch.lease does, and deadline.
    """
    found = _ask(dispatch, call, meter, reply, avoid)
    lease = found if isinstance(found, Lease) else await _wait(found, call, reply)
    _note(lease, meter, reply)
    return lease


def _ask(dispatch: Dispatch, call: Call, meter: Meter, reply: Reply, avoid: Collection[str]) -> Lease | Wait:
    pool = dispatch.pool(meter.served)
    affinity = None
    if pool.settings.policy in AFFINE and len(pool.replicas) > 1:
        affinity = Belonging(call, reply.exchange.header(SESSION), meter.key)
    return dispatch.lease(
        meter.served,
        key=meter.key,
        avoid=avoid,
        priority=meter.priority,
        deadline=reply.deadline,
        affinity=affinity,
    )


async def _by_others(
    dispatch: Dispatch, journal: Journal, call: Call, meter: Meter, reply: Reply, failure: ServingError
) -> None:
    """Answer by a model that stands in for the one that failed; raises `failure` where none can."""
    if reply.answering or dispatch.draining or not elsewhere(failure):
        raise failure
    fallbacks = dispatch.fallbacks(call.model)
    if not fallbacks:
        raise failure
    asked, replica, why = meter.served, meter.replica, meter.why
    for name in fallbacks:
        meter.forget()
        meter.served = name
        try:
            await _by_model(dispatch, journal, call, meter, reply, f"fallback of {asked}: {failure.message:.{SAID}}")
            return
        except ServingError as error:
            if reply.answering or error.kind in _ENDS:
                raise
    meter.forget()
    meter.served, meter.replica, meter.why = asked, replica, why
    _tell_model(meter, reply)
    raise failure


async def _by_model(dispatch: Dispatch, journal: Journal, call: Call, meter: Meter, reply: Reply, why: str) -> None:
    """why: this model, in front of why this replica; empty for the one that was asked for."""
    failed: list[str] = []
    failure: ServingError | None = None
    while True:
        lease = call.lease if not meter.attempts else None
        if lease is None:
            try:
                found = _ask(dispatch, call, meter, reply, failed)
                lease = found if isinstance(found, Lease) else await _wait(found, call, reply)
            except ServingError as error:
                if failure is None or failure.kind == "unreachable" or error.kind in _ENDS:
                    raise
                raise failure from error
        _note(lease, meter, reply)
        if why:
            meter.why = f"{why}; {lease.why}"
        meter.attempts += 1
        meter.speaks = lease.speaks if lease.replica.probed else None
        if meter.attempts == 1:
            journal.open(meter)
        began = time.monotonic()
        try:
            await attempt(lease, call, meter, reply, partial(granted, dispatch, call, meter, reply))
            lease.release("ok")
            lease.pool.mean_seconds += 0.1 * (time.monotonic() - began - lease.pool.mean_seconds)
            return
        except ServingError as error:
            lease.release("failed", error)
            if meter.trace is not None:
                meter.trace.failed(error.kind)
            failed.append(lease.replica.id)
            if (
                reply.answering
                or len(failed) >= _most(lease, error)
                or not _again(dispatch, lease, meter, reply, error, failed)
            ):
                raise
            failure = error
            why = f"retry: {lease.replica.id} {_what(error)}"
            meter.forget()
        finally:
            lease.release("unused")


def _most(lease: Lease, error: ServingError) -> int:
    return _ATTEMPTS_OF_OURS if lease.replica.managed and error.kind == "unreachable" else _ATTEMPTS


def _again(
    dispatch: Dispatch, lease: Lease, meter: Meter, reply: Reply, error: ServingError, failed: Collection[str]
) -> bool:
    """Whether the model is asked again."""
    if not elsewhere(error) or dispatch.find(meter.served) is None:
        return False
    if error.kind == "unreachable":
        # The work cannot have begun, so the same replica may do, once it is there again.
        return True
    if error.kind == "upstream_timeout" and reply.deadline is not None:
        left = reply.deadline - asyncio.get_running_loop().time()
        if left < lease.pool.mean_seconds:
            return False
    return dispatch.another(meter.served, failed)


def elsewhere(error: ServingError) -> bool:
    """Whether another replica or model may answer what failed with this."""
    if error.upstream is None and error.kind in NO_REPLICA:
        return True
    if error.upstream is not None and refuses(error.upstream[0]):
        return True
    return judge(error) in ("failed", "locked")


def _what(error: ServingError) -> str:
    if error.upstream is not None:
        return f"answered {error.upstream[0]}"
    return _WHAT.get(error.kind, "broke off")


def _note(lease: Lease, meter: Meter, reply: Reply) -> None:
    """Tell ledger and caller who answers."""
    meter.grant(lease.replica.id, lease.pool.settings.name, lease.why)
    if meter.served != meter.model or meter.attempts:
        _tell_model(meter, reply)


def _tell_model(meter: Meter, reply: Reply) -> None:
    if reply.started:
        return
    exchange = reply.exchange
    exchange.extra_headers = [header for header in exchange.extra_headers if header[0] != MODEL]
    if meter.served != meter.model:
        exchange.extra_headers.append(model_header(meter.served))


async def _wait(wait: Wait, call: Call, reply: Reply) -> Lease:
    """A place in the queue becomes a lease; a streaming caller hears how far it is."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            left = FIRST_COMMENT_SECONDS if reply.deadline is None else reply.deadline - loop.time()
            if left <= 0:
                raise ServingError("deadline", "the deadline passed while the request waited for a free replica")
            done, _ = await asyncio.wait({wait.future}, timeout=min(left, FIRST_COMMENT_SECONDS))
            if done:
                lease = wait.future.result()
                wait.taken = True
                return lease
            if isinstance(call, GenerateCall) and call.stream and call.comment is not None:
                if not reply.started:
                    await reply.exchange.begin(200, stream_head(b"text/event-stream"))
                await reply.exchange.write(call.comment(Queue(wait.position, wait.loading)))
    finally:
        wait.close()
