"""Administration of models: what there is, what is added and changed, and when its engines run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.control import adapters, sleeping
from trunkcall.control.services import Services
from trunkcall.core.models import ModelView


class Models(msgspec.Struct, frozen=True):
    """All models, without the logs of their replicas."""

    models: tuple[ModelView, ...]


class ModelChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is.

    asleep: whether its replicas sleep; lora: adapters by name, with the path to load them from, null to drop one;
    settings: of a model that was added, as in trunkcall.yaml, null for the default.
    """

    asleep: bool | msgspec.UnsetType = msgspec.UNSET
    lora: dict[str, str | None] = {}
    settings: dict[str, Any] = {}


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of a model, or the one replica of this id."""

    replica: str = ""


class ModelOperations:
    """What administration does with models."""

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch
        self._models = services.operations.models

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        one = "/admin/models/{name*}"
        return (
            operation("GET", "/admin/models", "All models and their replicas", self._models_list, gives=Models),
            operation(
                "POST",
                "/admin/models",
                "Add a model, for good",
                self._model_add,
                body=self._models.entry,
                gives=ModelView,
                status=201,
                errors=("conflict", "unsupported"),
            ),
            operation(
                "POST",
                f"{one}/load",
                "Want a model's engines now; undoes drain",
                self._model_load,
                gives=ModelView,
                errors=("no_model",),
            ),
            operation(
                "POST",
                f"{one}/unload",
                "End a model's engines, after a drain; the next request starts them again",
                self._model_unload,
                gives=ModelView,
                errors=("no_model", "conflict"),
            ),
            operation(
                "POST",
                f"{one}/drain",
                "No new requests for a model or one replica, until it is loaded",
                self._model_drain,
                body=Part,
                gives=ModelView,
                errors=("no_model",),
            ),
            operation(
                "POST",
                f"{one}/restart",
                "End a replica, or all one after another, and start it anew",
                self._model_restart,
                body=Part,
                gives=ModelView,
                errors=("no_model", "conflict"),
            ),
            operation(
                "GET",
                one,
                "A model and its replicas, with the last lines that each wrote",
                self._model_show,
                gives=ModelView,
                errors=("no_model",),
            ),
            operation(
                "PATCH",
                one,
                "Let a model sleep or wake, load and drop adapters, change the settings of an added one",
                self._model_change,
                body=ModelChange,
                gives=ModelView,
                errors=("no_model", "conflict", "unsupported"),
            ),
            operation(
                "DELETE",
                one,
                "Take out a model that was added, after a drain",
                self._model_remove,
                gives=Nothing,
                errors=("no_model", "conflict"),
            ),
        )

    async def _models_list(self, ask: Ask[Nothing, Nothing]) -> Models:
        return Models(tuple(without_logs(view) for view in self._dispatch.views()))

    async def _model_show(self, ask: Ask[Nothing, Nothing]) -> ModelView:
        return self._dispatch.pool(ask.name).view()

    async def _model_add(self, ask: Ask[Nothing, msgspec.Struct]) -> ModelView:
        entry = msgspec.to_builtins(ask.body)
        return await self._models.add(entry.pop("name"), entry)

    async def _model_change(self, ask: Ask[Nothing, ModelChange]) -> ModelView:
        change = ask.body
        name = self._dispatch.pool(ask.name).settings.name
        if change.settings:
            await self._models.change(name, change.settings)
        if change.asleep is False:
            await sleeping.wake(self._dispatch, name)
        for adapter, path in change.lora.items():
            if path is None:
                await adapters.unload(self._dispatch, name, adapter)
            else:
                await adapters.load(self._dispatch, name, adapter, path)
        if change.asleep is True:
            await sleeping.sleep(self._dispatch, name)
        return self._dispatch.pool(name).view()

    async def _model_remove(self, ask: Ask[Nothing, Nothing]) -> Nothing:
        await self._models.remove(ask.name)
        return Nothing()

    async def _model_load(self, ask: Ask[Nothing, Nothing]) -> ModelView:
        return await self._models.load(ask.name)

    async def _model_unload(self, ask: Ask[Nothing, Nothing]) -> ModelView:
        return await self._models.unload(ask.name)

    async def _model_drain(self, ask: Ask[Nothing, Part]) -> ModelView:
        return await self._models.drain(ask.name, ask.body.replica)

    async def _model_restart(self, ask: Ask[Nothing, Part]) -> ModelView:
        return await self._models.restart(ask.name, ask.body.replica)


def without_logs(view: ModelView) -> ModelView:
    """A model whose replicas' lines are left out, as a list of all would be long."""
    replicas = tuple(msgspec.structs.replace(replica, log=()) for replica in view.replicas)
    return msgspec.structs.replace(view, replicas=replicas)
