"""TGI's API as we serve it: one model on a listener of its own, or each under a path with its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

import msgspec

from trunkcall.apis import metrics
from trunkcall.apis.tgi_batch import vertex
from trunkcall.apis.tgi_generating import GENERATE, GENERATE_STREAM, ROOT, Generating
from trunkcall.apis.tgi_intake import Intake
from trunkcall.apis.tgi_metrics import TgiMetrics
from trunkcall.apis.tgi_openai import CHAT, COMPLETIONS, OpenAIRoutes, models_list
from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.apis.tgi_served import Served
from trunkcall.apis.tgi_tokenizing import chat_tokenize, tokenize
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols import tgi as codec
from trunkcall.protocols.tgi_errors import TypedError
from trunkcall.protocols.tgi_info import ROUTER
from trunkcall.protocols.tgi_words import IS_UNHEALTHY, UNHEALTHY

MOUNTED: Final = "/tgi/{model*}"
"""Where each model answers beside other apis."""

_HTML: Final = ((b"content-type", b"text/html; charset=utf-8"),)
_DOCS: Final = (
    b'<!doctype html><title>TGI API</title><p>Served by Trunkcall. The routes: <a href="%b/api-doc/openapi.json">'
    b"openapi.json</a>; what they take: https://huggingface.co/docs/text-generation-inference"
)
_USABLE: Final = frozenset({"ready", "asleep"})
"""States of replicas that the next request is answered by at once."""
_HEALTH: Final = frozenset({"GET /", "GET /health", "GET /ping"})
_ABOUT: Final = frozenset({"GET /info", "GET /metrics", "GET /v1/models", "GET /docs", "GET /api-doc/openapi.json"})

_Handle = Callable[[Exchange, bytes], Awaitable[None]]


class Tgi:
    """Fits core.ports.Api.

    A path's failures are JSON with an error and its type, but for those of a stream, which are its last event.
    """

    name = "tgi"
    plane: Literal["inference", "control", "worker"] = "inference"
    Options = TgiOptions

    def __init__(self, services: Services, options: TgiOptions) -> None:
        self._dispatch = services.dispatch
        self._options = options
        self._served = Served(services.dispatch, services.serving.admission, options)
        self._counts = TgiMetrics()
        self._metrics = metrics.build(services)
        intake = Intake(services.serving, options, self._served, self._counts)
        self._generating = Generating(options, self._served, intake)
        self._openai = OpenAIRoutes(options, self._served, intake)
        self.open_paths = frozenset(
            f"{method} {options.prefix}{path}"
            for method, _, path in (route.partition(" ") for route in (_HEALTH | _ABOUT if options.open else _HEALTH))
        )

    def routes(self) -> Sequence[Route]:
        """What is served."""
        posts: dict[str, _Handle] = {
            ROOT: partial(self._generating.answer, path=ROOT),
            GENERATE: partial(self._generating.answer, path=GENERATE),
            GENERATE_STREAM: partial(self._generating.answer, path=GENERATE_STREAM),
            CHAT: self._openai.chat,
            COMPLETIONS: self._openai.complete,
            "/invocations": self._invoke,
            "/vertex": self._vertex,
            "/tokenize": partial(tokenize, served=self._served),
            "/chat_tokenize": partial(chat_tokenize, served=self._served, options=self._options),
        }
        gets = {
            "/health": self._health,
            "/ping": self._health,
            "/info": self._info,
            "/metrics": self._tell_metrics,
            "/v1/models": self._models,
            "/docs": self._docs,
            "/api-doc/openapi.json": self._openapi,
        }
        prefix = self._options.prefix
        routes = [Route("POST", prefix + path, partial(self._post, handle)) for path, handle in posts.items()]
        routes += [Route("GET", prefix + path, handle) for path, handle in gets.items()]
        routes.append(Route("GET", f"{prefix}/", self._health))
        if prefix:
            # What {model*} could take for a model's name comes last.
            routes += [Route("GET", prefix, self._health), Route("POST", prefix, partial(self._post, posts[ROOT]))]
        return routes

    def failure(self, error: ServingError) -> Response:
        """The error in TGI's shape."""
        return codec.failure(error)

    async def _post(self, handle: _Handle, exchange: Exchange) -> None:
        await handle(exchange, await self._body(exchange))

    async def _body(self, exchange: Exchange) -> bytes:
        """Raises ServingError: too_large over the limit, bad_request for another content type than JSON."""
        told = exchange.header(b"content-type")
        if told is not None and b"json" not in told.partition(b";")[0].lower():
            raise ServingError(
                "bad_request",
                f"content-type: expected application/json, got {told.decode('latin-1')}",
                param="content-type",
            )
        size = exchange.header(b"content-length")
        most = self._options.payload
        if size is None or int(size) <= most:
            body = await exchange.body()
            if len(body) <= most:
                return body
        raise ServingError("too_large", f"the body is over this server's limit of {most} bytes; send less")

    async def _invoke(self, exchange: Exchange, body: bytes) -> None:
        """Whatever shape it has."""
        keys = _keys(body)
        if "messages" in keys:
            await self._openai.chat(exchange, body)
        elif "prompt" in keys and "inputs" not in keys:
            await self._openai.complete(exchange, body)
        else:
            await self._generating.answer(exchange, body, ROOT)

    async def _vertex(self, exchange: Exchange, body: bytes) -> None:
        generate = partial(self._generating.answer, path=GENERATE)
        await vertex(exchange, body, self._options.max_client_batch_size, generate, self._openai.chat)

    async def _health(self, exchange: Exchange) -> None:
        pool = self._served.pool(exchange)
        # One that is off is started by the next request, but for what is to be loaded first.
        usable = _USABLE if pool.settings.preload else _USABLE | {"off"}
        if self._dispatch.ending or all(replica.state not in usable for replica in pool.replicas):
            raise TypedError("no_capacity", IS_UNHEALTHY, UNHEALTHY, 503)
        await exchange.respond(Response(200, b"", ()))

    async def _info(self, exchange: Exchange) -> None:
        options = self._options
        name = self._served.pool(exchange).settings.name
        limits = await self._served.known_limits(name)
        info = codec.Info(
            model_id=options.model_id or name,
            model_sha=options.sha or None,
            model_dtype=options.dtype or None,
            model_device_type=options.device or None,
            model_pipeline_tag=options.pipeline_tag,
            max_concurrent_requests=options.max_concurrent_requests,
            max_best_of=options.max_best_of,
            max_stop_sequences=options.max_stop_sequences,
            max_input_length=limits.max_input_tokens if limits is not None else None,
            max_input_tokens=limits.max_input_tokens if limits is not None else None,
            max_total_tokens=limits.max_total_tokens if limits is not None else None,
            validation_workers=1,
            max_client_batch_size=options.max_client_batch_size,
            router=ROUTER,
            version=codec.VERSIONS[options.compat],
        )
        await exchange.respond(Response(200, codec.emit_info(info)))

    async def _models(self, exchange: Exchange) -> None:
        name = self._served.pool(exchange).settings.name
        await exchange.respond(Response(200, models_list(self._options.model_id or name)))

    async def _tell_metrics(self, exchange: Exchange) -> None:
        own = self._counts.text((self._served.pool(exchange),))
        await exchange.respond(await self._metrics.response(own))

    async def _docs(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, _DOCS % _prefix(exchange, "/docs"), _HTML))

    async def _openapi(self, exchange: Exchange) -> None:
        paths: dict[str, dict[str, Any]] = {}
        for route in self.routes():
            told: dict[str, Any] = {"responses": {"200": {"description": "OK"}}}
            if route.method == "POST":
                told["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
            paths.setdefault(route.path.replace("{model*}", "{model}") or "/", {})[route.method.lower()] = told
        about = {"title": "Text Generation Inference", "version": codec.VERSIONS[self._options.compat]}
        document = {"openapi": "3.0.3", "info": about, "paths": paths}
        await exchange.respond(Response(200, msgspec.json.encode(document)))


def mounted(services: Services) -> Tgi:
    """The same beside other apis, for every model, under /tgi/ and the model's name."""
    return Tgi(services, TgiOptions(prefix=MOUNTED))


def _keys(body: bytes) -> frozenset[str]:
    try:
        return frozenset(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What is wrong with it is told by the route that it is then given to.
        return frozenset()


def _prefix(exchange: Exchange, path: str) -> bytes:
    return exchange.path.removesuffix(path).encode()
