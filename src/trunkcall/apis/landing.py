"""What a load balancer asks: `/health` and `/ready`; names are for those who may use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from trunkcall.control.condition import Condition
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Exchange, Response, Route

_JSON: Final = ((b"content-type", b"application/json"),)


class Readiness(msgspec.Struct, frozen=True):
    """What /ready says; degraded: requests are answered, but an operator should look.

    reasons, failed_models: as far as the caller may be told.
    """

    status: Literal["ready", "degraded", "draining"]
    reasons: tuple[str, ...]
    failed_models: tuple[str, ...]


class Landing:
    """Fits core.ports.Api. /health: the process answers; /ready: it can take requests, and what is amiss."""

    name = "landing"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch
        self._admission = services.serving.admission
        self._condition = services.condition

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/health", self._health),
            Route("HEAD", "/health", self._health),
            Route("GET", "/ready", self._ready),
            Route("HEAD", "/ready", self._ready),
        )

    def failure(self, error: ServingError) -> Response:
        """The error as plain JSON."""
        return Response(error.status, msgspec.json.encode({"error": {"message": error.message}}))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, b'{"status":"ok"}'))

    async def _ready(self, exchange: Exchange) -> None:
        may_see = partial(self._admission.may_see, exchange.principal)
        inside = self._admission.may_look_inside(exchange.principal)
        found = readiness(self._dispatch.ending, self._dispatch.views(), self._condition(), may_see, inside)
        headers = _JSON if found.status != "draining" else (*_JSON, (b"retry-after", b"5"))
        await exchange.respond(
            Response(503 if found.status == "draining" else 200, msgspec.json.encode(found), headers)
        )


def readiness(
    ending: bool,
    views: Sequence[ModelView],
    condition: Condition,
    may_see: Callable[[str], bool] = lambda model: True,
    inside: bool = True,
) -> Readiness:
    """What is amiss, by how much of it a balancer should heed: only a server that ends takes no requests.

    may_see: whether the caller may be told of a model; inside: whether it may be told of the server's own paths and
    addresses, which errors of a disk or a database quote.
    """
    failed = [
        view.name for view in views if view.replicas and all(replica.state == "failed" for replica in view.replicas)
    ]
    seen = tuple(filter(may_see, failed))
    reasons = [f"the model {name!r} has failed: `trunkcall models show {name}` says why" for name in seen]
    if len(seen) < len(failed):
        reasons.append(f"models that this caller may not ask for have failed: {len(failed) - len(seen)}")
    for health, what in (
        (condition.journal, "requests wait in memory to be noted"),
        (condition.ledger, "requests wait in the journal"),
    ):
        if not health.ok:
            reasons.append(f"{what}: {health.reason}" if inside else what)
    if condition.rows_lost:
        reasons.append(f"{condition.rows_lost} requests could not be noted")
    if ending:
        return Readiness("draining", ("the server is shutting down", *reasons), seen)
    return Readiness("degraded" if reasons else "ready", tuple(reasons), seen)
