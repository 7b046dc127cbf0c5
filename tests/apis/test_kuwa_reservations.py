"""Reservations by themselves: held, claimed once, freed, swept; a slot is given back exactly once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from trunkcall.apis import kuwa_reservations
from trunkcall.apis.kuwa_reservations import Reservation, Reservations
from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings, Source

pytestmark = pytest.mark.anyio

CAUSE = ServingError("cancelled", "enough")


class Backend:
    protocols: frozenset[str] = frozenset()

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass


class Room:
    """Reservations of a model `x` with eight slots; `cut` holds what was cut."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.dispatch = Dispatch()
        self.replica = Replica("x/0", Source("x"), 8)
        self.replica.backend = Backend()
        self.replica.state = "ready"
        self.pool = Pool(ModelSettings(name="x", sources=()), [self.replica])
        self.dispatch.pools["x"] = self.pool
        self.cut: list[Any] = []
        self.all = Reservations(lambda exchange, cause: self.cut.append(exchange), seconds)

    def lease(self) -> Lease:
        granted = self.dispatch.lease("x")
        assert isinstance(granted, Lease)
        return granted

    def hold(self, history_id: str = "1", user_id: str | None = "7") -> None:
        self.all.hold(self.lease(), "x", history_id, user_id)

    def claim(self, history_id: str = "1", user_id: str | None = "7", call: Any = "call") -> Reservation | None:
        return self.all.claim("x", history_id, user_id, call)


async def test_each_is_claimed_once_the_oldest_first() -> None:
    room = Room()
    room.hold()
    room.hold()
    first, second = room.claim(call="a"), room.claim(call="b")
    assert first and second and room.claim() is None
    assert [one.exchange for one in room.all.on(room.replica)] == ["a", "b"]
    for _ in range(2):
        room.all.end(first)
    assert room.replica.in_flight == 1
    room.all.end(second)
    assert room.replica.in_flight == 0 and room.all.on(room.replica) == []


@pytest.mark.parametrize("key", [("2", "7"), ("1", "8"), ("1", None), ("1", "")])
async def test_only_its_own_conversation_claims_it(key: tuple[str, str | None]) -> None:
    room = Room()
    room.hold()
    assert room.claim(*key) is None
    assert room.claim() is not None


async def test_unused_ones_are_swept_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(kuwa_reservations, "time", SimpleNamespace(monotonic=lambda: now))
    room = Room(seconds=0.02)
    room.hold("1")
    room.hold("2")
    used = room.claim("1")
    room.all.hold_by_hand(room.lease(), "x", "3", "7", busy=False)
    assert room.all.sweep() == []
    now = 0.03
    assert [one.history_id for one in room.all.sweep()] == ["2"]
    assert room.claim("2") is None
    assert room.claim("3") is not None
    assert used is not None and room.replica.in_flight == 2


async def test_those_of_a_model_that_is_removed_are_swept() -> None:
    room = Room()
    room.hold()
    room.dispatch.remove("x")
    assert len(room.all.sweep()) == 1
    assert room.replica.in_flight == 0


async def test_busy_ones_by_hand_are_nobodys() -> None:
    room = Room(seconds=0.0)
    room.all.hold_by_hand(room.lease(), "x", "1", "7", busy=True)
    assert room.claim() is None and room.all.sweep() == []
    await room.all.free(room.all.on(room.replica), CAUSE, 1.0)
    assert room.replica.in_flight == 0


async def test_freeing_waits_for_running_calls_but_not_for_ever() -> None:
    room = Room()
    room.hold("1")
    room.hold("2")
    running = room.claim("1")
    assert running is not None
    await room.all.free(room.all.of(["1", "2"], "7"), CAUSE, 0.01)
    assert room.cut == ["call"]
    assert room.replica.in_flight == 1
    freeing = asyncio.create_task(room.all.free([running], CAUSE, 60.0))
    await asyncio.sleep(0.01)
    assert not freeing.done()
    room.all.end(running)
    await asyncio.wait_for(freeing, 20)


async def test_ids_are_found_by_their_text_and_user() -> None:
    room = Room()
    for history_id, user_id in (("1", "7"), ("01", "7"), ("1", None), ("-4", "7")):
        room.hold(history_id, user_id)
    found = room.all.of(frozenset(["1", "-4"]), "7")
    assert [(one.history_id, one.user_id) for one in found] == [("1", "7"), ("-4", "7")]
    assert [one.history_id for one in room.all.of(["1"], None)] == ["1"]
    assert room.all.of([], "7") == []


async def test_a_claim_after_a_restart_has_no_old_lease() -> None:
    room = Room()
    room.hold()
    room.dispatch.lost(room.replica, "starting", "killed")
    room.dispatch.ready(room.replica, Backend(), 8)
    claimed = room.claim()
    assert claimed is not None and claimed.lease.released
    room.all.end(claimed)
    assert room.replica.in_flight == 0
