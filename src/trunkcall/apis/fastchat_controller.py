"""FastChat's controller: workers register and beat here, clients ask here for the models and for a worker's address."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from trunkcall.apis.fastchat_asking import Asking
from trunkcall.apis.fastchat_beats import Beats, DispatchMethod, Standing, why_unreachable
from trunkcall.apis.fastchat_serving import WorkerRoutes
from trunkcall.control.calls import GenerateCall
from trunkcall.control.own_page import check_own_page
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.core.requests import Wire
from trunkcall.core.text import did_you_mean
from trunkcall.protocols import fastchat as codec
from trunkcall.protocols import fastchat_control as control
from trunkcall.protocols import fastchat_words as words
from trunkcall.protocols.fastchat_asked import read_model
from trunkcall.protocols.headers import STRICT, is_strict

EXPIRATION: Final = "FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION"
"""The environment's word for the seconds after which a silent worker is gone."""
EXPIRATION_SECONDS: Final = 90.0
LOOKS: Final = 20
"""Looks for silent workers in that time."""
FRONT: Final = "/w/"
"""Below it models answer as workers do: /w/MODEL/worker_generate_stream."""
TRIES: Final = 3
"""So many workers are asked whether they live before one is given out."""

Front = Literal["none", "others", "all"]

_HOST: Final = re.compile(rb"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_NULL: Final = Response(200, control.NULL)
_OF_MODELS: Final = (
    words.GENERATE,
    words.EMBEDDINGS,
    words.COUNT_TOKEN,
    words.CONV_TEMPLATE,
    words.MODEL_DETAILS,
)


class ControllerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A listener's options of this api.

    dispatch: how a model's worker is chosen; front: which models clients find below our own address: none, those that
    no FastChat worker serves, or all; expiration: seconds without a heart beat after which a worker is gone, None for
    what FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION says, or 90; stream_timeout: seconds that a worker may be silent in
    a stream.
    """

    dispatch: DispatchMethod = "shortest_queue"
    front: Front = "others"
    expiration: Annotated[float, msgspec.Meta(gt=0)] | None = None
    stream_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None


class FastChatController:
    """Fits core.ports.Api and Resident.

    What the original answers with status 500 and no reason, such as a missing field, tells the reason here. As a
    worker of another controller it also answers those routes of workers that the original lacks.
    """

    name = "fastchat_controller"
    plane: Literal["inference", "control", "worker"] = "control"
    Options = ControllerOptions
    open_paths = frozenset({"POST /register_worker", "POST /receive_heart_beat"})
    """Workers have no keys; what the listener says of their networks holds for them."""

    def __init__(self, services: Services, options: ControllerOptions) -> None:
        self._serving = services.serving
        self._dispatch = services.dispatch
        self._may_register = services.may_register
        self._may_ask = services.serving.admission.may_ask
        self._front: Front = options.front
        self._expiration = options.expiration or expiration(os.environ)
        self._beats = Beats(services.dispatch, services.registry, options.dispatch, self._expiration)
        self._asking = Asking(self._beats.learn)
        self._worker = WorkerRoutes(services)
        self._url = ""
        if options.stream_timeout is not None:
            services.registry.call_with(words.PROTOCOL, {"stream_timeout": options.stream_timeout})

    def routes(self) -> Sequence[Route]:
        """What is served."""
        fronted = () if self._front == "none" else (Route("POST", f"{FRONT}{{path*}}", self._answer_fronted),)
        return (
            Route("POST", "/register_worker", self._register),
            Route("POST", "/refresh_all_workers", self._refresh),
            Route("POST", "/list_models", self._list),
            Route("POST", "/list_multimodal_models", partial(self._list_by, True)),
            Route("POST", "/list_language_models", partial(self._list_by, False)),
            Route("POST", "/get_worker_address", self._give_address),
            Route("POST", "/receive_heart_beat", self._beat),
            Route("POST", f"/{words.STATUS}", self._tell_status),
            Route("POST", f"/{words.GENERATE_STREAM}", self._relay),
            Route("GET", "/test_connection", _test_connection),
            *(Route("POST", f"/{route}", partial(self._answer, route)) for route in _OF_MODELS),
            *fronted,
        )

    def failure(self, error: ServingError) -> Response:
        """The error as the original's framework says it, but with the reason."""
        status = 500 if error.kind == "bad_request" else error.status
        return codec.unrouted(error) or Response(status, msgspec.json.encode({"detail": error.message}))

    async def live(self, url: str) -> None:
        """Let go of workers whose heart beats have ended, until cancelled."""
        self._url = url
        try:
            while True:
                await asyncio.sleep(self._expiration / LOOKS)
                for standing in self._beats.expire():
                    log.warning(
                        "the FastChat worker %s is silent: taken out (heart beats count for %g s)",
                        standing.address,
                        self._expiration,
                    )
        finally:
            await self._asking.aclose()

    async def _register(self, exchange: Exchange) -> None:
        self._check_caller(exchange)
        told = control.read_registration(await exchange.body())
        why = why_unreachable(told.address, exchange.client)
        if why:
            log.warning(
                "the FastChat worker %s may not be found: %s. Start it with --worker-address http://HOST:PORT as it is "
                "reached from here",
                told.address,
                why,
            )
        if self._beats.register(told) and await self._asking.touch(told.address):
            log.warning(
                "the FastChat worker %s registered again, while one answers there: if it was not started anew, two "
                "workers have one address; give each its own --worker-address",
                told.address,
            )
        if told.status is None:
            await self._asking.ask(told.address)
        if told.status is not None and not told.status.names:
            # So workers of ours take leave, which the protocol has no word for.
            self._asking.leave(told.address)
        else:
            self._asking.follow(told.address)
        await exchange.respond(_NULL)

    async def _beat(self, exchange: Exchange) -> None:
        self._check_caller(exchange)
        standing = self._beats.beat(control.read_heart_beat(await exchange.body()))
        if standing is not None and (standing.worker is None or not standing.worker.here):
            self._asking.follow(standing.address)
        await exchange.respond(Response(200, control.emit_exist(standing is not None)))

    async def _refresh(self, exchange: Exchange) -> None:
        asked = {standing.address: standing for standing in self._beats.all()}
        for address, status in (await self._asking.ask_all(asked)).items():
            standing = self._beats.find(address)
            if standing is None:
                continue
            if status is None:
                log.warning("the FastChat worker %s does not tell its status: taken out", address)
                self._beats.drop(standing)
            else:
                self._beats.measure(standing, status.queue_length)
        await exchange.respond(_NULL)

    async def _list(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, control.emit_models(self._allowed(exchange, self._names()))))

    async def _list_by(self, multimodal: bool, exchange: Exchange) -> None:
        names = self._beats.names(multimodal)
        if not multimodal:
            # What no FastChat worker serves counts as language.
            theirs = self._beats.names()
            names.update((name, None) for name in self._names() if name not in theirs)
        await exchange.respond(Response(200, control.emit_models(self._allowed(exchange, names))))

    async def _give_address(self, exchange: Exchange) -> None:
        model = control.read_wanted(await exchange.body())
        address = ""
        if not self._may_ask(exchange.principal, model):
            log.info("the key %r may not ask for the model %r", exchange.principal, model)
        elif self._is_fronted(model):
            address = f"{self._base(exchange)}{FRONT}{quote(model, safe='')}"
        else:
            standing = await self._choose(model)
            if standing is not None:
                self._beats.give(standing)
                address = standing.address
        await exchange.respond(Response(200, control.emit_address(address)))

    async def _choose(self, model: str) -> Standing | None:
        """Who takes the next request; one that has been silent is asked before whether it lives."""
        before: Standing | None = None
        for _ in range(TRIES):
            standing = self._beats.choose(model)
            if standing is None or standing is before or standing.fresh:
                return standing
            if await self._asking.touch(standing.address):
                return standing
            before = standing
        return before

    async def _tell_status(self, exchange: Exchange) -> None:
        names = self._names()
        theirs = self._beats.names()
        # A model counts once, whatever its aliases.
        fronted = [name for name in names if name in self._dispatch.pools and name not in theirs]
        standings = [standing for standing in self._beats.all() if standing.worker is not None]
        # A controller that divides by the speed must not meet 0.
        speed = len(fronted) + sum(standing.speed for standing in standings)
        busy = sum(standing.queue + standing.given for standing in standings)
        busy += sum(map(self._worker.queue_length, fronted))
        status = codec.Status(tuple(sorted(self._allowed(exchange, names))), _plain(speed), _plain(busy))
        await exchange.respond(Response(200, codec.emit_status(status)))

    async def _relay(self, exchange: Exchange) -> None:
        try:
            body = await exchange.body()
            model = self._asked(body)
            standing = None if self._is_fronted(model) else await self._choose(model)
        except ServingError as error:
            if error.kind != "cancelled":
                await exchange.respond(_failed(error, stream=True))
            return
        lease = None if standing is None else self._beats.lease(model, standing)
        if standing is None or lease is None:
            await self._worker.handle(exchange, model, words.GENERATE_STREAM)
            return
        self._beats.give(standing)

        def fault(error: ServingError) -> bytes:
            self._beats.doubt(standing)
            # To clients of a relay a worker that breaks off is one that does not answer.
            gone = error.kind == "upstream_error"
            return codec.fault_frame(ServingError("unreachable", error.message) if gone else error)

        await self._serving.serve(
            exchange,
            GenerateCall(
                model=model,
                stream=True,
                wire=Wire(words.PROTOCOL, f"/{words.GENERATE_STREAM}", exchange.headers, body),
                read=partial(codec.read_generate, body, model),
                emitter=lambda request: codec.FrameEmitter(request, True, before=codec.echoed(body)),
                failure=partial(_failed, stream=True),
                fault=fault,
                strict=is_strict(exchange.header(STRICT)),
                lease=lease,
            ),
        )

    async def _answer(self, route: str, exchange: Exchange) -> None:
        try:
            model = self._asked(await exchange.body())
        except ServingError as error:
            if error.kind != "cancelled":
                await exchange.respond(_failed(error))
            return
        await self._worker.handle(exchange, model, route)

    async def _answer_fronted(self, exchange: Exchange) -> None:
        # The path came unquoted, and a model's name may have slashes of its own.
        model, _, route = exchange.parameters["path"].rpartition("/")
        await self._worker.handle(exchange, model, route)

    def _asked(self, body: bytes) -> str:
        """The model that a body names; raises ServingError: bad_request, no_capacity."""
        model = read_model(body)
        if not model:
            raise ServingError("bad_request", "model: this field is required", param="model")
        if not self._has(model):
            raise ServingError(
                "no_capacity", f"no worker has {model!r}. {did_you_mean(model, self._names())}", param="model"
            )
        return model

    def _names(self) -> Iterable[str]:
        """The models that clients find here."""
        return self._beats.names() if self._front == "none" else self._dispatch.names()

    def _allowed(self, exchange: Exchange, names: Iterable[str]) -> list[str]:
        """Those that the caller's key is for."""
        return [name for name in names if self._may_ask(exchange.principal, name)]

    def _has(self, model: str) -> bool:
        return self._beats.serves(model) if self._front == "none" else self._dispatch.find(model) is not None

    def _is_fronted(self, model: str) -> bool:
        """Whether clients reach a model below our address."""
        if self._front == "none" or self._dispatch.find(model) is None:
            return False
        return self._front == "all" or not self._beats.serves(model)

    def _base(self, exchange: Exchange) -> str:
        """Our address as the caller wrote it."""
        host = exchange.header(b"host") or b""
        return f"{urlsplit(self._url).scheme or 'http'}://{host.decode()}" if _HOST.fullmatch(host) else self._url

    def _check_caller(self, exchange: Exchange) -> None:
        """Raises ServingError (forbidden) for who may not say which workers there are."""
        self._may_register(exchange)
        check_own_page(exchange)


def expiration(environ: Mapping[str, str]) -> float:
    """Seconds without a heart beat after which a worker is gone; raises ServingError (bad_request)."""
    text = environ.get(EXPIRATION, "")
    if not text:
        return EXPIRATION_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise ServingError("bad_request", f"{EXPIRATION}: {text!r} is not a number of seconds; write for example 90")
    return seconds


async def _test_connection(exchange: Exchange) -> None:
    await exchange.respond(Response(200, b'"success"'))


def _plain(number: float) -> float:
    """A whole number is written without a point, as the original does."""
    return int(number) if number == int(number) else number


def _failed(error: ServingError, stream: bool = False) -> Response:
    """What clients of workers understand; that nobody has a model is no mistake of theirs here."""
    if error.kind == "no_model":
        error = ServingError("no_capacity", error.message, param=error.param)
    return codec.failure(error, stream=stream)
