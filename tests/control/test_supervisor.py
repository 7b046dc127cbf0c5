"""What the supervisor makes of a plan, with a placement that starts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from control.told_replicas import Backend

from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.supervisor import Supervisor, after
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.core.ports import Handle, PlacementEvent, Ready

pytestmark = pytest.mark.anyio

SOURCE = Source("fake", "x", "inner")


class Child:
    pid = 1
    address = ""

    def log(self) -> tuple[str, ...]:
        return ()


class Placement:
    """Its children are ready once `may` is set and live until they are stopped."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()

    async def start(self, spec: LaunchSpec) -> Handle:
        return Child()

    async def stop(self, handle: Handle, grace: float) -> None:
        pass

    async def watch(self, handle: Handle) -> AsyncIterator[PlacementEvent]:
        await self.may.wait()
        yield Ready("http://127.0.0.1:1")
        await asyncio.Event().wait()


class World:
    """A supervisor whose engine plans what the test says; `connected` are the calls of the backend's connect."""

    def __init__(self, **spec: Any) -> None:
        self.spec = LaunchSpec(**{"command": ("x",), "protocol": "spoken", "slots": 2, **spec})
        self.refuses = False
        self.planned: list[ModelSettings] = []
        self.connected: list[tuple[str, str, str]] = []
        self.dispatch = Dispatch()
        self.placement = Placement()
        self.machine = Machine(1, 1)
        self.supervisor = Supervisor(
            self.dispatch, {"local": self.placement}, lambda: self.machine, lambda scheme: self, self._find
        )

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        self.planned.append(model)
        if self.refuses:
            raise ServingError("bad_request", "its folder is empty")
        if machine.gpu_free and max(machine.gpu_free) < self.spec.memory:
            raise ServingError("bad_request", f"it needs {self.spec.memory}, free are {machine.gpu_free}")
        return self.spec

    def _find(self, scheme: str) -> Any:
        if scheme != "spoken":
            raise ServingError("bad_request", f"there is no backend {scheme!r}")
        return self._connect

    def _connect(self, target: str, settings: ModelSettings, model: str) -> Backend:
        self.connected.append((target, settings.name, model))
        return Backend()


def model(name: str = "m") -> ModelSettings:
    return ModelSettings(name=name, sources=(SOURCE,), options={"a": 1}, key="env:KEY")


async def lease(world: World, name: str) -> Lease:
    found = world.dispatch.lease(name)
    return await asyncio.wait_for(found.future, 5) if isinstance(found, Wait) else found


async def test_a_protocol_that_nobody_speaks_is_found_when_the_model_is_added() -> None:
    world = World(protocol="smtp")
    with pytest.raises(ServingError, match="'smtp'"):
        world.supervisor.add(model())
    assert world.dispatch.pools == {}


async def test_of_several_models_the_one_that_cannot_be_is_named() -> None:
    for protocol, refuses in (("unspoken", False), ("spoken", True)):
        world = World(protocol=protocol)
        world.refuses = refuses
        with pytest.raises(ServingError, match=r"^model 'm': "):
            world.supervisor.add(model())


@pytest.mark.parametrize("called", ["", "inner"])
async def test_the_backend_is_told_what_the_replica_calls_the_model(called: str) -> None:
    world = World(model=called)
    world.supervisor.add(model())
    await lease(world, "m")
    assert world.connected == [("http://127.0.0.1:1", "m", called)]
    assert world.planned[-1].sources == (SOURCE,)
    await world.supervisor.aclose()


async def test_adapters_of_a_plan_are_models() -> None:
    world = World(adapters=("a", "b"))
    pool = world.supervisor.add(model())
    assert (await lease(world, "b")).replica is pool.replicas[0]
    assert pool.replicas[0].backend.controls.adapters == {"a", "b"}  # type: ignore[union-attr]
    with pytest.raises(ServingError, match="there is a model 'a'"):
        world.supervisor.add(model("other"))
    assert set(world.dispatch.pools) == {"m", "a", "b"}
    await world.supervisor.remove("m", 0)
    assert world.dispatch.pools == {}
    await world.supervisor.aclose()


@pytest.mark.parametrize(
    ("free", "at_once"),
    [((100,), False), ((100, 100), True), ((100, 50), False), ((130,), True), ((), True)],
)
async def test_models_that_load_at_the_same_moment_do_not_plan_with_the_same_memory(
    free: tuple[int, ...], at_once: bool
) -> None:
    world = World(memory=60)
    gpus = tuple(f"GPU {number}" for number in range(len(free)))
    world.machine = Machine(1, 1, gpus, free, free)
    world.placement.may.clear()
    waits = [world.supervisor.add(model(name)) and world.dispatch.lease(name) for name in ("a", "b")]

    def started() -> int:
        return sum(pool.replicas[0].pid is not None for pool in world.dispatch.pools.values())

    async with asyncio.timeout(5):
        while started() < (2 if at_once else 1) or len(world.planned) < 4:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert started() == (2 if at_once else 1)
    world.placement.may.set()
    for wait in waits:
        assert isinstance(wait, Wait)
        await asyncio.wait_for(wait.future, 5)
    await world.supervisor.aclose()


async def test_what_does_not_fit_anyway_waits_for_nobody() -> None:
    world = World(memory=60)
    world.machine = Machine(1, 1, ("GPU",), (100,), (100,))
    world.placement.may.clear()
    pools = [world.supervisor.add(model(name)) for name in ("a", "b")]
    pools[0].wanted.set()
    await asyncio.sleep(0.1)
    world.machine = Machine(1, 1, ("GPU",), (100,), (50,))
    wait = world.dispatch.lease("b")
    assert isinstance(wait, Wait)
    with pytest.raises(ServingError, match="free are \\(50,\\)"):
        await asyncio.wait_for(wait.future, 5)
    await world.supervisor.aclose()


def test_claims_are_taken_of_the_roomiest() -> None:
    machine = Machine(1, 1, ("a", "b"), (100, 100), (50, 90))
    assert after(machine, ()).gpu_free == (50, 90)
    assert after(machine, (60,)).gpu_free == (50, 30)
    assert after(machine, (60, 30)).gpu_free == (20, 30)
    assert after(machine, (100,)).gpu_free == (40, 0)
    assert after(machine, (500,)).gpu_free == (0, 0)
    assert after(Machine(1, 1), (60,)) == Machine(1, 1)
