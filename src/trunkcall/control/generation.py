"""One call from its arrival to its last byte: who asks, which tries, and what it came to."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import msgspec

from trunkcall.control.admission import Admission
from trunkcall.control.attempts import attempts
from trunkcall.control.calls import Call, GenerateCall
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.stories import Stories
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.ports import Exchange, Journal, Response, Traces
from trunkcall.net.relay import Relay
from trunkcall.protocols.headers import (
    PRIORITY,
    RETRY_AFTER,
    TIMEOUT,
    read_priority,
    read_timeout,
    retry_after_header,
)


class Serving:
    """What a call needs of this process; one per process, shared by the apis."""

    def __init__(
        self,
        dispatch: Dispatch,
        relay: Relay,
        journal: Journal,
        counters: Counters,
        admission: Admission | None = None,
        stories: Stories | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.dispatch = dispatch
        self.admission = admission or Admission()
        self.stories = stories or Stories()
        self._traces = traces
        self._relay = relay
        self._journal = journal
        self._counters = counters

    async def serve(self, exchange: Exchange, call: Call) -> None:
        """Answer a call; failures are told in the caller's protocol, before or after the first byte."""
        # Names of arguments would cost as much here as half of what it sets.
        meter = exchange.meter = Meter(exchange.id, call.model, call.wire.protocol, call.stream, exchange.principal)
        pool = self.dispatch.find(call.model)
        name = None if pool is None else pool.settings.name
        counters = None if name is None else self._counters.of(name)
        if counters is not None:
            counters.running += 1
        if self._traces is not None:
            meter.trace = self._traces.began(exchange, call.operation)
        self.stories.began(meter)
        try:
            asked = exchange.header(PRIORITY)
            if asked is not None:
                meter.priority = read_priority(asked)
            self.admission.admit(exchange, meter, pool.settings if pool is not None else None, call)
            limit = exchange.header(TIMEOUT)
            deadline = None if limit is None else asyncio.get_running_loop().time() + read_timeout(limit)
            work = partial(attempts, self.dispatch, self._journal, call, meter)
            stayed = await self._relay.run(exchange, work, deadline)
            if not stayed:
                meter.error = meter.error or "cancelled"
                meter.status = meter.status or 499
        except ServingError as error:
            meter.error = meter.error or error.kind
            meter.status = meter.status or error.status
            if not exchange.started:
                await exchange.respond(_with_time(call.failure(error), error.retry_after))
            else:
                await exchange.finish(call.fault(error) if isinstance(call, GenerateCall) else b"")
        except BaseException:
            meter.error = meter.error or "bug"
            meter.status = 500
            raise
        finally:
            if call.lease is not None:
                call.lease.release("unused")
            meter.ended = time.monotonic()
            self.admission.settle(meter, call)
            if counters is not None:
                counters.running -= 1
            self._counters.close(meter, name)
            if self._traces is not None:
                self._traces.ended(meter)
            self._journal.close(meter)
            self.stories.ended(meter)

    def cut(self, exchange: Exchange, cause: ServingError) -> None:
        """End a running call for a reason of ours; its caller is told `cause` in the protocol's words."""
        self._relay.cut(exchange, cause)


def _with_time(response: Response, retry_after: float | None) -> Response:
    """An error with the time to come back, also where its protocol has no word for that."""
    if retry_after is None or any(name == RETRY_AFTER for name, _ in response.headers):
        return response
    return msgspec.structs.replace(response, headers=(*response.headers, retry_after_header(retry_after)))
