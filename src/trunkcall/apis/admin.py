"""Administration over HTTP: one table of operations, from which both the routes and their description come."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from trunkcall.apis.admin_document import describe
from trunkcall.apis.admin_events import EventOperations
from trunkcall.apis.admin_keys import KeyOperations
from trunkcall.apis.admin_logs import LogOperations
from trunkcall.apis.admin_models import ModelOperations
from trunkcall.apis.admin_operation import Ask, Nothing, operation
from trunkcall.apis.admin_probe import ProbeOperations
from trunkcall.apis.admin_records import RecordOperations
from trunkcall.apis.admin_server import ServerOperations
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response, Route
from trunkcall.protocols import own_json


class Admin:
    """Fits core.ports.Api; paths are below /admin."""

    name = "admin"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        parts = (
            ModelOperations(services),
            ProbeOperations(services),
            KeyOperations(services),
            RecordOperations(services),
            LogOperations(services),
            EventOperations(services),
            ServerOperations(services),
        )
        self._operations = (
            *(one for part in parts for one in part.operations()),
            operation("GET", "/admin/openapi.json", "This description", self._openapi, gives=dict[str, Any]),
        )

    @cached_property
    def document(self) -> dict[str, Any]:
        """The OpenAPI description; made when it is first asked for."""
        return describe(self._operations)

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return tuple(one.route for one in self._operations)

    def failure(self, error: ServingError) -> Response:
        """The error with its kind, for programs, and its message, for people."""
        return own_json.failure(error)

    async def _openapi(self, ask: Ask[Nothing, Nothing]) -> dict[str, Any]:
        return self.document
