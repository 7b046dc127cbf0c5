"""What the supervisor brings about, with a placement that starts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import msgspec
import pytest
from control.told_replicas import Backend

from trunkcall.control import keeper, rooms, supervisor, swap
from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.news import News
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.core.ports import Exited, Handle, PlacementEvent, Ready

pytestmark = pytest.mark.anyio

SOURCE = Source("fake", "x", "inner")
STAY = 0.2
GPU = Machine(1, 1, ("GPU",), (100,), (100,))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (swap, keeper):
        monkeypatch.setattr(module, "LEAST_STAY", STAY)
    monkeypatch.setattr(keeper, "GIVE_BACK_SECONDS", 0.2)
    monkeypatch.setattr(rooms, "PAUSE_SECONDS", 0.02)


class Child:
    address = ""

    def __init__(self, pid: int, spec: LaunchSpec) -> None:
        self.pid = pid
        self.spec = spec
        self.end = asyncio.Event()
        self.words = Exited(-9, "it crashed")

    def log(self) -> tuple[str, ...]:
        return ("org/x: 43 %, 1 of 2",) if self.spec.command == ("fetch",) else ()

    def tail(self, number: int) -> tuple[int, tuple[str, ...]]:
        return 0, ()


class Placement:
    """Its children are ready once `may` is set and live until they are stopped or crash."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()
        self.living: dict[int, Child] = {}
        self.started: list[Child] = []
        self.most = 0
        self.crashes: set[str] = set()
        """Options `a` of models that crash as they start."""
        self.takes = 0

    async def start(self, spec: LaunchSpec) -> Child:
        child = Child(len(self.started) + 1, spec)
        self.started.append(child)
        self.living[child.pid] = child
        self.most = max(self.most, sum(one.spec.memory for one in self.living.values()))
        return child

    async def stop(self, handle: Handle, grace: float) -> None:
        await asyncio.sleep(0)
        self.living.pop(handle.pid, None)

    def memory(self, handles: Sequence[Handle]) -> list[int]:
        return [self.takes for _ in handles]

    async def watch(self, handle: Handle) -> AsyncIterator[PlacementEvent]:
        child = self.living[handle.pid]
        if child.spec.command == ("fetch",):
            await child.end.wait()
            yield Exited(0, "")
            return
        if child.spec.env.get("a") in self.crashes:
            yield Exited(1, "CUDA error: no luck")
            return
        await self.may.wait()
        yield Ready("http://127.0.0.1:1")
        await child.end.wait()
        self.living.pop(child.pid, None)
        yield child.words

    def crash(self, pid: int | None) -> None:
        assert pid is not None
        self.living[pid].end.set()


class World:
    """A supervisor whose engine plans what the test says; `connected` are the calls of the backend's connect."""

    def __init__(
        self,
        memory: int | None = None,
        needs: dict[str, int] | None = None,
        machine: Machine = Machine(1, 1),  # noqa: B008
        **spec: Any,
    ) -> None:
        self.spec = LaunchSpec(**{"command": ("x",), "protocol": "spoken", "slots": 2, **spec})
        self.needs = needs or {}
        self.refuses = False
        self.planned: list[ModelSettings] = []
        self.connected: list[tuple[str, str, str]] = []
        self.dispatch = Dispatch()
        self.placement = Placement()
        self.machine = machine
        self.supervisor = Supervisor(
            self.dispatch,
            {"local": self.placement},
            lambda: self.machine,
            lambda scheme: None if scheme == "spoken" else self,
            self._find,
            memory,
        )

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        self.planned.append(model)
        if self.refuses:
            raise ServingError("bad_request", "its folder is empty")
        need = self.needs.get(model.name, 0)
        if machine.gpu_free and max(machine.gpu_free) < need:
            raise ServingError("bad_request", f"it needs {need}, free are {machine.gpu_free}")
        return msgspec.structs.replace(self.spec, memory=need, env={"a": str(model.options.get("a"))})

    def _find(self, scheme: str) -> Any:
        if scheme != "spoken":
            raise ServingError("bad_request", f"there is no backend {scheme!r}")
        return self._connect

    def _connect(self, target: str, settings: ModelSettings, model: str) -> Backend:
        self.connected.append((target, settings.name, model))
        return Backend()

    def state(self, name: str) -> list[str]:
        return [replica.state for replica in self.dispatch.pools[name].replicas]

    def pid(self, name: str, number: int = 0) -> int | None:
        return self.dispatch.pools[name].replicas[number].pid


