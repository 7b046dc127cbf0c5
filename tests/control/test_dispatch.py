"""Leases, waits and what happens to both when replicas come and go; no process is started here."""

from __future__ import annotations

import asyncio

import pytest

from trunkcall.control.dispatch import Dispatch, Lease, Pool, Replica, Wait
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings, Source

pytestmark = pytest.mark.anyio


class Backend:
    """What dispatch needs of one: nothing but being there."""

    protocols: frozenset[str] = frozenset()

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass


def pool_of(
    dispatch: Dispatch, *slots: int | None, queue: int = 10, managed: bool = False, state: str = "ready"
) -> Pool:
    replicas = []
    for number, limit in enumerate(slots):
        replica = Replica(f"m/{number}", Source("x"), limit)
        replica.backend = Backend()
        replica.state = state  # type: ignore[assignment]
        replica.managed = managed
        replicas.append(replica)
    pool = Pool(ModelSettings(name="m", sources=(Source("x"),) * len(slots), queue=queue), replicas)
    dispatch.pools["m"] = pool
    return pool


def granted(dispatch: Dispatch, **more: str) -> Lease:
    lease = dispatch.lease("m", **more)
    assert isinstance(lease, Lease)
    return lease


def waiting(dispatch: Dispatch, **more: str) -> Wait:
    wait = dispatch.lease("m", **more)
    assert isinstance(wait, Wait)
    return wait


async def test_requests_are_spread_and_slots_come_back() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 2, 2)
    leases = [granted(dispatch) for _ in range(4)]
    assert [replica.in_flight for replica in pool.replicas] == [2, 2]
    wait = waiting(dispatch)
    leases[0].release()
    leases[0].release()
    assert (await wait.future).replica is leases[0].replica
    assert [replica.in_flight for replica in pool.replicas] == [2, 2]


async def test_grant_counts_only_if_the_waiter_is_still_there() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1)
    lease = granted(dispatch)
    first, second = waiting(dispatch), waiting(dispatch)
    first.close()
    lease.release()
    assert second.future.done()
    # Granted but never taken: the caller left in the same moment.
    second.close()
    assert pool.replicas[0].in_flight == 0


async def test_callers_take_turns_by_key() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1)
    lease = granted(dispatch)
    greedy = [waiting(dispatch, key="greedy") for _ in range(3)]
    modest = waiting(dispatch, key="modest")
    assert [wait.position for wait in (*greedy, modest)] == [0, 2, 3, 1]
    lease.release()
    (await greedy[0].future).release()
    assert modest.future.done()


async def test_full_queue_is_overload_with_a_time() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1, queue=1)
    granted(dispatch)
    waiting(dispatch)
    with pytest.raises(ServingError) as caught:
        dispatch.lease("m")
    assert caught.value.kind == "overloaded"
    assert caught.value.retry_after == 1.0


async def test_first_use_wakes_the_supervisor() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1, state="off", managed=True)
    wait = waiting(dispatch)
    assert pool.wanted.is_set()
    dispatch.ready(pool.replicas[0], Backend(), 4)
    assert (await wait.future).replica.slots == 4


async def test_waiting_callers_hear_why_nothing_can_be_had() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1, state="starting", managed=True)
    wait = waiting(dispatch)
    dispatch.lost(pool.replicas[0], "failed", "no such tensor")
    with pytest.raises(ServingError, match="no such tensor"):
        await wait.future
    with pytest.raises(ServingError, match="no such tensor"):
        dispatch.lease("m")


async def test_waiting_goes_on_while_another_replica_lives() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1, 1)
    leases = [granted(dispatch), granted(dispatch)]
    wait = waiting(dispatch)
    dispatch.lost(pool.replicas[0], "failed", "gone")
    assert not wait.future.done()
    leases[1].release()
    assert (await wait.future).replica is pool.replicas[1]


async def test_unreachable_engine_is_left_alone_until_its_exit_is_seen_or_trusted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trunkcall.control.dispatch.SUSPECT_SECONDS", 0.05)
    dispatch = Dispatch()
    pool = pool_of(dispatch, 2, managed=True)
    granted(dispatch).release("unreachable")
    wait = waiting(dispatch)
    await asyncio.sleep(0.02)
    assert not wait.future.done()
    assert (await asyncio.wait_for(wait.future, 2)).replica is pool.replicas[0]


async def test_lease_of_an_earlier_life_does_not_make_the_new_one_suspect() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 2, managed=True)
    lease = granted(dispatch)
    dispatch.lost(pool.replicas[0], "starting", "killed")
    dispatch.ready(pool.replicas[0], Backend(), 2)
    lease.release("unreachable")
    assert pool.replicas[0].state == "ready"
    assert pool.replicas[0].in_flight == 0


async def test_unreachable_upstream_is_avoided_while_there_is_another() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, None, None)
    granted(dispatch).release("unreachable")
    assert {granted(dispatch).replica.id for _ in range(4)} == {"m/1"}
    pool.replicas[1].state = "off"
    assert granted(dispatch).replica.id == "m/0"


async def test_retry_avoids_the_replica_that_failed() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 4, 4)
    assert granted(dispatch, avoid="m/0").replica.id == "m/1"


async def test_unknown_model_names_the_nearest() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1)
    dispatch.pools["pocket"] = dispatch.pools["m"]
    with pytest.raises(ServingError, match="'pocket'") as caught:
        dispatch.lease("poket")
    assert (caught.value.kind, caught.value.param) == ("no_model", "model")


async def test_drain_grants_nothing_and_tells_those_who_wait() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1)
    granted(dispatch)
    wait = waiting(dispatch)
    dispatch.drain()
    with pytest.raises(ServingError) as caught:
        await wait.future
    assert caught.value.kind == "draining"
    with pytest.raises(ServingError):
        dispatch.lease("m")


async def test_removed_model_is_gone_for_new_and_waiting_callers() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1)
    granted(dispatch)
    wait = waiting(dispatch)
    dispatch.remove("m")
    with pytest.raises(ServingError, match="removed"):
        await wait.future
    with pytest.raises(ServingError):
        dispatch.lease("m")
