"""What a vLLM server answers beside OpenAI's API: whether it is well, and which version it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from trunkcall import __version__
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import ReplicaView
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols.openai import failure

_LOOK_SECONDS: Final = 0.1
_TELL_SECONDS: Final = 10.0
"""How often a start that takes long is heard of."""


class Vllm:
    """Fits core.ports.Api and Resident; a server that stands for one of vLLM's, which loads one model and then answers.

    /health and /ping: 200 while the model can be asked, 503 before and when it cannot.
    """

    name = "vllm"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/health", self._health),
            Route("GET", "/ping", self._health),
            Route("POST", "/ping", self._health),
            Route("GET", "/version", self._version),
        )

    def failure(self, error: ServingError) -> Response:
        """The error in OpenAI's shape, as vLLM has it."""
        return failure(error)

    async def live(self, url: str) -> None:
        """Tell of the model until it can be asked.

        Raises ServingError when it cannot be loaded: such a server has nothing else to do.
        """
        since_told = 0.0
        while not self._ready():
            for replica in self._replicas():
                if replica.error and replica.state in ("failed", "off"):
                    raise ServingError("no_capacity", f"{replica.model!r} cannot be served: {replica.error}")
            await asyncio.sleep(_LOOK_SECONDS)
            since_told += _LOOK_SECONDS
            if since_told >= _TELL_SECONDS:
                since_told = 0.0
                for replica in self._replicas():
                    log.info("%s is being started: %s", replica.model, replica.log[-1] if replica.log else "")
        for replica in self._replicas():
            by = f"{replica.engine} ({replica.why})" if replica.why else replica.engine or replica.source
            log.info("%s is served by %s", replica.model, by)

    def _replicas(self) -> list[ReplicaView]:
        return [replica for view in self._dispatch.views() for replica in view.replicas]

    def _ready(self) -> bool:
        return all(any(replica.state == "ready" for replica in view.replicas) for view in self._dispatch.views())

    async def _health(self, exchange: Exchange) -> None:
        well = self._ready() and not self._dispatch.draining
        await exchange.respond(Response(200 if well else 503, b"", ()))

    async def _version(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, msgspec.json.encode({"version": __version__})))