@asynccontextmanager
async def world(*models: ModelSettings, **given: Any) -> AsyncIterator[World]:
    """With its end, and with no task left that fails."""
    made = World(**given)
    try:
        async with asyncio.timeout(50):
            for settings in models:
                made.supervisor.add(settings)
            yield made
    finally:
        await made.supervisor.aclose()
        assert not made.placement.living
        rest = [task for task in asyncio.all_tasks() if task.get_name().startswith(("keep", "end", "part", "watch"))]
        assert not rest


def model(name: str = "m", replicas: int = 1, **more: Any) -> ModelSettings:
    return ModelSettings(
        name=name, **{"sources": (SOURCE,) * replicas, "options": {"a": "1"}, "key": "env:KEY", **more}
    )


async def lease(world: World, name: str) -> Lease:
    found = world.dispatch.lease(name)
    return await asyncio.wait_for(found.future, 30) if isinstance(found, Wait) else found


async def ask(world: World, name: str, seconds: float = 0.0) -> None:
    one = await lease(world, name)
    await asyncio.sleep(seconds)
    one.release()


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0.005)


async def test_a_protocol_that_nobody_speaks_is_found_when_the_model_is_added() -> None:
    async with world(protocol="smtp") as it:
        with pytest.raises(ServingError, match="'smtp'"):
            it.supervisor.add(model())
        assert it.dispatch.pools == {}


async def test_of_several_models_the_one_that_cannot_be_is_named() -> None:
    for protocol, refuses in (("unspoken", False), ("spoken", True)):
        async with world(protocol=protocol) as it:
            it.refuses = refuses
            with pytest.raises(ServingError, match=r"^model 'm': "):
                it.supervisor.add(model())
            with pytest.raises(ServingError, match=r"^model 'm': "):
                await it.supervisor.check(model())


@pytest.mark.parametrize("called", ["", "inner"])
async def test_the_backend_is_told_what_the_replica_calls_the_model(called: str) -> None:
    async with world(model(), model=called) as it:
        await lease(it, "m")
        assert it.connected == [("http://127.0.0.1:1", "m", called)]
        assert it.planned[-1].sources == (SOURCE,)


async def test_adapters_of_a_plan_are_models() -> None:
    async with world(model(), adapters=("a", "b")) as it:
        (replica,) = it.dispatch.pools["m"].replicas
        assert (await lease(it, "b")).replica is replica
        assert replica.backend.controls.adapters == {"a", "b"}  # type: ignore[union-attr]
        with pytest.raises(ServingError, match="there is a model 'a'"):
            it.supervisor.add(model("other"))
        assert set(it.dispatch.pools) == {"m", "a", "b"}
        await it.supervisor.remove("m", 0)
        assert it.dispatch.pools == {}


# Room


async def test_callers_in_turn_swap_two_models_of_which_one_fits() -> None:
    async with world(model("a"), model("b"), memory=100, needs={"a": 60, "b": 60}) as it:
        began = asyncio.get_running_loop().time()
        order: list[str] = []

        async def caller(name: str, number: int) -> None:
            for _ in range(8):
                one = await asyncio.wait_for(lease(it, name), 30)
                order.append(f"{name}{number}")
                await asyncio.sleep(0.02)
                one.release()

        await asyncio.gather(*(caller(name, number) for number in range(3) for name in "ab"))
        seconds = asyncio.get_running_loop().time() - began
        assert it.placement.most <= 100
        assert len(order) == 48
        assert len(it.placement.started) <= seconds / STAY + 2, "each stays its time"
        assert len(list(groupby(one[0] for one in order))) == len(it.placement.started), "each start serves a batch"


