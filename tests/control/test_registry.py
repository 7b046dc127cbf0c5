"""Workers that register: they come, are probed, given up, come back, and outlive their server on disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from trunkcall.control import registry as module
from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.registry import Record, Registry, Worker, judge, read_records
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings, Source

pytestmark = pytest.mark.anyio

A, B = "http://a:1/chat", "http://b:1/chat"


class Backend:
    """Well or not, as the test says."""

    protocols: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.well = True
        self.asked = 0
        self.closed = False
        self.hold = asyncio.Event()
        self.hold.set()

    async def health(self) -> Health:
        self.asked += 1
        await self.hold.wait()
        return Health(self.well)

    async def aclose(self) -> None:
        self.closed = True


class Room:
    """A registry whose backends are at hand by address."""

    def __init__(self, kept: tuple[Record, ...] = (), save: Callable[[tuple[Record, ...]], None] | None = None) -> None:
        self.dispatch = Dispatch()
        self.backends: dict[str, Backend] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.registry = Registry(self.dispatch, self._find, kept, save)

    def _find(self, scheme: str) -> Any:
        if scheme != "kuwa":
            raise ServingError("bad_request", f"no backend {scheme!r}")
        return self._connect

    def _connect(self, target: str, settings: ModelSettings, model: str) -> Backend:
        if not target.startswith("http"):
            raise ServingError("bad_request", "no URL")
        self.options[target] = settings.options
        return self.backends.setdefault(target, Backend())

    def join(self, name: str, address: str = A) -> bool:
        return self.registry.join(name, "kuwa", address)

    def worker(self, address: str = A) -> Worker:
        worker = self.registry.find("kuwa", address)
        assert worker is not None
        return worker

    def own(self, name: str) -> None:
        replica = Replica(f"{name}/0", Source("x"), None)
        self.dispatch.pools[name] = Pool(ModelSettings(name=name, sources=(Source("x"),)), [replica])

    async def fail(self, address: str = A) -> None:
        """Two probes in a row of one that is not young."""
        self.backends[address].well = False
        self.worker(address).since -= 100
        for _ in range(2):
            await self.registry.probe(self.worker(address))

    @property
    def names(self) -> dict[str, list[str]]:
        return {name: [w.address for w in workers] for name, workers in self.registry.models("kuwa").items()}

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.registry.live())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            await self.registry.aclose()


def lease(room: Room, name: str) -> Lease:
    granted = room.dispatch.lease(name)
    assert isinstance(granted, Lease)
    return granted


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("ok", "age", "failures", "gone_for", "judgement"),
    [
        (True, 0.0, 0, None, "well"),
        (True, 1e6, 0, 1e6, "well"),
        (False, 100.0, 1, None, "doubted"),
        (False, 14.0, 5, None, "doubted"),
        (False, 16.0, 2, None, "gone"),
        (False, 1e6, 9, 599.0, "gone"),
        (False, 1e6, 9, 601.0, "forgotten"),
    ],
)
def test_what_a_probe_means(ok: bool, age: float, failures: int, gone_for: float | None, judgement: str) -> None:
    assert judge(ok, age, failures, gone_for) == judgement


async def test_one_worker_of_several_names_is_one_slot() -> None:
    room = Room()
    assert room.join("x")
    assert room.join("y")
    assert room.join("x", B)
    assert not room.join("x")
    assert room.names == {"x": [A, B], "y": [A]}
    assert set(room.dispatch.pools) == {"x", "y"}
    assert room.backends[A].asked == 0
    held = lease(room, "y")
    assert lease(room, "x").replica.address == B
    wait = room.dispatch.lease("x")
    assert isinstance(wait, Wait)
    held.release()
    assert (await wait.future).replica is held.replica


async def test_workers_are_called_as_an_api_of_theirs_says() -> None:
    room = Room(kept=(Record("kuwa", B, ("y",)),))
    room.join("x")
    room.registry.call_with("kuwa", {"idle_timeout": 1})
    room.registry.call_with("kuwa", {"whole_timeout": 2})
    room.registry.call_with("other", {"no": 3})
    async with room.living():
        await until(lambda: "y" in room.names)
    assert room.options == {A: {}, B: {"idle_timeout": 1, "whole_timeout": 2}}


async def test_names_of_the_settings_and_bad_addresses_are_refused() -> None:
    room = Room()
    room.own("mine")
    with pytest.raises(ServingError, match="settings") as caught:
        room.join("mine")
    assert caught.value.kind == "conflict"
    with pytest.raises(ServingError, match="no URL"):
        room.join("x", "foo")
    with pytest.raises(ServingError, match="name"):
        room.join("")
    assert room.names == {}
    assert not await room.registry.answers("kuwa", "foo")


async def test_leaving_ends_the_waiting_of_the_last_worker_only() -> None:
    room = Room()
    room.join("x")
    room.join("x", B)
    room.join("y")
    held = [lease(room, "x"), lease(room, "x")]
    wait = room.dispatch.lease("x")
    assert isinstance(wait, Wait)
    room.registry.leave("x", room.worker(A))
    assert not wait.future.done()
    room.registry.leave("x", room.worker(B))
    with pytest.raises(ServingError, match="last worker"):
        await wait.future
    assert room.names == {"y": [A]}
    assert room.registry.find("kuwa", B) is None
    for one in held:
        one.release()


async def test_one_that_comes_back_while_its_old_answer_runs_has_no_slot_for_two() -> None:
    room = Room()
    room.join("x")
    held = lease(room, "x")
    room.registry.leave("x", room.worker())
    room.join("x")
    assert isinstance(room.dispatch.lease("x"), Wait)
    assert room.worker().replica is held.replica
    held.release()
    assert room.worker().replica.in_flight == 1


async def test_given_up_after_two_failures_and_back_with_all_names() -> None:
    room = Room()
    room.join("x")
    room.join("y")
    await room.fail()
    assert room.names == {}
    assert not room.dispatch.pools
    assert [worker.address for worker in room.registry.workers("kuwa")] == [A]
    room.backends[A].well = True
    assert await room.registry.probe(room.worker())
    assert room.names == {"x": [A], "y": [A]}
    lease(room, "y").release()


async def test_a_young_one_may_be_deaf() -> None:
    room = Room()
    room.join("x")
    room.backends[A].well = False
    for _ in range(5):
        assert not await room.registry.probe(room.worker())
    assert room.names == {"x": [A]}
    assert room.worker().replica.suspect_until > 0
    room.backends[A].well = True
    await room.registry.probe(room.worker())
    assert room.worker().replica.suspect_until == 0


async def test_one_that_was_given_up_and_registers_has_only_the_names_it_says() -> None:
    room = Room()
    room.join("x")
    await room.fail()
    assert room.join("y")
    assert room.names == {"y": [A]}


@pytest.mark.parametrize(("age", "names"), [(100.0, {"x"}), (1.0, {"x", "y"})])
async def test_one_that_was_started_anew(age: float, names: set[str]) -> None:
    room = Room()
    room.join("x")
    room.join("y")
    room.worker().since -= age
    generation = room.worker().replica.generation
    room.registry.renew(room.worker(), "x")
    assert set(room.names) == names
    assert room.worker().replica.generation == generation + 1


async def test_forgotten_after_long_absence() -> None:
    room = Room()
    room.join("x")
    await room.fail()
    room.worker().gone_since = -module.FORGET_SECONDS * 2
    await room.registry.probe(room.worker())
    assert room.registry.find("kuwa", A) is None


async def test_a_refused_connection_gives_up_one_that_is_not_young() -> None:
    room = Room()
    room.join("x")
    lease(room, "x").release("unreachable")
    assert room.names == {"x": [A]}
    room.worker().since -= 100
    lease(room, "x").release("unreachable")
    assert room.names == {}


async def test_the_news_of_a_probe_do_not_reach_a_successor() -> None:
    room = Room()
    room.join("x")
    old = room.worker()
    old.since -= 100
    old.failures = 9
    room.backends[A].well = False
    room.backends[A].hold.clear()
    probing = asyncio.create_task(room.registry.probe(old))
    await asyncio.sleep(0)
    room.registry.leave("x", old)
    room.registry.leave("x", old)
    room.join("x")
    room.backends[A].hold.set()
    assert not await probing
    assert room.names == {"x": [A]}
    assert room.worker().replica.state == "ready"


async def test_an_address_that_nobody_registered_can_be_asked() -> None:
    room = Room()
    assert await room.registry.answers("kuwa", B)
    assert room.backends[B].closed
    room.join("x")
    assert await room.registry.answers("kuwa", A)
    assert not room.backends[A].closed


async def test_idle_ones_are_probed_and_busy_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(module, "YOUNG_SECONDS", 0.0)
    room = Room()
    room.join("x")
    room.join("y", B)
    held = lease(room, "y")
    for backend in room.backends.values():
        backend.well = False
    async with room.living():
        await until(lambda: room.names == {"y": [B]})
        assert room.backends[B].asked == 0
        held.release()
        await until(lambda: room.names == {})
        room.backends[A].well = True
        await until(lambda: room.names == {"x": [A]})
    assert all(backend.closed for backend in room.backends.values())


async def test_running_answers_outlive_the_probing() -> None:
    room = Room()
    room.join("x")
    task = asyncio.create_task(room.registry.live())
    await until(lambda: room.backends[A].asked)
    task.cancel()
    await asyncio.wait({task})
    assert not room.backends[A].closed
    await room.registry.aclose()
    assert room.backends[A].closed


async def test_connections_of_one_that_left_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    room = Room()
    async with room.living():
        room.join("x")
        held = lease(room, "x")
        room.registry.leave("x", room.worker())
        await asyncio.sleep(0.05)
        assert not room.backends[A].closed
        held.release()
        await until(lambda: room.backends[A].closed)


async def test_changes_are_saved_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    saved: list[tuple[Record, ...]] = []
    writing, go = threading.Event(), threading.Event()

    def save(records: tuple[Record, ...]) -> None:
        if len(records) == 1 and not saved:
            writing.set()
            assert go.wait(30)
        saved.append(records)

    room = Room(save=save)
    async with room.living():
        room.join("x")
        await until(writing.is_set)
        room.join("y")
        room.join("x", B)
        # The end comes while a thread still writes the old list.
        asyncio.get_running_loop().call_later(0.05, go.set)
    await until(lambda: len(saved) == 2)
    assert saved[-1] == (Record("kuwa", A, ("x", "y")), Record("kuwa", B, ("x",)))
    assert read_records(msgspec.json.encode(saved[-1])) == saved[-1]


async def test_a_disk_that_refuses_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    def save(records: tuple[Record, ...]) -> None:
        raise ServingError("forbidden", "the disk is full")

    room = Room(save=save)
    async with room.living():
        room.join("x")
        await until(lambda: "the disk is full" in caplog.text)
        assert room.names == {"x": [A]}


async def test_kept_workers_are_offered_when_they_answer() -> None:
    room = Room(
        (
            Record("kuwa", A, ("x", "y", "x")),
            Record("kuwa", B, ("x",)),
            Record("kuwa", "foo", ("x",)),
            Record("none", A, ("x",)),
            Record("kuwa", "http://c:1/chat", ("mine",)),
            Record("kuwa", "http://d:1/chat", ("z",)),
        )
    )
    room.own("mine")
    room.join("z", "http://d:1/chat")
    room.backends[B] = Backend()
    room.backends[B].well = False
    async with room.living():
        await until(lambda: room.backends[B].asked)
        await until(lambda: len(room.names) == 3)
        assert room.names == {"x": [A], "y": [A], "z": ["http://d:1/chat"]}
        assert {worker.address for worker in room.registry.workers("kuwa")} == {A, B, "http://d:1/chat"}


async def test_a_model_shows_where_its_workers_are() -> None:
    room = Room()
    room.join("x")
    room.join("x", B)
    (view,) = room.dispatch.views()
    assert view.sources == (f"kuwa:{A}", f"kuwa:{B}")
    await room.registry.aclose()


async def test_kept_workers_are_back_before_the_first_request_unless_they_are_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REVIVE_SECONDS", 0.05)
    room = Room((Record("kuwa", A, ("x",)), Record("kuwa", B, ("y",))))
    room.backends[B] = Backend()
    room.backends[B].hold.clear()
    async with asyncio.timeout(30):
        await room.registry.revive()
    assert room.names == {"x": [A]}
    async with room.living():
        room.backends[B].hold.set()
        await until(lambda: room.names == {"x": [A], "y": [B]})


async def test_what_a_worker_said_of_itself_outlives_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    saved: list[tuple[Record, ...]] = []
    room = Room(save=saved.append)
    async with room.living():
        room.join("x")
        await until(lambda: saved)
        room.registry.note(room.worker(), {"speed": 2, "multimodal": True})
        await until(lambda: saved[-1] == (Record("kuwa", A, ("x",), 1, {"speed": 2, "multimodal": True}),))
        count = len(saved)
        room.registry.note(room.worker(), {"multimodal": True, "speed": 2})
        await asyncio.sleep(0.05)
        assert len(saved) == count
    kept = read_records(msgspec.json.encode(saved[-1]))
    again = Room(kept)
    async with again.living():
        await until(lambda: again.names)
        assert again.worker().about == {"speed": 2, "multimodal": True}


async def test_one_that_registers_once_more_is_young_and_trusted_again() -> None:
    room = Room()
    room.join("x")
    room.join("y")
    room.worker().since -= 100
    granted = lease(room, "x")
    room.registry.come_again(room.worker())
    granted.release("unreachable")
    assert room.names == {"x": [A], "y": [A]}
    assert room.worker().replica.suspect_until == 0.0
    await room.fail()
    assert room.names == {}
    room.registry.come_again(room.worker())
    assert room.names == {"x": [A], "y": [A]}


async def test_a_name_that_the_settings_have_taken_meanwhile_is_left_to_them() -> None:
    room = Room()
    room.join("x")
    room.join("y")
    await room.fail()
    room.own("x")
    mine = room.dispatch.pools["x"]
    room.backends[B] = Backend()
    room.backends[A].well = True
    await room.registry.probe(room.worker())
    assert room.dispatch.pools["x"] is mine
    assert room.names == {"y": [A]}
    room.dispatch.remove("x")
    room.join("x", B)
    room.registry.leave("x", room.worker())
    assert room.names == {"y": [A], "x": [B]}


@pytest.mark.parametrize("data", [b"{}", b"[1]", b"x", b'[{"scheme":"kuwa"}]', b"\x80\x04}."])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ServingError, match="registered workers"):
        read_records(data)


def test_no_file_is_nobody() -> None:
    assert read_records(b"") == ()
