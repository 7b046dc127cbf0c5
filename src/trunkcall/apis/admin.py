"""Administration over HTTP: list, add, change and remove models, and read the usage ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar
from urllib.parse import parse_qs

import msgspec

from trunkcall.control import adapters, sleeping
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.store.ledger import moment

_Asked = TypeVar("_Asked", bound=msgspec.Struct)


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /admin/models takes."""

    name: str
    source: str


class ModelChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What PATCH /admin/models/NAME takes; what is left out stays as it is.

    asleep: whether its replicas sleep; lora: adapters by name, with the path to load them from, null to drop one.
    """

    asleep: bool | msgspec.UnsetType = msgspec.UNSET
    lora: dict[str, str | None] = {}


class Admin:
    """Fits core.ports.Api; paths are below /admin."""

    name = "admin"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch
        self._operations = services.operations

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/admin/models", self._list),
            Route("POST", "/admin/models", self._add),
            Route("GET", "/admin/models/{name*}", self._show),
            Route("PATCH", "/admin/models/{name*}", self._change),
            Route("DELETE", "/admin/models/{name*}", self._remove),
            Route("GET", "/admin/usage", self._usage),
        )

    def failure(self, error: ServingError) -> Response:
        """The error with its kind, for programs, and its message, for people."""
        told = {"message": error.message, "kind": error.kind, "param": error.param}
        return Response(error.status, msgspec.json.encode({"error": told}))

    async def _list(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, msgspec.json.encode({"models": self._dispatch.views()})))

    async def _show(self, exchange: Exchange) -> None:
        pool = self._dispatch.pool(exchange.parameters["name"])
        await exchange.respond(Response(200, msgspec.json.encode(pool.view())))

    async def _change(self, exchange: Exchange) -> None:
        change = await _read(exchange, ModelChange)
        name = exchange.parameters["name"]
        if change.asleep is False:
            await sleeping.wake(self._dispatch, name)
        for adapter, path in change.lora.items():
            if path is None:
                await adapters.unload(self._dispatch, name, adapter)
            else:
                await adapters.load(self._dispatch, name, adapter, path)
        if change.asleep is True:
            await sleeping.sleep(self._dispatch, name)
        await self._show(exchange)

    async def _add(self, exchange: Exchange) -> None:
        entry = await _read(exchange, ModelEntry)
        view = await self._operations.models.add(entry.name, entry.source)
        await exchange.respond(Response(201, msgspec.json.encode(view)))

    async def _remove(self, exchange: Exchange) -> None:
        await self._operations.models.remove(exchange.parameters["name"])
        await exchange.respond(Response(200, b"{}"))

    async def _usage(self, exchange: Exchange) -> None:
        query = parse_qs(exchange.query.decode("latin-1"))
        since = query.get("since", [None])[0]
        start = moment(since) if since else None
        by = tuple(word for word in query.get("by", ["model"])[0].split(",") if word)
        rows = await self._operations.records.usage(by, start)
        await exchange.respond(Response(200, msgspec.json.encode({"rows": rows})))


async def _read(exchange: Exchange, shape: type[_Asked]) -> _Asked:
    # A web page elsewhere cannot send this content type without asking first, so it cannot administer.
    if not (exchange.header(b"content-type") or b"").startswith(b"application/json"):
        raise ServingError("bad_request", "send content-type: application/json", param="content-type")
    try:
        return msgspec.json.decode(await exchange.body(), type=shape)
    except msgspec.DecodeError as error:
        raise ServingError("bad_request", f"the model entry cannot be read: {error}") from error
