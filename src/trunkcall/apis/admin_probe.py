"""Looking before adding: what stands at an address, and what a model would cost here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.control.estimating import Estimate
from trunkcall.control.probing import Probed
from trunkcall.control.services import Services


class Pasted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server's address, with or without its scheme and path; key: where its key stands, env:NAME or file:PATH."""

    url: str
    key: str = ""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's source, and more of its settings as in trunkcall.yaml."""

    source: str
    settings: dict[str, Any] = {}


class ProbeOperations:
    """What administration can find out before it adds a model."""

    def __init__(self, services: Services) -> None:
        self._models = services.operations.models

    def operations(self) -> Sequence[Operation]:
        """Both of them."""
        return (
            operation(
                "POST",
                "/admin/probe",
                "Which kind of server stands at an address, and which models it offers",
                self._probe,
                body=Pasted,
                gives=Probed,
                errors=("unsupported",),
            ),
            operation(
                "POST",
                "/admin/estimate",
                "What a model would take in memory and download, before it is added",
                self._estimate,
                body=Wanted,
                gives=Estimate,
                errors=("unsupported", "no_capacity"),
            ),
        )

    async def _probe(self, ask: Ask[Nothing, Pasted]) -> Probed:
        return await self._models.probe(ask.body.url, ask.body.key)

    async def _estimate(self, ask: Ask[Nothing, Wanted]) -> Estimate:
        return await self._models.estimate(ask.body.source, ask.body.settings)
