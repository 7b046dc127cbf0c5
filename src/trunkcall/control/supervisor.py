"""Replicas that are wanted are kept running: started on first use, restarted with back-off, drained at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec

from trunkcall.control import adapters
from trunkcall.control.dispatch import Dispatch, Pool, Replica
from trunkcall.control.sleeping import watch
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.core.ports import Connect, Controlled, Engine, Exited, Handle, Placement, Ready

FIRST_BACKOFF: Final = 0.1
LONGEST_BACKOFF: Final = 30.0
STEADY_SECONDS: Final = 10.0
"""A replica that ran so long has its failures forgotten."""
START_FAILURES: Final = 2
"""After so many failed starts in a row callers are told, and the next start waits for a caller."""

FETCH_SECONDS: Final = 24 * 3600.0
"""A download may take so long."""

Plan = Callable[[ModelSettings, Machine], LaunchSpec]
"""Made anew before each start: files come, and what is free on a GPU changes."""
FindConnect = Callable[[str], Connect]
FindEngine = Callable[[str], Engine | None]


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


def _adapters(replica: Replica) -> tuple[str, ...]:
    return replica.spec.adapters if replica.spec is not None else ()


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait before start number `failures` + 1; jitter in 0..1 spreads it by a quarter."""
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** max(0, failures - 1)) * (1 + jitter / 4)


def after(machine: Machine, claims: Iterable[int]) -> Machine:
    """The machine once so many bytes each are taken of its GPUs, of the roomiest first."""
    free = list(machine.gpu_free)
    for claim in claims:
        rest = claim
        for number in sorted(range(len(free)), key=lambda number: -free[number]):
            taken = min(rest, free[number])
            free[number] -= taken
            rest -= taken
    return msgspec.structs.replace(machine, gpu_free=tuple(free))


