"""Kuwa's executor API as we serve it: one model, asked with forms, answered as bare text, registered with a kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from trunkcall.apis.fitting import fit
from trunkcall.apis.kuwa_counted import Counted
from trunkcall.apis.kuwa_executor_metrics import ExecutorMetrics
from trunkcall.apis.kuwa_executor_routes import describe, find_endpoint
from trunkcall.apis.kuwa_registration import Registration, registered_base
from trunkcall.apis.kuwa_slots import Slots
from trunkcall.control.calls import GenerateCall
from trunkcall.control.dispatch import Lease
from trunkcall.control.own_page import check_own_page
from trunkcall.control.pool import Pool
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.core.requests import Generate, Secret, Wire
from trunkcall.protocols.forms import emit_form, read_form
from trunkcall.protocols.headers import STRICT, dropped_header, is_strict
from trunkcall.protocols.kuwa import KuwaCall, KuwaEmitter, read_call, read_generate
from trunkcall.protocols.kuwa_words import (
    ABORTED,
    BAD_KEY_OPENAI,
    BUSY_BODY,
    EMPTY_REQUEST,
    ERROR_OCCURRED,
    NO_INPUT,
    NO_KEY_OPENAI,
    STREAM,
    TOO_LONG,
)

READY_SECONDS: Final = 1800.0
"""In which a model must be loaded."""
ABORT_SECONDS: Final = 5.0
"""In which an aborted call must have ended before the kernel hears of it."""

_JSON: Final = (b"content-type", b"application/json")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"api-key"})

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class ExecutorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A listener's options of this api.

    model: what is served, empty for the only one; codes: access codes to register, by default those that
    a custom executor told, else the model's name; path: what answers calls, a custom executor's own wins;
    kernel: URL of the kernel to register with, empty for none; interface: the version in its paths;
    endpoint: what the kernel is told, see registered_base; limit: calls answered at once, the kernel is given
    as many endpoints; system_prompt, template, generation: as in read_generate; input_tokens: longer
    conversations lose their oldest turns; tokens: fields that may hold the user's own key for the
    upstream, the first that is not empty counts; has_key: the upstream has a key configured, which
    always wins with own_key_wins; needs_key: without any key the answer is missing_key.
    """

    model: str = ""
    codes: tuple[str, ...] = ()
    path: str = "/chat"
    kernel: str = ""
    interface: str = "v1.0"
    endpoint: str = ""
    limit: _AtLeastOne = 1
    system_prompt: str = ""
    template: str = ""
    generation: dict[str, Any] = {}
    input_tokens: _AtLeastOne | None = None
    tokens: tuple[str, ...] = ()
    own_key_wins: bool = False
    has_key: bool = False
    needs_key: bool = False
    missing_key: str = NO_KEY_OPENAI


class _About(msgspec.Struct, frozen=True):
    """What a custom executor told of itself when it was ready."""

    codes: tuple[str, ...] = ()
    path: str = ""
    kernel: str = ""
    ignore_kernel: bool = False


