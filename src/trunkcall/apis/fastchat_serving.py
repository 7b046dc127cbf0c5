"""The routes of FastChat's workers for one model, whatever answers behind it: the worker api's and the controller's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET

from trunkcall.apis.fastchat_fitting import Fitting
from trunkcall.control.calls import EmbedCall, GenerateCall
from trunkcall.control.counting import CONTEXT, READY_SECONDS, count, count_by, estimate
from trunkcall.control.lanes import forwards
from trunkcall.control.readiness import ready_backend
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Embeds, Exchange, Forwards, Generates, Response
from trunkcall.core.requests import Count, Embed, Generate, TextPrompt, Wire
from trunkcall.protocols import fastchat as codec
from trunkcall.protocols import fastchat_words as words
from trunkcall.protocols.fastchat_asked import (
    emit_count,
    emit_details,
    emit_embeddings,
    read_embeddings,
    read_prompt,
)
from trunkcall.protocols.headers import STRICT, dropped_header, is_strict

STREAM_INTERVAL: Final = 2
"""Tokens to a frame, as FastChat's workers have it: a frame repeats the whole text, so fewer of them cost less."""


class Manner(msgspec.Struct, frozen=True):
    """How a model is asked and answers.

    template: what clients render conversations with; None for the neutral one, whose prompts become messages for the
    model's own chat template, while those of another reach the model as they are; interval: tokens to a frame;
    seed: of calls that bring none; truncate: texts to embed that are too long are cut, not refused.
    """

    template: codec.ConvTemplate | None = None
    interval: int = STREAM_INTERVAL
    seed: int | None = None
    truncate: bool = False


USUAL: Final = Manner()


class WorkerRoutes:
    """Answers the routes of a worker for any model of this process.

    manners: by the model's name; usual: of all others.
    """

    def __init__(self, services: Services, manners: Mapping[str, Manner] | None = None, usual: Manner = USUAL) -> None:
        self._serving = services.serving
        self._dispatch = services.dispatch
        self._manners = manners or {}
        self._usual = usual
        self._fitting = Fitting()
        self._routes = {
            words.GENERATE_STREAM: partial(self._generate, stream=True),
            words.GENERATE: partial(self._generate, stream=False),
            words.EMBEDDINGS: self._embed,
            words.STATUS: self._status,
            words.COUNT_TOKEN: self._count,
            words.CONV_TEMPLATE: self._template,
            words.MODEL_DETAILS: self._details,
        }

    async def handle(self, exchange: Exchange, model: str, route: str) -> None:
        """Answer a POST to one of a worker's routes, `worker_generate_stream` for example, for a model.

        Failures are answers too, with status 200, because FastChat's clients read the text of no other.
        Raises ServingError: no_route for a route that workers do not have, cancelled when the client left.
        """
        answer = self._routes.get(route)
        if answer is None:
            raise ServingError("no_route", f"a FastChat worker has no /{route}; its routes: {', '.join(self._routes)}")
        try:
            self._serving.admission.check_model(exchange.principal, model)
            await answer(exchange, model)
        except ServingError as error:
            if error.kind == "cancelled":
                raise
            await exchange.respond(codec.failure(error, stream=route == words.GENERATE_STREAM))

    def queue_length(self, model: str) -> int:
        """The calls of a model that run and wait; 0 for an unknown one."""
        pool = self._dispatch.find(model)
        return 0 if pool is None else len(pool.queue) + sum(replica.in_flight for replica in pool.replicas)

    async def _generate(self, exchange: Exchange, model: str, *, stream: bool) -> None:
        body = await exchange.body()
        # Workers of old answer a call without a prompt with nothing at all.
        read_prompt(body)
        manner = self._manner(model)

        async def prepare(request: Generate, backend: Generates) -> Generate:
            return await self._fitting.fit(
                request, backend, lambda: exchange.extra_headers.append(dropped_header(("prompt",)))
            )

        await self._serving.serve(
            exchange,
            GenerateCall(
                model=model,
                stream=stream,
                wire=Wire(
                    words.PROTOCOL, f"/{words.GENERATE_STREAM if stream else words.GENERATE}", exchange.headers, body
                ),
                read=partial(_read, body, model, manner),
                emitter=lambda request: codec.FrameEmitter(
                    request,
                    stream,
                    before=codec.echoed(body),
                    interval=manner.interval,
                    presumed=estimate(request.prompt),
                ),
                failure=partial(codec.failure, stream=stream),
                fault=codec.fault_frame,
                strict=is_strict(exchange.header(STRICT)),
                prepare=prepare,
            ),
        )

    async def _embed(self, exchange: Exchange, model: str) -> None:
        body = await exchange.body()
        request = read_embeddings(body, model)

        async def cut(request: Embed, backend: Embeds) -> Embed:
            return await self._fitting.cut(
                request, backend, lambda: exchange.extra_headers.append(dropped_header(("input",)))
            )

        await self._serving.serve(
            exchange,
            EmbedCall(
                model=model,
                wire=Wire(words.PROTOCOL, f"/{words.EMBEDDINGS}", exchange.headers, body),
                read=lambda: request,
                emit=emit_embeddings,
                failure=codec.failure,
                prepare=cut if self._manner(model).truncate else None,
            ),
        )

    async def _status(self, exchange: Exchange, model: str) -> None:
        self._dispatch.pool(model)
        status = codec.Status((model,), queue_length=self.queue_length(model))
        await exchange.respond(Response(200, codec.emit_status(status)))

    async def _count(self, exchange: Exchange, model: str) -> None:
        prompt = read_prompt(await exchange.body())
        backend = await ready_backend(self._dispatch, model, READY_SECONDS)
        raw = self._manner(model).template is not None or words.PROTOCOL in backend.protocols
        read = TextPrompt((prompt,)) if raw else codec.parse_prompt(prompt)
        tokens = await count_by(backend, Count(model=model, prompt=read))
        await exchange.respond(Response(200, emit_count(tokens.count)))

    async def _details(self, exchange: Exchange, model: str) -> None:
        tokens = await count(self._dispatch, Count(model=model, prompt=TextPrompt((".",))))
        await exchange.respond(Response(200, emit_details(tokens.context or CONTEXT)))

    async def _template(self, exchange: Exchange, model: str) -> None:
        template = self._manner(model).template
        if template is None:
            backend = await ready_backend(self._dispatch, model, READY_SECONDS)
            if words.PROTOCOL in backend.protocols and forwards(backend):
                await self._ask_worker(backend, exchange, model)
                return
        await exchange.respond(Response(200, codec.emit_template(template or codec.NEUTRAL)))

    async def _ask_worker(self, backend: Forwards, exchange: Exchange, model: str) -> None:
        """A FastChat worker's own template: its prompts reach it as they are."""
        wire = Wire(words.PROTOCOL, f"/{words.CONV_TEMPLATE}", exchange.headers, await exchange.body())
        meter = Meter(exchange.id, model=model, protocol=words.PROTOCOL, stream=False)
        async with backend.forward(wire, meter) as answer:
            body = await answer.whole()
        await exchange.respond(Response(answer.status, body))

    def _manner(self, model: str) -> Manner:
        return self._manners.get(model, self._usual)


def _read(body: bytes, model: str, manner: Manner) -> Generate:
    request = codec.read_generate(body, model, raw=manner.template is not None)
    if manner.seed is None or request.sampling.seed is not UNSET:
        return request
    return msgspec.structs.replace(request, sampling=msgspec.structs.replace(request.sampling, seed=manner.seed))