class Supervisor:
    """Owns the keeper task of each replica that we start ourselves.

    find_engine gives None for a scheme that is not an engine's; find_connect raises
    ServingError for one that is not a backend's either.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        placements: Mapping[str, Placement],
        look: Callable[[], Machine],
        find_engine: FindEngine,
        find_connect: FindConnect,
    ) -> None:
        self._dispatch = dispatch
        self._placement = placements["local"]
        self._look = look
        self._machine = look()
        self._find_engine = find_engine
        self._find_connect = find_connect
        self._keepers: dict[str, list[asyncio.Task[None]]] = {}
        self._turn = asyncio.Lock()
        """Plans are made one at a time."""
        self._claims: dict[str, int] = {}
        """Bytes that replicas need which are starting."""
        self._settled = asyncio.Event()
        """One of the claims has been given back."""

    def add(self, settings: ModelSettings) -> Pool:
        """Make a model callable; engines start on first use, or now with `preload`.

        Raises ServingError when a source cannot work, saying why and what to do; conflict
        when the name is taken.
        """
        if settings.name in self._dispatch.pools:
            raise ServingError("conflict", f"the model {settings.name!r} exists; remove it first or take another name")
        replicas: list[Replica] = []
        plans: list[tuple[Replica, Plan]] = []
        for number, source in enumerate(settings.sources):
            replica = Replica(f"{settings.name}/{number}", source, settings.slots)
            engine = self._find_engine(source.scheme)
            if engine is None:
                connect = self._find_connect(source.scheme)
                replica.backend = connect(source.target, settings, source.model)
                replica.address = source.target
                replica.state = "ready"
            else:
                plan = partial(_plan, engine, source)
                with _naming(settings.name):
                    replica.spec = plan(settings, self._machine)
                    # A protocol that nobody speaks is found now, not at the first start.
                    self._find_connect(replica.spec.protocol)
                replica.managed = True
                plans.append((replica, plan))
            replicas.append(replica)
        pool = Pool(settings, replicas)
        offered = {name: [r for r in replicas if name in _adapters(r)] for r in replicas for name in _adapters(r)}
        adapters.offer(self._dispatch, pool, offered)
        self._dispatch.pools[settings.name] = pool
        if settings.preload:
            pool.wanted.set()
        tasks = [
            asyncio.create_task(self._keep(pool, replica, plan), name=f"keep {replica.id}") for replica, plan in plans
        ]
        tasks += [self._look_after(r, r.backend) for r in replicas if isinstance(r.backend, Controlled)]
        self._keepers[settings.name] = tasks
        return pool

    async def remove(self, name: str, drain_seconds: float = 30.0) -> None:
        """Take a model out: no new grants, running requests may end, then its children end.

        Raises ServingError (no_model) for an unknown name.
        """
        self._dispatch.pool(name)
        pool = self._dispatch.remove(name)
        for adapter in tuple(pool.adapters):
            adapters.withdraw(self._dispatch, pool, adapter)
        loop = asyncio.get_running_loop()
        end = loop.time() + drain_seconds
        while any(r.in_flight for r in pool.replicas) and loop.time() < end:
            await asyncio.sleep(0.02)
        await self._end(name, pool)

    async def aclose(self) -> None:
        """End all children and give back all connections."""
        names = list(self._keepers)
        await asyncio.gather(*(self._end(name, self._dispatch.pools.pop(name, None)) for name in names))

    async def _end(self, name: str, pool: Pool | None) -> None:
        keepers = self._keepers.pop(name, [])
        for task in keepers:
            task.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for replica in pool.replicas if pool else ():
            if replica.backend is not None:
                await replica.backend.aclose()
                replica.backend = None
            replica.state = "off"

    async def _keep(self, pool: Pool, replica: Replica, plan: Plan) -> None:
        """Level-triggered: whatever happened before, a wanted replica that is not there is started."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            await pool.wanted.wait()
            replica.state = "starting"
            began = loop.time()
            end = await self._begin(pool, replica, plan)
            backend = replica.backend
            failures = 1 if backend is not None and loop.time() - began > STEADY_SECONDS else failures + 1
            log.warning("replica %s ended: %s", replica.id, end.reason)
            replica.restarts += 1
            # A child that told its own error will tell it again; one that was killed may do better.
            gave_up = backend is None and (end.code > 0 or failures >= START_FAILURES)
            self._dispatch.lost(replica, "failed" if gave_up else "starting", end.reason)
            if backend is not None:
                await backend.aclose()
            await asyncio.sleep(backoff(failures, random.random()))
            if gave_up:
                # Callers were told why; the next one makes a new try.
                replica.state = "off"
                pool.wanted.clear()

    async def _begin(self, pool: Pool, replica: Replica, plan: Plan) -> Exited:
        """Plan with what is there now, get what is missing, and let the child live."""
        try:
            return await self._plan_and_live(pool, replica, plan)
        except ServingError as error:
            return Exited(1, error.message)
        finally:
            self._settle(replica)

    async def _plan_and_live(self, pool: Pool, replica: Replica, plan: Plan) -> Exited:
        spec = await self._planned(pool, replica, plan)
        if spec.fetch:
            fetching = msgspec.structs.replace(spec, command=spec.fetch, start_timeout=FETCH_SECONDS)
            end = await self._live(pool, replica, fetching)
            if end.code:
                return end
            spec = await self._planned(pool, replica, plan)
            if spec.fetch:
                return Exited(1, "what was fetched is not what the model needs")
        return await self._live(pool, replica, spec)

    async def _planned(self, pool: Pool, replica: Replica, plan: Plan) -> LaunchSpec:
        """Plan with the GPU memory that others which are starting leave, and claim it; too little of it is waited for.

        It is no refusal, since what they claim may be there twice, taken already, or be no GPU's at all.

        Raises ServingError when the plan would not work without them either.
        """
        while True:
            async with self._turn:
                self._settled.clear()
                machine = await asyncio.to_thread(self._look)
                spec = await asyncio.to_thread(plan, pool.settings, machine)
                left = after(machine, self._claims.values())
                try:
                    if left != machine:
                        spec = await asyncio.to_thread(plan, pool.settings, left)
                    self._claims[replica.id] = spec.memory
                    replica.spec = spec
                    return spec
                except ServingError as error:
                    log.info("replica %s waits for those that are starting: %s", replica.id, error.message)
            await self._settled.wait()

    def _settle(self, replica: Replica) -> None:
        self._claims.pop(replica.id, None)
        self._settled.set()

    async def _live(self, pool: Pool, replica: Replica, spec: LaunchSpec) -> Exited:
        """One life of a child, from start to exit."""
        try:
            handle = await self._placement.start(spec)
        except OSError as error:
            return Exited(127, f"{spec.command[0]} cannot be started: {error.strerror or error}")
        replica.pid = handle.pid
        replica.log = handle.log
        try:
            return await self._watch(pool, replica, spec, handle)
        finally:
            await self._placement.stop(handle, spec.grace)
            replica.pid = None
            replica.address = ""

    async def _watch(self, pool: Pool, replica: Replica, spec: LaunchSpec, handle: Handle) -> Exited:
        looking: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(spec.start_timeout) as limit:
                async for event in self._placement.watch(handle):
                    match event:
                        case Ready(address=address, about=about_child):
                            limit.reschedule(None)
                            self._settle(replica)
                            replica.address = address
                            replica.about = about_child
                            connect = self._find_connect(spec.protocol)
                            # The options are the engine's, and the key is not for our own child.
                            about = msgspec.structs.replace(pool.settings, options={}, key="")
                            backend = connect(address, about, spec.model)
                            if isinstance(backend, Controlled):
                                controls = backend.controls
                                await adapters.settle(self._dispatch, pool, replica, controls, spec.adapters)
                                looking = self._look_after(replica, backend)
                            self._dispatch.ready(replica, backend, spec.slots)
                            log.info("replica %s is ready at %s", replica.id, address)
                        case Exited():
                            return event
        except TimeoutError:
            return Exited(1, f"it was not ready after {spec.start_timeout:g} seconds")
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        raise AssertionError("a placement's watch ends with Exited")

    def _look_after(self, replica: Replica, backend: Controlled) -> asyncio.Task[None]:
        return asyncio.create_task(watch(self._dispatch, replica, backend.controls), name=f"watch {replica.id}")
