"""The models that administration adds, changes and removes: in the server, and remembered in its home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trunkcall import config, plugins
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView
from trunkcall.home import Home


class Catalogue:
    """Fits control.operations.Models.

    queue: most requests that wait for a model that says nothing of it.
    """

    def __init__(self, dispatch: Dispatch, supervisor: Supervisor, home: Home, queue: int) -> None:
        self._dispatch = dispatch
        self._supervisor = supervisor
        self._home = home
        self._queue = queue

    async def add(self, name: str, entry: Any) -> ModelView:
        """Make a model callable and remember it."""
        settings = config.model(name, entry, base=Path.cwd(), queue=self._queue)
        for one in settings.sources:
            plugins.check(one)
        pool = self._supervisor.add(settings)
        try:
            self._home.add_model(name, entry)
        except ServingError:
            await self._supervisor.remove(name, 0)
            raise
        return pool.view()

    async def remove(self, name: str) -> None:
        """Forget an added model, after a drain."""
        self._dispatch.pool(name)
        self._home.remove_model(name)
        await self._supervisor.remove(name)

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