async def test_a_busy_one_finishes_and_takes_no_more() -> None:
    async with world(model("a"), model("b"), memory=100, needs={"a": 60, "b": 60}) as it:
        running = await lease(it, "a")
        b = asyncio.create_task(ask(it, "b"))
        await until(lambda: it.state("a") == ["draining"])
        assert it.pid("a") is not None
        again = asyncio.create_task(ask(it, "a"))
        await asyncio.sleep(2 * STAY)
        assert not b.done() and it.pid("a") is not None, "what runs is not cut"
        running.release()
        await b
        await again
        assert it.placement.most <= 100


async def test_for_a_pinned_one_nobody_comes_in() -> None:
    async with world(
        model("a", pinned=True), model("b"), model("c"), memory=100, needs={"a": 60, "b": 60, "c": 120}
    ) as it:
        await ask(it, "a")
        for name, words in (("b", "it needs 60 bytes"), ("c", "it needs 120 bytes")):
            with pytest.raises(ServingError, match=words) as caught:
                await lease(it, name)
            assert caught.value.kind == "out_of_memory"
            assert "Unpin" in caught.value.message and "`memory`" in caught.value.message
            with pytest.raises(ServingError) as caught:
                it.dispatch.lease(name)
            assert (caught.value.kind, caught.value.status) == ("out_of_memory", 507)
        assert it.state("a") == ["ready"]
        it.supervisor.limit(200)
        await until(lambda: it.state("b") == ["off"])
        await ask(it, "b")
        assert it.state("a") == ["ready"]


async def test_the_least_recently_used_goes() -> None:
    async with world(*map(model, "abc"), memory=100, needs=dict.fromkeys("abc", 50)) as it:
        for name in "aba":
            await ask(it, name)
        await asyncio.sleep(STAY)
        await ask(it, "c")
        assert [it.state(name) for name in "abc"] == [["ready"], ["off"], ["ready"]]


async def test_what_is_not_known_is_measured() -> None:
    async with world(model("a"), model("b"), memory=100) as it:
        it.placement.takes = 70
        await ask(it, "a")
        await until(lambda: it.dispatch.pools["a"].replicas[0].rss == 70)
        it.needs["b"] = 60
        await ask(it, "b")
        await until(lambda: it.state("a") == ["off"])
        assert it.dispatch.pools["a"].view().replicas[0].rss == 70


async def test_a_second_replica_takes_what_is_free() -> None:
    async with world(model("a", replicas=3), model("b"), memory=100, needs={"a": 40, "b": 40}) as it:
        await ask(it, "a")
        await until(lambda: sorted(it.state("a")) == ["ready", "ready", "starting"])
        assert "waits for 40 bytes" in "".join(one.progress for one in it.dispatch.pools["a"].view().replicas)
        await ask(it, "b")
        assert sorted(it.state("a")) == ["ready", "starting", "starting"]
        assert it.placement.most == 80


async def test_ttl_ends_a_model_that_never_got_all_its_replicas() -> None:
    async with world(model("a", replicas=3, ttl=3.0, preload=True), memory=100, needs={"a": 40}) as it:
        await until(lambda: sorted(it.state("a")) == ["ready", "ready", "starting"])
        await until(lambda: it.state("a") == ["off", "off", "off"])
        await asyncio.sleep(0.1)
        assert not it.placement.living and len(it.placement.started) == 2


