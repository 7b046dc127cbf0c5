"""What a vLLM server answers beside OpenAI's API: whether it is well, its version, its sleep and its adapters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qs

import msgspec

from trunkcall import __version__
from trunkcall.control import adapters, sleeping
from trunkcall.control.loading import can_be_asked, loaded
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols.openai import failure

_DEV_MODE: Final = "VLLM_SERVER_DEV_MODE"
_ADAPTING: Final = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
_YES: Final = frozenset({"1", "true"})


_Asked = TypeVar("_Asked", bound=msgspec.Struct)


class _Load(msgspec.Struct, frozen=True):
    lora_name: str
    lora_path: str
    load_inplace: bool = False


class _Unload(msgspec.Struct, frozen=True):
    lora_name: str


class Vllm:
    """Fits core.ports.Api and Resident; a server that stands for one of vLLM's, which loads one model and then answers.

    /health and /ping: 200 while the model can be asked, 503 before and when it cannot. As with vLLM, sleep and
    adapters are served only where the environment says so (VLLM_SERVER_DEV_MODE, VLLM_ALLOW_RUNTIME_LORA_UPDATING);
    what else these variables open there is not served.
    """

    name = "vllm"
    plane: Literal["inference", "control", "worker"] = "control"
    open_paths = frozenset({"/health", "/ping", "/version", "/sleep", "/wake_up", "/is_sleeping"})
    """vLLM's keys guard what is below /v1 alone."""

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch

    def routes(self) -> Sequence[Route]:
        """What is served."""
        routes = [
            Route("GET", "/health", self._health),
            Route("GET", "/ping", self._health),
            Route("POST", "/ping", self._health),
            Route("GET", "/version", self._version),
        ]
        if _says_yes(_DEV_MODE):
            routes += [
                Route("POST", "/sleep", self._sleep),
                Route("POST", "/wake_up", self._wake),
                Route("GET", "/is_sleeping", self._is_sleeping),
            ]
        if _says_yes(_ADAPTING):
            routes += [
                Route("POST", "/v1/load_lora_adapter", self._load),
                Route("POST", "/v1/unload_lora_adapter", self._unload),
            ]
        return routes

    def failure(self, error: ServingError) -> Response:
        """The error in OpenAI's shape, as vLLM has it."""
        return failure(error)

    async def live(self, url: str) -> None:
        """Tell of the model until it can be asked.

        Raises ServingError when it cannot be loaded: such a server has nothing else to do.
        """
        await loaded(self._dispatch)

    async def _health(self, exchange: Exchange) -> None:
        well = can_be_asked(self._dispatch) and not self._dispatch.ending
        await exchange.respond(Response(200 if well else 503, b"", ()))

    async def _version(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, msgspec.json.encode({"version": __version__})))

    def _model(self) -> str:
        """The one that was loaded; what else there is are its adapters."""
        pools = self._dispatch.pools
        return next(name for name in pools if not any(name in pool.adapters for pool in pools.values()))

    async def _sleep(self, exchange: Exchange) -> None:
        level = parse_qs(exchange.query.decode("latin-1")).get("level", ["1"])[0]
        if level != "1":
            raise ServingError("unsupported", "only level 1 can be woken by the next call; leave it out", param="level")
        await sleeping.sleep(self._dispatch, self._model())
        await exchange.respond(Response(200, msgspec.json.encode({"status": "sleeping", "level": 1})))

    async def _wake(self, exchange: Exchange) -> None:
        await sleeping.wake(self._dispatch, self._model())
        await exchange.respond(Response(200, msgspec.json.encode({"status": "awake", "tags": None})))

    async def _is_sleeping(self, exchange: Exchange) -> None:
        replicas = (replica for view in self._dispatch.views() for replica in view.replicas)
        asleep = any(replica.state == "asleep" for replica in replicas)
        await exchange.respond(Response(200, msgspec.json.encode({"is_sleeping": asleep})))

    async def _load(self, exchange: Exchange) -> None:
        asked = _read(await exchange.body(), _Load)
        name = self._model()
        if asked.load_inplace and asked.lora_name in self._dispatch.pool(name).adapters:
            await adapters.unload(self._dispatch, name, asked.lora_name)
        await adapters.load(self._dispatch, name, asked.lora_name, asked.lora_path)
        await exchange.respond(_text(f"Success: LoRA adapter '{asked.lora_name}' added successfully."))

    async def _unload(self, exchange: Exchange) -> None:
        asked = _read(await exchange.body(), _Unload)
        await adapters.unload(self._dispatch, self._model(), asked.lora_name)
        await exchange.respond(_text(f"Success: LoRA adapter '{asked.lora_name}' removed successfully."))


def _says_yes(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in _YES


def _read(body: bytes, shape: type[_Asked]) -> _Asked:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise ServingError("bad_request", f"the request cannot be read: {error}") from error


def _text(said: str) -> Response:
    return Response(200, said.encode(), ((b"content-type", b"text/plain; charset=utf-8"),))
