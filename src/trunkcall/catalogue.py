"""The models that administration adds, changes and removes: in the server, and remembered in its home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trunkcall import config, plugins
from trunkcall.config_file import ModelEntry
from trunkcall.config_names import check_names
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.estimating import Estimate
from trunkcall.control.probing import Probed, probe
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings, ModelView
from trunkcall.core.text import did_you_mean
from trunkcall.home import Home


class NewModel(ModelEntry, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A model to add: its name, and its settings as in trunkcall.yaml; paths are relative to the server's folder."""

    name: str


def key_reference(text: str) -> str:
    """Where an upstream's key stands, empty for none; raises ServingError (bad_request) for a key itself."""
    try:
        return config.reference(text, "key") if text else ""
    except ServingError as error:
        raise ServingError(error.kind, error.message, param="key") from None


def would_be(source: str, settings: Mapping[str, Any]) -> ModelSettings:
    """A model that is not added, for an estimate; raises ServingError (bad_request) for what cannot be one."""
    field = "source"

    def place(path: str) -> str:
        nonlocal field
        field = path.removeprefix(".") or field
        return field

    if "source" in settings:
        raise ServingError("bad_request", "settings: the source stands beside them", param="settings")
    try:
        read = config.model("new", {**settings, "source": source}, base=Path.cwd(), place=place)
        field = "source"
        for one in dict.fromkeys(read.sources):
            plugins.check(one)
    except ServingError as error:
        raise ServingError(error.kind, error.message, param=error.param or field) from None
    return read


class Catalogue:
    """Fits control.operations.Models.

    queue: most requests that wait for a model that says nothing of it; changing: held by whoever changes models.
    """

    entry: type[msgspec.Struct] = NewModel

    def __init__(
        self,
        dispatch: Dispatch,
        supervisor: Supervisor,
        home: Home,
        queue: Callable[[], int],
        changing: asyncio.Lock,
    ) -> None:
        self._changing = changing
        self._dispatch = dispatch
        self._supervisor = supervisor
        self._home = home
        self._queue = queue

    async def add(self, name: str, entry: Any) -> ModelView:
        """Make a model callable and remember it."""
        async with self._changing:
            settings = self._read(name, entry)
            # Its files are read in a thread, so that no stream waits for it.
            await self._supervisor.check(settings)
            pool = self._supervisor.add(settings)
            try:
                self._home.add_model(name, config.stored(entry, settings))
            except ServingError:
                await self._supervisor.remove(name, 0)
                raise
            return pool.view()

    async def change(self, name: str, changes: dict[str, Any]) -> ModelView:
        """Give an added model other settings, and remember them."""
        async with self._changing:
            return await self._change(name, changes)

    async def _change(self, name: str, changes: dict[str, Any]) -> ModelView:
        before = self._added(name)
        entry: dict[str, Any] = {"source": before} if isinstance(before, str) else dict(before)
        for field, value in changes.items():
            if field not in ModelEntry.__struct_fields__:
                hint = did_you_mean(field, ModelEntry.__struct_fields__)
                raise ServingError("bad_request", f"settings: unknown setting {field!r}. {hint}", param=field)
            if value is None:
                entry.pop(field, None)
            else:
                entry[field] = value
        settings = self._read(name, entry)
        await self._supervisor.change(settings)
        self._home.change_model(name, config.stored(entry, settings))
        return self._dispatch.pool(name).view()

    async def remove(self, name: str) -> None:
        """Forget an added model, after a drain."""
        async with self._changing:
            self._added(name)
            models = self._supervisor.models()
            given_up = {name, *models.pop(name).aliases}
            for other in models.values():
                if given_up.intersection(other.fallback):
                    raise ServingError(
                        "conflict", f"{other.name!r} falls back to {name!r}: change its fallback first", param="name"
                    )
            self._home.remove_model(name)
            removing = asyncio.create_task(self._supervisor.remove(name), name=f"remove {name}")
            # It has begun before anything else is changed.
            await asyncio.sleep(0)
        await removing

    async def load(self, name: str) -> ModelView:
        """Want its engines now; undoes `drain`."""
        return self._supervisor.load(name)

    async def unload(self, name: str) -> ModelView:
        """End its engines, after a drain."""
        return await self._supervisor.unload(name)

    async def drain(self, name: str, replica: str = "") -> ModelView:
        """No new requests for a replica, or for all of them."""
        return self._supervisor.drain(name, replica)

    async def restart(self, name: str, replica: str = "") -> ModelView:
        """End a replica, or all of them one after another, and start it anew."""
        return await self._supervisor.restart(name, replica)

    async def probe(self, url: str, key: str) -> Probed:
        """Ask which kind of server stands at an address, and what it offers."""
        return await probe(url, key_reference(key), plugins.find_connect, plugins.names("backends"))

    async def estimate(self, source: str, settings: dict[str, Any]) -> Estimate:
        """What a model would take, before it is added."""
        return await self._supervisor.estimate(would_be(source, settings))

    def _read(self, name: str, entry: Any) -> ModelSettings:
        """The settings of an entry. Raises ServingError (bad_request) for what cannot be, and for unknown sources."""
        field = "name"

        def place(path: str) -> str:
            nonlocal field
            field = path.removeprefix(".") or "name"
            return f"model {name!r}: {field}"

        try:
            settings = config.model(name, entry, base=Path.cwd(), queue=self._queue(), place=place)
            field = "source"
            for one in dict.fromkeys(settings.sources):
                plugins.check(one)
            field = "fallback"
            models = {**self._supervisor.models(), name: settings}
            check_names(models, lambda of, about: place(about) if of == name else f"model {of!r}: {about}")
        except ServingError as error:
            raise ServingError(error.kind, error.message, param=error.param or field) from None
        return settings

    def _added(self, name: str) -> Any:
        """The entry of a model that was added. Raises ServingError: no_model, conflict for one of the settings."""
        self._dispatch.pool(name)
        models = self._home.models()
        if name not in models:
            raise ServingError(
                "conflict",
                f"{name!r} was not added by administration, so it cannot be changed or removed by it: change the "
                f"settings (`trunkcall config explain models.{name}` says where it stands), then `trunkcall reload`",
                param="name",
            )
        return models[name]