async def test_ttl_ends_an_idle_model_and_no_other() -> None:
    async with world(model("a", ttl=0.3), model("b", ttl=0.3), model("c")) as it:
        running = await lease(it, "a")
        await ask(it, "b")
        await ask(it, "c")
        await until(lambda: it.state("b") == ["off"])
        assert (it.state("a"), it.state("c")) == (["ready"], ["ready"])
        running.release()
        await until(lambda: it.state("a") == ["off"])
        assert set(it.placement.living) == {it.pid("c")}
        await ask(it, "a")
        view = it.dispatch.pools["a"].view().replicas[0]
        assert view.loaded_at and view.last_used >= view.loaded_at - 0.1


# What people order


async def test_unload_waits_for_what_runs_and_the_next_call_loads_again() -> None:
    async with world(model()) as it:
        running = await lease(it, "m")
        unloading = asyncio.create_task(it.supervisor.unload("m"))
        await until(lambda: it.state("m") == ["draining"])
        running.release()
        assert (await unloading).replicas[0].state == "off"
        assert not it.placement.living
        await ask(it, "m")
        assert it.supervisor.load("m").replicas[0].state == "ready"


async def test_unload_cuts_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "DRAIN_SECONDS", 0.1)
    async with world(model()) as it:
        await lease(it, "m")
        await it.supervisor.unload("m")
        assert (it.state("m"), it.placement.living) == (["off"], {})


async def test_load_starts_all_and_unload_stops_a_start() -> None:
    async with world(model(replicas=2)) as it:
        it.placement.may.clear()
        assert [replica.state for replica in it.supervisor.load("m").replicas] == ["starting"] * 2
        await until(lambda: len(it.placement.living) == 2)
        view = it.dispatch.pools["m"].view().replicas[0]
        assert view.state == "starting" and view.progress.startswith("loading for ")
        await it.supervisor.unload("m")
        assert (it.state("m"), it.placement.living) == (["off", "off"], {})


async def test_drain_refuses_until_load() -> None:
    async with world(model(replicas=2)) as it:
        await ask(it, "m")
        await until(lambda: it.state("m") == ["ready", "ready"])
        it.supervisor.drain("m", "m/0")
        assert it.state("m") == ["draining", "ready"]
        kept = await lease(it, "m"), await lease(it, "m")
        assert {one.replica.id for one in kept} == {"m/1"}
        wait = it.dispatch.lease("m")
        assert isinstance(wait, Wait)
        it.supervisor.drain("m")
        with pytest.raises(ServingError, match="an operator drains it; `trunkcall models load m`") as caught:
            await wait.future
        assert caught.value.kind == "draining"
        with pytest.raises(ServingError, match="an operator drains it"):
            it.dispatch.lease("m")
        assert len(it.placement.living) == 2
        it.supervisor.load("m")
        assert it.state("m") == ["ready", "ready"]
        for one in kept:
            one.release()
        with pytest.raises(ServingError, match="there is no replica 'm/7'"):
            it.supervisor.drain("m", "m/7")


async def test_one_that_is_drained_is_not_started() -> None:
    async with world(model()) as it:
        it.supervisor.drain("m")
        with pytest.raises(ServingError, match="an operator"):
            it.dispatch.lease("m")
        it.dispatch.pools["m"].wanted.set()
        await asyncio.sleep(0.1)
        assert not it.placement.started
        it.supervisor.load("m")
        await ask(it, "m")


async def test_restart_goes_from_one_replica_to_the_next() -> None:
    async with world(model(replicas=2)) as it:
        await ask(it, "m")
        await until(lambda: it.state("m") == ["ready", "ready"])
        before = {it.pid("m", 0), it.pid("m", 1)}
        restarting = asyncio.create_task(it.supervisor.restart("m"))
        least = 2
        while not restarting.done():
            least = min(least, it.state("m").count("ready"))
            await ask(it, "m")
            await asyncio.sleep(0)
        assert least == 1
        assert not before & {it.pid("m", 0), it.pid("m", 1)}
        view = await it.supervisor.restart("m", "m/1")
        assert [one.state for one in view.replicas] == ["ready", "ready"]
        assert len(it.placement.started) == 5


