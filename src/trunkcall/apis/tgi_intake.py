"""One way in for all of TGI's generations: admitted, made ready while the client stays, served and noted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from typing import Final, Protocol

import msgspec

from trunkcall.apis.tgi_metrics import TgiMetrics
from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.apis.tgi_pace import Noted, Pace, Silence, compute_headers, time_headers
from trunkcall.apis.tgi_served import Served
from trunkcall.control.admission import most_tokens
from trunkcall.control.attempts import elsewhere
from trunkcall.control.calls import GenerateCall
from trunkcall.control.counting import BYTES_PER_TOKEN
from trunkcall.control.generation import Serving
from trunkcall.control.pool import Pool
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend, Emitter, Exchange, Response
from trunkcall.core.requests import Generate, Wire
from trunkcall.protocols.frames import UNBUFFERED
from trunkcall.protocols.headers import STRICT, TIMEOUT, is_strict, read_timeout
from trunkcall.protocols.openai import comment_frame
from trunkcall.protocols.tgi import Limits

_SHAPES: Final = frozenset({"response_format", "grammar", "guided_regex", "guided_json", "structured_outputs"})
"""What an engine calls the shape of an answer that it drops."""
_NO_GRAMMAR: Final = "grammar is not supported"


class Measured(Emitter, Protocol):
    """An emitter that knows how many tokens it has told."""

    @property
    def input_tokens(self) -> int | None: ...

    @property
    def generated_tokens(self) -> int: ...


class Words(msgspec.Struct, frozen=True):
    """How a route tells errors, before and after the first byte."""

    failure: Callable[[ServingError], Response]
    fault: Callable[[ServingError], bytes]


class Order(msgspec.Struct, frozen=True):
    """A request that is in order. characters: of its prompt; input_tokens: None where they were not counted."""

    request: Generate
    wire: Wire
    emitter: Callable[[Generate], Measured]
    characters: int
    input_tokens: int | None


Prepare = Callable[[Pool, Backend, Limits], Awaitable[Order]]
"""Makes a request ready for a model with limits; raises ServingError for what is not in order."""


class Intake:
    """Shared by the routes of one listener."""

    def __init__(self, serving: Serving, options: TgiOptions, served: Served, metrics: TgiMetrics) -> None:
        self._serving = serving
        self._options = options
        self._served = served
        self._metrics = metrics

    async def take(self, exchange: Exchange, words: Words, *, stream: bool, prepare: Prepare) -> None:
        """Answer a request; failures are answers too.

        Raises ServingError (cancelled) when the client left.
        """
        pace = Pace()
        self._metrics.begin()
        try:
            with self._served.admitted():
                pool = self._served.pool(exchange)
                with closing(exchange.when_gone(exchange.cancel)):
                    order = await self._prepared_in_time(exchange, pool, prepare)
                pace.validate()
                self._metrics.asked(order.input_tokens, _limit_of(order.request))
                work = _Work(exchange, words, order, pool, pace, self._metrics, stream=stream)
                await self._serve(exchange, work, order, stream=stream)
        except ServingError as error:
            if error.kind == "cancelled":
                raise
            self._metrics.fail(error)
            await exchange.respond(words.failure(error))

    async def _prepared_in_time(self, exchange: Exchange, pool: Pool, prepare: Prepare) -> Order:
        limit = exchange.header(TIMEOUT)
        try:
            async with asyncio.timeout(None if limit is None else read_timeout(limit)):
                return await self._prepared(pool, prepare)
        except TimeoutError:
            raise ServingError("deadline", "the deadline passed while the model was made ready") from None

    async def _prepared(self, pool: Pool, prepare: Prepare) -> Order:
        """Made ready with the model, or with one that stands in for it; Serving asks them in the same order."""
        name = pool.settings.name
        try:
            return await self._prepared_with(name, pool, prepare)
        except ServingError as error:
            if elsewhere(error):
                for other in self._served.stand_ins(name):
                    with suppress(ServingError):
                        return await self._prepared_with(other, pool, prepare)
            raise

    async def _prepared_with(self, name: str, pool: Pool, prepare: Prepare) -> Order:
        """An engine that has just died is asked again when it is back, as Serving does it."""
        backend = await self._served.backend(name)
        try:
            return await prepare(pool, backend, await self._served.limits(name, backend))
        except ServingError as error:
            if error.kind != "unreachable":
                raise
        self._served.doubt(name, backend)
        backend = await self._served.backend(name)
        return await prepare(pool, backend, await self._served.limits(name, backend))

    async def _serve(self, exchange: Exchange, work: _Work, order: Order, *, stream: bool) -> None:
        headers = compute_headers(self._options.compute_type, order.characters)
        exchange.extra_headers = [*exchange.extra_headers, *headers, *([UNBUFFERED] if stream else ())]
        async with work.silence:
            await self._serving.serve(
                exchange,
                GenerateCall(
                    model=order.request.model,
                    stream=stream,
                    wire=order.wire,
                    read=work.read,
                    emitter=work.emit,
                    failure=work.failure,
                    fault=work.fault,
                    comment=comment_frame,
                    strict=is_strict(exchange.header(STRICT)),
                    accept=_refuse_without_shape if order.request.shape.format else None,
                    peek=lambda: order.request,
                    most=partial(most_tokens, order.request),
                    prompt_tokens=order.input_tokens or order.characters // BYTES_PER_TOKEN + 1,
                ),
            )


class _Work:
    """One request while it is answered: what Serving calls back, and what is noted then."""

    def __init__(
        self,
        exchange: Exchange,
        words: Words,
        order: Order,
        pool: Pool,
        pace: Pace,
        metrics: TgiMetrics,
        *,
        stream: bool,
    ) -> None:
        self._exchange = exchange
        self._words = words
        self._order = order
        self._pool = pool
        self._pace = pace
        self._metrics = metrics
        self._stream = stream
        self._emitter: Measured | None = None
        self.silence = Silence(exchange)

    def read(self) -> Generate:
        self._pace.grant()
        self._metrics.grant(len(self._pool.queue))
        if self._stream:
            self.silence.begin()
        return self._order.request

    def emit(self, request: Generate) -> Emitter:
        self._emitter = self._order.emitter(request)
        noted = Noted(self._emitter, self._speak, self._end)
        return self.silence.hear(noted) if self._stream else noted

    def failure(self, error: ServingError) -> Response:
        if (error.param or "").partition(".")[0] in _SHAPES:
            error = ServingError("unsupported", f"{_NO_GRAMMAR}: {error.message}", param="grammar")
        self._metrics.fail(error)
        return self._words.failure(error)

    def fault(self, error: ServingError) -> bytes:
        self._metrics.fail(error)
        if self._emitter is None:
            return self._words.fault(error)
        self._metrics.interrupt(self._emitter.generated_tokens)
        return self._emitter.fault(error)

    def _speak(self) -> None:
        self._pace.speak()
        self._metrics.speak(self._pace)

    def _end(self) -> None:
        emitter = self._emitter
        assert emitter is not None
        self._pace.end()
        self._metrics.succeed(self._pace, emitter.generated_tokens)
        if not self._stream:
            headers = time_headers(self._pace, emitter.input_tokens, emitter.generated_tokens)
            self._exchange.extra_headers = [*self._exchange.extra_headers, *headers]


def _limit_of(request: Generate) -> int | None:
    limit = request.sampling.max_tokens
    return limit if isinstance(limit, int) else None


def _refuse_without_shape(dropped: tuple[str, ...]) -> None:
    if not _SHAPES.isdisjoint(dropped):
        raise ServingError("unsupported", _NO_GRAMMAR)