class KuwaExecutor:
    """Fits core.ports.Api and Resident.

    Failures of a call are text in an answer with status 200, as everywhere in Kuwa.
    Raises ServingError (bad_request) for a path that is none.
    """

    name = "kuwa_executor"
    plane: Literal["inference", "control", "worker"] = "worker"
    Options = ExecutorOptions

    def __init__(self, services: Services, options: ExecutorOptions) -> None:
        if not options.path.startswith("/") or options.path.endswith("/"):
            raise ServingError(
                "bad_request", f"path: {options.path!r} must begin with a slash and not end with one", param="path"
            )
        self._serving = services.serving
        self._dispatch = services.dispatch
        self._may_register = services.may_register
        self._stop = services.stop
        self._options = options
        self._slots = Slots(options.limit)
        self._metrics = ExecutorMetrics()
        self._pages = {
            "/health": self._health,
            "/metrics": self._show_metrics,
            "/openapi.json": self._describe,
            "/shutdown": self._shut_down,
        }

    def routes(self) -> Sequence[Route]:
        """What is served; the path of a custom executor is known only when its child is ready."""
        return (
            *(Route("GET", path, handler) for path, handler in self._pages.items()),
            *(Route(method, "/{path*}", self._answer) for method in _METHODS),
        )

    def failure(self, error: ServingError) -> Response:
        """What is wrong with the HTTP request itself, as the original's framework says it."""
        detail = "Not Found" if error.kind == "no_route" else error.message
        return Response(error.status, msgspec.json.encode({"detail": detail}))

    async def live(self, url: str) -> None:
        """Wait for the model, then stay registered with the kernel until cancelled.

        Raises ServingError when the model cannot start, or the kernel cannot be registered with.
        """
        await self._ready()
        about = self._about()
        if not self._options.kernel or about.ignore_kernel:
            return
        base = registered_base(self._options.endpoint, url) + self._path()
        endpoints = [base, *(f"{base}/{number}" for number in range(2, self._options.limit + 1))]
        kernel = about.kernel or self._options.kernel
        await Registration(kernel, self._options.interface, self._codes(), endpoints).live()

    async def _ready(self) -> None:
        granted = self._dispatch.lease(self._pool().settings.name)
        if isinstance(granted, Lease):
            granted.release("unused")
            return
        try:
            done, _ = await asyncio.wait({granted.future}, timeout=READY_SECONDS)
            if not done:
                raise ServingError("loading", f"the model was not ready after {READY_SECONDS:g} seconds")
            granted.future.result()
        finally:
            granted.close()

    async def _answer(self, exchange: Exchange) -> None:
        """Calls and aborts: PATH, PATH/2 and so on are endpoints for one call at a time each."""
        path = exchange.path
        endpoint = find_endpoint(path, self._path(), self._options.limit)
        if endpoint is None and path not in self._pages:
            raise ServingError("no_route", f"nothing answers {path} here")
        if endpoint is not None and exchange.method == "POST" and not endpoint.aborts:
            await self._chat(exchange, endpoint.number)
        elif endpoint is not None and exchange.method == "GET" and endpoint.aborts:
            await self._abort(exchange, endpoint.number)
        else:
            allowed = b"POST" if endpoint is not None and not endpoint.aborts else b"GET"
            body = b'{"detail":"Method Not Allowed"}'
            await exchange.respond(Response(405, body, (_JSON, (b"allow", allowed))))

    async def _chat(self, exchange: Exchange, endpoint: int) -> None:
        form = read_form(exchange.header(b"content-type"), await exchange.body())
        if not form:
            await exchange.respond(Response(400, EMPTY_REQUEST.encode()))
            return
        if form.files:
            exchange.extra_headers.append(dropped_header(form.files))
        call = read_call(form, exchange.header(b"accept-language"))
        counted = Counted(exchange)
        async with self._slots.hold(counted, endpoint) as held:
            if not held:
                await exchange.respond(Response(429, BUSY_BODY.encode()))
                return
            began = time.monotonic()
            await self._serve(counted, call)
        name = self._codes()[0]
        if counted.last.endswith(ERROR_OCCURRED.encode()):
            self._metrics.fail(name)
        elif counted.complete:
            self._metrics.complete(name, time.monotonic() - began, counted.characters)

    async def _serve(self, exchange: Counted, call: KuwaCall) -> None:
        options = self._options
        token = next((call.fields[name] for name in options.tokens if call.fields.get(name)), "")
        if options.own_key_wins and options.has_key:
            token = ""
        if options.needs_key and not token and not options.has_key:
            await exchange.respond(_text(options.missing_key))
            return
        model = self._pool().settings.name
        await self._serving.serve(
            exchange,
            GenerateCall(
                model=model,
                stream=True,
                wire=Wire("kuwa", exchange.path, _headers_for(exchange), emit_form(call.fields)),
                read=partial(self._read, call, model, token),
                emitter=lambda request: KuwaEmitter(STREAM),
                failure=lambda error: _text(_reply(error, exchange.id)),
                fault=lambda error: _reply(error, exchange.id).encode(),
                content_type=STREAM,
                strict=is_strict(exchange.header(STRICT)),
                prepare=None if options.input_tokens is None else partial(fit, limit=options.input_tokens),
            ),
        )

    def _read(self, call: KuwaCall, model: str, token: str) -> Generate:
        options = self._options
        request = read_generate(
            call,
            model,
            system=options.system_prompt,
            template=options.template,
            generation=options.generation,
        )
        return msgspec.structs.replace(request, credential=Secret(token) if token else None)

    async def _abort(self, exchange: Exchange, endpoint: int) -> None:
        # A GET that changes something: a browser sends it for any page.
        check_own_page(exchange)
        calls = self._slots.of(endpoint)
        for call in calls:
            self._serving.cut(call, ServingError("cancelled", "the call was aborted"))
        # The kernel may send the next call as soon as it hears this.
        await self._slots.ended(calls, ABORT_SECONDS)
        await exchange.respond(Response(200, ABORTED.encode()))

    async def _health(self, exchange: Exchange) -> None:
        """204 while a call can be answered: kernels take executors out that say something else."""
        states = [replica.state for replica in self._pool().replicas]
        if self._dispatch.ending or not {"ready", "off", "asleep"} & set(states):
            raise ServingError("loading", f"the model is not ready: {', '.join(states)}")
        await exchange.respond(Response(204, b"", ()))

    async def _show_metrics(self, exchange: Exchange) -> None:
        body = self._metrics.text(self._codes()[0], self._slots.busy)
        await exchange.respond(Response(200, body, ((b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode()),)))

    async def _describe(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, msgspec.json.encode(describe(self._path()))))

    async def _shut_down(self, exchange: Exchange) -> None:
        self._may_register(exchange)
        check_own_page(exchange)
        log.info("told to end by %s", exchange.client)
        await exchange.respond(Response(200, b'{"msg":"Shutting down..."}'))
        self._stop()

    def _pool(self) -> Pool:
        if self._options.model:
            return self._dispatch.pool(self._options.model)
        if len(self._dispatch.pools) != 1:
            raise ServingError(
                "no_model", "an executor serves one model: name it in the option model of this listener", param="model"
            )
        return next(iter(self._dispatch.pools.values()))

    def _about(self) -> _About:
        for replica in self._pool().replicas:
            if replica.about:
                try:
                    return msgspec.convert(replica.about, _About)
                except msgspec.ValidationError as error:
                    raise ServingError("upstream_error", f"a custom executor cannot be served: {error}") from None
        return _About()

    def _path(self) -> str:
        return self._about().path.rstrip("/") or self._options.path

    def _codes(self) -> tuple[str, ...]:
        return self._options.codes or self._about().codes or (self._pool().settings.name,)


def _headers_for(exchange: Exchange) -> list[Header]:
    """The caller's headers; a key that was checked here is not for the model behind."""
    if not exchange.principal:
        return exchange.headers
    return [header for header in exchange.headers if header[0] not in _CREDENTIALS]


def _text(text: str) -> Response:
    return Response(200, text.encode(), ((b"content-type", STREAM),))


def _reply(error: ServingError, request: str) -> str:
    """A failure as text of the answer; its reason is for the log where there is no word for it."""
    match error.kind:
        case "cancelled":
            return ""
        case "too_long":
            return TOO_LONG
        case "bad_request" if error.message == NO_INPUT:
            return NO_INPUT
        case _ if error.kind == "unauthenticated" or (error.upstream is not None and error.upstream[0] == 401):
            return BAD_KEY_OPENAI
        case _:
            log.warning("request %s failed: %s: %s %s", request, error.kind, error.message, error.detail or "")
            return ERROR_OCCURRED
