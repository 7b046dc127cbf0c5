"""Replicas that tell of themselves and take orders, for tests of what is made of that; no process is started."""

from __future__ import annotations

from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings, Source
from trunkcall.core.ports import Told


class Controls:
    """Fits core.ports.Controls; `refuses` names orders that fail."""

    def __init__(self) -> None:
        self.adapters: set[str] = set()
        self.loaded: dict[str, str] = {}
        self.told: Told | None = Told()
        self.refuses: set[str] = set()
        self.orders: list[str] = []

    async def look(self) -> Told | None:
        self._note("look")
        return self.told

    async def sleep(self) -> None:
        self._note("sleep")
        self.told = Told(asleep=True)

    async def wake(self) -> None:
        self._note("wake")
        self.told = Told()

    async def load_adapter(self, name: str, path: str) -> None:
        self._note("load")
        self.loaded[name] = path

    async def unload_adapter(self, name: str) -> None:
        self._note("unload")
        del self.loaded[name]

    def _note(self, order: str) -> None:
        self.orders.append(order)
        if order in self.refuses:
            raise ServingError("upstream_error", f"no {order} today")


class Backend:
    """Fits core.ports.Backend and Controlled."""

    protocols: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.controls = Controls()

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass


def told_pool(dispatch: Dispatch, count: int = 1, name: str = "m", **options: object) -> tuple[Pool, list[Controls]]:
    """A model of so many replicas that are ready."""
    replicas: list[Replica] = []
    controls: list[Controls] = []
    for number in range(count):
        replica = Replica(f"{name}/{number}", Source("x"), 4)
        backend = Backend()
        replica.backend = backend
        replica.state = "ready"
        replicas.append(replica)
        controls.append(backend.controls)
    pool = Pool(ModelSettings(name=name, sources=(Source("x"),) * count, options=dict(options)), replicas)
    dispatch.pools[name] = pool
    return pool, controls
