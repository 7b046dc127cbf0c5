"""Where a model's FastChat worker is: at the address itself, or where the controller at the address says."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Literal

from trunkcall.backends.fastchat_endpoint import Endpoint
from trunkcall.backends.upstream import PROBE, PROBED_BYTES
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.net.client import Timeouts
from trunkcall.protocols.fastchat_questions import ask_about, read_address, read_models
from trunkcall.protocols.fastchat_status import read_status
from trunkcall.protocols.fastchat_words import STATUS

LIST_MODELS: Final = "list_models"
WORKER_ADDRESS: Final = "get_worker_address"

REMEMBERED_SECONDS: Final = 120.0
"""How long the last worker of a controller is called without it; workers are back there after a beat, 45 s."""

Side = Literal["worker", "controller"]

_MOST: Final = 64
"""Workers of a controller to which connections are kept while none is called."""

_MOST_NAMED: Final = 1024
_AWAY: Final = frozenset({"unreachable", "upstream_timeout", "no_capacity"})
_NO_ROUTE: Final = frozenset({404, 405})


class _Place:
    """A worker of a controller; calls: how many it has now."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.calls = 0


class Places:
    """Gives the worker for a call; for one event loop. url: of a worker or a controller."""

    def __init__(self, url: str, timeouts: Timeouts) -> None:
        """Raises ServingError (bad_request) when `url` cannot be one."""
        self.endpoint = Endpoint(url, timeouts)
        self._timeouts = timeouts
        self._side: Side | None = None
        self._workers: OrderedDict[str, _Place] = OrderedDict()
        self._named: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """By model, the worker that the controller named last, and when."""

    async def names(self) -> tuple[str, ...]:
        """The models that can be asked for, and by the way what is at the address.

        Raises ServingError: unreachable, upstream_timeout, upstream_error when it is neither worker nor controller.
        """
        self._side = None
        status, body = await self.endpoint.ask(LIST_MODELS, timeouts=PROBE, limit=PROBED_BYTES)
        if status == 200:
            models = read_models(body)
            self._side = "controller"
            return models
        if status in _NO_ROUTE:
            status, body = await self.endpoint.ask(STATUS, timeouts=PROBE, limit=PROBED_BYTES)
            if status == 200:
                names = read_status(body).names
                self._side = "worker"
                return names
        raise ServingError(
            "upstream_error",
            f"{self.endpoint.url} is neither a FastChat worker nor a controller (status {status}); check the address",
            upstream=(status, body),
        )

    @asynccontextmanager
    async def worker(self, model: str) -> AsyncGenerator[Endpoint]:
        """The worker to call now; it is not let go of before this is left.

        While a controller is away, or has lost its workers in a restart, the one that it named last is called.
        Raises ServingError: no_capacity when the controller has none for the model, and as `names` does.
        """
        address = await self._find(model)
        if address is None:
            yield self.endpoint
            return
        place = await self._place(address)
        place.calls += 1
        try:
            yield place.endpoint
        finally:
            place.calls -= 1

    def doubt(self, worker: str) -> None:
        """What is at this URL no longer answers: find out anew what is at the address, and do not remember it."""
        self._side = None
        for model in [model for model, (address, _) in self._named.items() if address.rstrip("/") == worker]:
            del self._named[model]

    @property
    def choosing(self) -> bool:
        """Another call may get another worker."""
        return self._side == "controller"

    async def aclose(self) -> None:
        """Close all connections."""
        for place in self._workers.values():
            await place.endpoint.aclose()
        await self.endpoint.aclose()

    async def _find(self, model: str) -> str | None:
        """The address of the worker to call; None for the one at the address itself."""
        now = asyncio.get_running_loop().time()
        try:
            if self._side is None:
                await self.names()
            address = await self._address(model) if self._side == "controller" else None
        except ServingError as error:
            address, since = self._named.get(model, ("", 0.0))
            if error.kind not in _AWAY or not address or now - since > REMEMBERED_SECONDS:
                raise
            log.warning("the worker %s is called without its controller: %s", address, error.message)
            return address
        if address is not None:
            self._named[model] = address, now
            self._named.move_to_end(model)
            if len(self._named) > _MOST_NAMED:
                self._named.popitem(last=False)
        return address

    async def _address(self, model: str) -> str | None:
        """The worker's address; None when this is a worker itself."""
        status, body = await self.endpoint.ask(WORKER_ADDRESS, ask_about(model))
        if status in _NO_ROUTE:
            # A worker has been started where the controller was.
            await self.names()
            if self._side == "worker":
                return None
        if status != 200:
            raise ServingError(
                "upstream_error",
                f"the FastChat controller {self.endpoint.url} answered with status {status}; its log may say why",
                upstream=(status, body),
            )
        address = read_address(body)
        if not address:
            raise ServingError(
                "no_capacity",
                f"the FastChat controller {self.endpoint.url} has no worker for {model!r}; start one with"
                f" --model-names {model}, or check the name",
                retry_after=5,
            )
        return address

    async def _place(self, address: str) -> _Place:
        place = self._workers.get(address)
        if place is None:
            try:
                place = self._workers[address] = _Place(Endpoint(address, self._timeouts))
            except ServingError as error:
                raise ServingError(
                    "upstream_error",
                    f"the FastChat controller {self.endpoint.url} names {address!r}, which is no URL; start that worker"
                    " with a --worker-address like http://HOST:21002",
                ) from error
        self._workers.move_to_end(address)
        unused = [other for other, one in self._workers.items() if not one.calls and one is not place]
        for other in unused[: max(0, len(self._workers) - _MOST)]:
            await self._workers.pop(other).endpoint.aclose()
        return place
