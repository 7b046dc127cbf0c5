"""The tries of one call: a lease, the way to the caller, and one more try before the first byte."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from trunkcall.control.calls import Call, GenerateCall
from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.lanes import attempt, stream_head
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Queue
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Journal
from trunkcall.net.relay import Reply

FIRST_COMMENT_SECONDS: Final = 1.0
"""How long a streaming client hears nothing before it is told its place in the queue."""
_ATTEMPTS: Final = 2


async def attempts(dispatch: Dispatch, journal: Journal, call: Call, meter: Meter, reply: Reply) -> None:
    """Answer a call by one replica, or by another when the first could not be reached.

    Raises ServingError, what the last try raised.
    """
    avoid: str | None = None
    while True:
        meter.attempts += 1
        given = call.lease if meter.attempts == 1 else None
        lease = given or await granted(dispatch, call, meter, reply, avoid)
        if given is not None:
            meter.grant(lease.replica.id, lease.pool.settings.name, lease.why)
        if meter.attempts == 1:
            journal.open(meter)
        began = time.monotonic()
        try:
            await attempt(lease, call, meter, reply)
            lease.pool.mean_seconds += 0.1 * (time.monotonic() - began - lease.pool.mean_seconds)
            return
        except ServingError as error:
            if error.kind != "unreachable":
                raise
            lease.release("unreachable")
            # Only a refusal or a reset before any response byte is tried again: the work cannot have been seen.
            if reply.answering or meter.attempts >= _ATTEMPTS or call.model not in dispatch.pools:
                raise
            avoid = lease.replica.id
        finally:
            lease.release()


async def granted(dispatch: Dispatch, call: Call, meter: Meter, reply: Reply, avoid: str | None) -> Lease:
    """A lease for a call, waited for in the model's queue; it is the caller's to release.

    avoid: id of the replica that failed this call before. Raises ServingError as Dispatch.lease does.
    """
    found = dispatch.lease(call.model, key=meter.key, avoid=avoid)
    lease = found if isinstance(found, Lease) else await _wait(found, call, reply)
    meter.grant(lease.replica.id, lease.pool.settings.name, lease.why)
    return lease


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
                    await reply.begin(200, stream_head(b"text/event-stream"))
                await reply.write(call.comment(Queue(wait.position)))
    finally:
        wait.close()