async def test_engines_beside_an_upstream_start_with_the_first_call_which_does_not_wait() -> None:
    upstream = Source("spoken", "u")
    async with world(model(sources=(SOURCE, upstream)), model("far", sources=(upstream,))) as made:
        pool = made.dispatch.pools["m"]
        assert made.state("m") == ["off", "ready"]
        for name in ("far", "m"):
            found = made.dispatch.lease(name)
            assert isinstance(found, Lease) and found.replica.source == upstream
            found.release()
        await until(lambda: made.state("m") == ["ready", "ready"])
        assert not made.dispatch.pools["far"].wanted.is_set()
        await made.supervisor.unload("m")
        assert made.state("m") == ["off", "ready"]
        await made.supervisor.change(model(sources=(upstream,)))
        await ask(made, "m")
        assert not pool.wanted.is_set()


@pytest.mark.parametrize("how", ["unload", "remove", "change"])
async def test_restart_ends_with_its_model(how: str) -> None:
    async with world(model()) as it:
        await ask(it, "m")
        it.placement.may.clear()
        restart = asyncio.create_task(it.supervisor.restart("m"))
        await until(lambda: len(it.placement.started) == 2)
        await getattr(it.supervisor, how)(model(sources=(Source("spoken", "u"),)) if how == "change" else "m")
        with pytest.raises(ServingError, match="m/0 was unloaded or removed") as found:
            await asyncio.wait_for(restart, 30)
        assert found.value.kind == "conflict"


async def test_nothing_of_an_upstream_runs_here() -> None:
    async with world(model(sources=(Source("spoken", "http://x"),))) as it:
        for order in (it.supervisor.unload, it.supervisor.restart):
            with pytest.raises(ServingError, match="somebody else's server") as caught:
                await order("m")
            assert caught.value.kind == "conflict"
        it.supervisor.drain("m")
        with pytest.raises(ServingError, match="an operator"):
            it.dispatch.lease("m")
        it.supervisor.load("m")
        await ask(it, "m")


# Failures


async def test_one_that_crashes_as_it_starts_is_told_of_and_tried_for_the_next_caller() -> None:
    async with world(model()) as it:
        it.placement.crashes = {"1"}
        for starts in (1, 2):
            with pytest.raises(ServingError, match="'m' cannot be served: CUDA error: no luck"):
                await lease(it, "m")
            assert it.state("m") == ["failed"]
            with pytest.raises(ServingError, match="CUDA error: no luck"):
                it.dispatch.lease("m")
            await until(lambda: it.state("m") == ["off"])
            assert len(it.placement.started) == starts
        await asyncio.sleep(0.5)
        assert len(it.placement.started) == 2, "nobody has asked"
        it.placement.crashes = set()
        await ask(it, "m")


def test_back_off_grows_to_its_limit() -> None:
    assert [keeper.backoff(failures, 0.0) for failures in (1, 2, 3, 20)] == [0.1, 0.2, 0.4, 30.0]
    assert keeper.backoff(1, 1.0) == 0.125


async def test_one_of_two_that_crashes_comes_back_unasked() -> None:
    async with world(model(replicas=2)) as it:
        await ask(it, "m")
        await until(lambda: it.state("m") == ["ready", "ready"])
        it.placement.crash(it.pid("m", 0))
        await until(lambda: "starting" in it.state("m"))
        await ask(it, "m")
        await until(lambda: it.state("m") == ["ready", "ready"])
        assert it.dispatch.pools["m"].replicas[0].restarts == 1


async def test_one_that_is_unloaded_between_two_starts_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_BACKOFF", 2.0)
    async with world(model()) as it:
        await ask(it, "m")
        it.placement.crash(it.pid("m"))
        await until(lambda: it.dispatch.pools["m"].replicas[0].restarts)
        await it.supervisor.unload("m")
        await until(lambda: it.state("m") == ["off"])
        await asyncio.sleep(0.1)
        assert len(it.placement.started) == 1
        await ask(it, "m")


