"""What a model's sources become: replicas that we start, with their keepers, and upstreams that are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial

import msgspec

from trunkcall.control.keeper import LOOK_SECONDS, Keeper, Means, Plan
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.sleeping import watch
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.core.ports import Connect, Controlled, Engine

FindConnect = Callable[[str], Connect]
FindEngine = Callable[[str], Engine | None]


class Prepared(msgspec.Struct, frozen=True):
    """One source that can work; plan and spec are None for an upstream, for which nothing is started."""

    source: Source
    plan: Plan | None = None
    spec: LaunchSpec | None = None


def prepare(
    settings: ModelSettings,
    sources: Iterable[Source],
    machine: Machine,
    find_engine: FindEngine,
    find_connect: FindConnect,
) -> list[Prepared]:
    """Look whether sources can work, which may read files; starts and changes nothing.

    Raises ServingError saying why one cannot, and what to do.
    """
    found: list[Prepared] = []
    for source in sources:
        engine = find_engine(source.scheme)
        if engine is None:
            find_connect(source.scheme)
            found.append(Prepared(source))
            continue
        plan = partial(_plan, engine, source)
        with _naming(settings.name):
            spec = plan(settings, machine)
            # A protocol that nobody speaks is found now, not at the first start.
            find_connect(spec.protocol)
        found.append(Prepared(source, plan, spec))
    return found


def _plan(engine: Engine, source: Source, settings: ModelSettings, machine: Machine) -> LaunchSpec:
    """What to start for one of a model's sources, with the operator's own environment on top."""
    spec = engine.plan(msgspec.structs.replace(settings, sources=(source,)), machine)
    return msgspec.structs.replace(spec, env={**spec.env, **settings.env})


@contextmanager
def _naming(model: str) -> Generator[None, None, None]:
    """What fails within says of which model, of several in the settings."""
    try:
        yield
    except ServingError as error:
        named = f"model {model!r}"
        if named in error.message:
            raise
        raise ServingError(error.kind, f"{named}: {error.message}", param=error.param) from error


class Member:
    """One replica of a model, and who looks after it while the model has it."""

    def __init__(self, replica: Replica, keeper: Keeper | None = None) -> None:
        self.replica = replica
        self.keeper = keeper
        self.retiring = False
        """Another one takes its place."""
        self._looking: asyncio.Task[None] | None = None

    @property
    def there(self) -> bool:
        """It answers, and goes on doing so."""
        return self.keeper.ready if self.keeper is not None else not self.retiring

    @property
    def rests(self) -> bool:
        """Nothing is to be decided about it as long as its model is not wanted."""
        return not self.retiring and (self.keeper is None or (self.keeper.off and self.replica.state == "off"))

    def look_after(self, means: Means) -> None:
        """From now on look at an upstream that tells of itself."""
        backend = self.replica.backend
        if self.keeper is None and isinstance(backend, Controlled):
            self._looking = asyncio.create_task(
                watch(means.dispatch, self.replica, backend.controls), name=f"watch {self.replica.id}"
            )

    async def leave(self, means: Means, seconds: float | None) -> None:
        """No more grants; returns once it has ended, after so many seconds at the most with what still ran."""
        if self.keeper is not None:
            ending = self.keeper.leave(seconds)
            if ending is not None:
                await asyncio.wait((ending,))
            return
        means.dispatch.close(self.replica)
        loop = asyncio.get_running_loop()
        end = loop.time() + (float("inf") if seconds is None else seconds)
        while self.replica.in_flight and loop.time() < end:
            await asyncio.sleep(LOOK_SECONDS)
        await self.aclose()

    async def aclose(self) -> None:
        """End it at once, or give back an upstream's connections."""
        if self.keeper is not None:
            await self.keeper.aclose()
            return
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        backend = self.replica.backend
        if backend is not None:
            self.replica.backend = None
            self.replica.state = "off"
            await backend.aclose()


def make(prepared: Prepared, settings: ModelSettings, number: int, find_connect: FindConnect) -> Replica:
    """The replica for a source, connected to already where it is an upstream.

    Raises ServingError for a source or options that the backend cannot take.
    """
    source = prepared.source
    replica = Replica(f"{settings.name}/{number}", source, settings.slots)
    if prepared.plan is None:
        replica.backend = find_connect(source.scheme)(source.target, settings, source.model)
        replica.address = source.target
        replica.state = "ready"
    else:
        replica.spec = prepared.spec
        replica.managed = True
    return replica


def joined(means: Means, pool: Pool, replica: Replica, prepared: Prepared) -> Member:
    """A replica of a pool with who looks after it."""
    member = Member(replica, Keeper(means, pool, replica, prepared.plan) if prepared.plan is not None else None)
    member.look_after(means)
    return member
