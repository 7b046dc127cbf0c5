"""FastChat's worker API as we serve it: models asked with one prompt each, registered with controllers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, Literal

import msgspec

from trunkcall.apis.fastchat_registration import Registration, worker_address
from trunkcall.apis.fastchat_serving import STREAM_INTERVAL, Manner, WorkerRoutes
from trunkcall.control.readiness import ready_backend
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols import fastchat as codec
from trunkcall.protocols import fastchat_words as words
from trunkcall.protocols.fastchat_asked import read_model

LOAD_SECONDS: Final = 24 * 3600.0
"""In which models must be fetched and loaded."""
BEAT_SECONDS: Final = 45.0

_OF_MODELS: Final = (
    words.GENERATE_STREAM,
    words.GENERATE,
    words.EMBEDDINGS,
    words.COUNT_TOKEN,
    words.CONV_TEMPLATE,
    words.MODEL_DETAILS,
)


class WorkerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A listener's options of this api.

    names: the models by the names under which they are asked for, empty for all under their own;
    controllers: URLs of those to register with; address: what they are told, the listener's own where empty;
    beat: seconds between two signs of life; multimodal: tell controllers that images may be sent;
    templates: names of conversation templates by model, whose prompts then reach the model as they are;
    interval: tokens to a frame of a stream; seed: of calls that bring none; truncate: models that are given as much of
    a text to embed as they take, instead of refusing a longer one.
    """

    names: dict[str, str] = {}
    controllers: tuple[str, ...] = ()
    address: str = ""
    beat: Annotated[float, msgspec.Meta(gt=0)] = BEAT_SECONDS
    multimodal: bool = False
    templates: dict[str, str] = {}
    interval: Annotated[int, msgspec.Meta(ge=1)] = STREAM_INTERVAL
    seed: int | None = None
    truncate: tuple[str, ...] = ()


class FastChatWorker:
    """Fits core.ports.Api and Resident.

    Raises ServingError (bad_request) for a template that is not known.
    """

    name = "fastchat_worker"
    plane: Literal["inference", "control", "worker"] = "worker"
    Options = WorkerOptions

    def __init__(self, services: Services, options: WorkerOptions) -> None:
        self._dispatch = services.dispatch
        self._admission = services.serving.admission
        self._options = options
        usual = Manner(None, options.interval, options.seed)
        templates = {model: codec.named(name) for model, name in options.templates.items()}
        manners = {
            model: msgspec.structs.replace(usual, template=templates.get(model), truncate=model in options.truncate)
            for model in (*templates, *options.truncate)
        }
        self._worker = WorkerRoutes(services, manners, usual)
        self._leaving = False

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("POST", f"/{words.STATUS}", self._tell_status),
            *(Route("POST", f"/{route}", partial(self._answer, route)) for route in _OF_MODELS),
        )

    def failure(self, error: ServingError) -> Response:
        """What is wrong with the HTTP request itself, as the original's framework says it."""
        return codec.unrouted(error) or Response(error.status, msgspec.json.encode({"detail": error.message}))

    async def live(self, url: str) -> None:
        """Wait for the models that the options name, then stay registered with the controllers until cancelled.

        Raises ServingError when a model cannot start, or the address is none.
        """
        options = self._options
        for model in dict.fromkeys(options.names.values()):
            await ready_backend(self._dispatch, model, LOAD_SECONDS)
        if not options.controllers:
            return
        address = await asyncio.to_thread(worker_address, options.address, url, options.controllers)
        registrations = [
            Registration(controller, address, self._status, beat=options.beat, multimodal=options.multimodal)
            for controller in options.controllers
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                for registration in registrations:
                    tasks.create_task(registration.live())
        finally:
            # A controller that asks after the registration which takes leave must hear the same.
            self._leaving = True
            await asyncio.gather(*(registration.leave() for registration in registrations))

    async def _answer(self, route: str, exchange: Exchange) -> None:
        try:
            model = self._resolve(read_model(await exchange.body()))
        except ServingError as error:
            if error.kind == "cancelled":
                raise
            await exchange.respond(codec.failure(error, stream=route == words.GENERATE_STREAM))
            return
        await self._worker.handle(exchange, model, route)

    def _resolve(self, asked: str) -> str:
        """The model that is meant; a worker with a single one answers for it whatever the call says."""
        names = self._names()
        if asked in names:
            return names[asked]
        models = set(names.values())
        if len(models) == 1:
            return models.pop()
        raise ServingError(
            "no_model", f"model: {asked!r} is not here; this worker has {', '.join(names) or 'none yet'}", param="model"
        )

    async def _tell_status(self, exchange: Exchange) -> None:
        status = self._status()
        names = tuple(name for name in status.names if self._admission.may_ask(exchange.principal, name))
        await exchange.respond(Response(200, codec.emit_status(msgspec.structs.replace(status, names=names))))

    def _status(self) -> codec.Status:
        names = self._names()
        busy = sum(self._worker.queue_length(model) for model in set(names.values()))
        return codec.Status(() if self._leaving else tuple(names), queue_length=busy)

    def _names(self) -> dict[str, str]:
        return self._options.names or {name: name for name in self._dispatch.pools}