async def test_a_bug_in_an_engine_is_told() -> None:
    async with world(model()) as it:
        it.plan = lambda model, machine: {}["x"]  # type: ignore[method-assign, misc]
        it.supervisor._members["m"][0].keeper._plan = it.plan  # type: ignore[union-attr]
        with pytest.raises(ServingError, match="KeyError"):
            await lease(it, "m")


async def test_a_download_is_told_of() -> None:
    async with world(model(), fetch=("fetch",)) as it:
        it.dispatch.lease("m")
        await until(lambda: it.placement.living)
        assert it.dispatch.pools["m"].view().replicas[0].progress == "downloading org/x: 43 %, 1 of 2"
        it.spec = msgspec.structs.replace(it.spec, fetch=())
        it.placement.crash(1)
        await ask(it, "m")


# Changes


async def test_light_changes_start_nothing() -> None:
    async with world(model()) as it:
        await ask(it, "m")
        pid = it.pid("m")
        assert not await it.supervisor.change(model())
        assert await it.supervisor.change(model(ttl=9.0, queue=3, aliases=("n",)))
        assert (it.pid("m"), it.dispatch.pool("n").settings.queue) == (pid, 3)
        assert it.supervisor.models() == {"m": model(ttl=9.0, queue=3, aliases=("n",))}


@pytest.mark.parametrize("memory", [100, 150])
async def test_heavy_changes_take_their_place_beside_or_after(memory: int) -> None:
    async with world(model(), memory=memory, needs={"m": 60}) as it:
        running = await lease(it, "m")
        old = it.pid("m")
        await it.supervisor.check(model(options={"a": "2"}))
        planned = len(it.planned)
        assert await it.supervisor.change(model(options={"a": "2"}))
        assert len(it.planned) == planned, "what was looked at is not looked at again"
        beside = memory == 150
        if beside:
            await until(lambda: it.pid("m") not in (None, old))
        await until(lambda: [r.id for r in it.dispatch.pools["m"].replicas if r.state == "draining"] == ["m/0"])
        assert old in it.placement.living, "a stream runs on it"
        waiting = asyncio.create_task(ask(it, "m"))
        if beside:
            await waiting
            assert old in it.placement.living
        running.release()
        await waiting
        await until(lambda: [r.id for r in it.dispatch.pools["m"].replicas] == ["m/1"])
        assert list(it.placement.living) == [2] and it.placement.living[2].spec.env["a"] == "2"
        assert it.placement.most == (120 if beside else 60)
        assert await it.supervisor.change(model(options={"a": "3"}))
        await until(lambda: [r.id for r in it.dispatch.pools["m"].replicas] == ["m/0"] and it.state("m") == ["ready"])


async def test_a_change_that_fails_leaves_the_old_one() -> None:
    async with world(model()) as it:
        await ask(it, "m")
        it.refuses = True
        with pytest.raises(ServingError, match="its folder is empty"):
            await it.supervisor.change(model(options={"a": "2"}))
        it.refuses = False
        assert it.supervisor.models() == {"m": model()}
        it.placement.crashes = {"2"}
        await it.supervisor.change(model(options={"a": "2"}))
        await until(lambda: "CUDA" in it.dispatch.pools["m"].replicas[0].error)
        await asyncio.sleep(0.3)
        await until(lambda: it.state("m") == ["off", "ready"])
        await ask(it, "m")
        assert it.state("m") == ["off", "ready"]
        await it.supervisor.change(model(options={"a": "3"}))
        await until(lambda: it.state("m") == ["ready"])
        assert [child.spec.env["a"] for child in it.placement.living.values()] == ["3"]


