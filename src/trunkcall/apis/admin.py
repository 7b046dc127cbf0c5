"""Administration over HTTP: list, add and remove models, and read the usage ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal
from urllib.parse import parse_qs

import msgspec

from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /admin/models takes."""

    name: str
    source: str


class Admin:
    """Fits core.ports.Api; paths are below /admin."""

    name = "admin"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch
        self._catalogue = services.catalogue

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/admin/models", self._list),
            Route("POST", "/admin/models", self._add),
            Route("GET", "/admin/models/{name*}", self._show),
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

    async def _add(self, exchange: Exchange) -> None:
        # A web page elsewhere cannot send this content type without asking first, so it cannot administer.
        if not (exchange.header(b"content-type") or b"").startswith(b"application/json"):
            raise ServingError("bad_request", "send content-type: application/json", param="content-type")
        try:
            entry = msgspec.json.decode(await exchange.body(), type=ModelEntry)
        except msgspec.DecodeError as error:
            raise ServingError("bad_request", f"the model entry cannot be read: {error}") from error
        view = await self._catalogue.add(entry.name, entry.source)
        await exchange.respond(Response(201, msgspec.json.encode(view)))

    async def _remove(self, exchange: Exchange) -> None:
        await self._catalogue.remove(exchange.parameters["name"])
        await exchange.respond(Response(200, b"{}"))

    async def _usage(self, exchange: Exchange) -> None:
        query = parse_qs(exchange.query.decode("latin-1"))
        since = query.get("since", [None])[0]
        by = tuple(word for word in query.get("by", ["model"])[0].split(",") if word)
        rows = await asyncio.to_thread(self._catalogue.usage, since, by)
        await exchange.respond(Response(200, msgspec.json.encode({"rows": rows})))