async def test_replicas_come_and_go_one_by_one() -> None:
    async with world(model(replicas=2)) as it:
        await ask(it, "m")
        await until(lambda: it.state("m") == ["ready", "ready"])
        pids = set(it.placement.living)
        await it.supervisor.change(model(replicas=3))
        await until(lambda: it.state("m") == ["ready", "ready", "ready"])
        assert pids < set(it.placement.living)
        upstream = Source("spoken", "http://x")
        await it.supervisor.change(model(sources=(upstream, SOURCE)))
        await until(lambda: len(it.dispatch.pools["m"].replicas) == 2)
        assert [r.source for r in it.dispatch.pools["m"].replicas] == [upstream, SOURCE]
        assert len(it.placement.living) == 1
        await it.supervisor.change(model(sources=(upstream,)))
        await until(lambda: not it.placement.living)
        await ask(it, "m")
        await it.supervisor.change(model())
        await until(lambda: it.state("m") == ["ready"] and it.placement.living)


async def test_an_idle_model_is_changed_without_a_start() -> None:
    async with world(model(), adapters=("x",)) as it:
        it.spec = msgspec.structs.replace(it.spec, adapters=("y",))
        await it.supervisor.change(model(options={"a": "2"}))
        await until(lambda: len(it.dispatch.pools["m"].replicas) == 1)
        assert set(it.dispatch.pools) == {"m", "y"} and not it.placement.started
        assert (await lease(it, "y")).replica.id == "m/1"


async def test_what_runs_on_a_removed_model_ends_well_and_the_name_is_free() -> None:
    async with world(model()) as it:
        running = await lease(it, "m")
        old = it.pid("m")
        removing = asyncio.create_task(it.supervisor.remove("m", float("inf")))
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="does not exist"):
            it.dispatch.lease("m")
        it.supervisor.add(model())
        await ask(it, "m")
        assert len(it.placement.living) == 2 and not removing.done()
        running.release()
        await removing
        assert old not in it.placement.living and len(it.placement.living) == 1


async def test_who_listens_hears_of_states() -> None:
    async with world() as it:
        it.dispatch.news = News()
        heard: list[tuple[str, Any]] = []
        it.dispatch.news.listen(lambda kind, about: heard.append((kind, about)))
        it.supervisor.add(model())
        await ask(it, "m")
        await until(lambda: any(kind == "replica" and about.state == "ready" for kind, about in heard))
        await it.supervisor.unload("m")
        await until(lambda: heard[-1][0] == "replica" and heard[-1][1].state == "off")
        assert heard[0][0] == "model" and heard[0][1].name == "m"


# GPUs


@pytest.mark.parametrize(
    ("free", "at_once"),
    [((100,), False), ((100, 100), True), ((100, 50), False), ((130,), True), ((), True)],
)
async def test_models_that_load_at_the_same_moment_do_not_plan_with_the_same_memory(
    free: tuple[int, ...], at_once: bool
) -> None:
    machine = Machine(1, 1, tuple(f"GPU {number}" for number in range(len(free))), free, free)
    async with world(model("a"), model("b"), needs={"a": 60, "b": 60}, machine=machine, gpus=1) as it:
        it.placement.may.clear()
        asking = [asyncio.create_task(ask(it, name)) for name in ("a", "b")]
        await until(lambda: len(it.placement.living) == (2 if at_once else 1))
        await asyncio.sleep(0.1)
        assert len(it.placement.living) == (2 if at_once else 1)
        it.placement.may.set()
        await asyncio.gather(*asking)


async def test_what_others_hold_of_a_gpu_is_told() -> None:
    async with world(model(), needs={"m": 60}, machine=GPU, gpus=1) as it:
        it.machine = msgspec.structs.replace(GPU, gpu_free=(50,))
        with pytest.raises(ServingError, match="free are \\(50,\\)"):
            await lease(it, "m")


async def test_by_a_closer_look_more_must_go() -> None:
    async with world(model("a"), model("b"), needs={"a": 10, "b": 60}, machine=GPU, gpus=1) as it:
        await ask(it, "a")
        # It took more than was thought.
        it.machine = msgspec.structs.replace(GPU, gpu_free=(50,))
        b = asyncio.create_task(ask(it, "b"))
        await until(lambda: it.state("a") == ["off"])
        it.machine = GPU
        await b
