"""Replicas that sleep or are busy for others: found by a look, woken by need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from control.told_replicas import told_pool

from trunkcall.control import sleeping
from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.pool import Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Controlled, Told

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleeping, "LOOK_SECONDS", 0.02)


@asynccontextmanager
async def watched(dispatch: Dispatch, *replicas: Replica) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(sleeping.watch(dispatch, replica, replica.backend.controls))
        for replica in replicas
        if isinstance(replica.backend, Controlled)
    ]
    assert len(tasks) == len(replicas)
    try:
        async with asyncio.timeout(40):
            yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def until(replica: Replica, state: str) -> None:
    while replica.state != state:
        await asyncio.sleep(0.005)


async def test_one_that_was_put_to_sleep_elsewhere_is_woken_by_a_caller() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    (replica,) = pool.replicas
    async with watched(dispatch, replica):
        controls.told = Told(asleep=True)
        await until(replica, "asleep")
        assert "wake" not in controls.orders, "nobody needs it"
        wait = dispatch.lease("m")
        assert isinstance(wait, Wait)
        lease = await wait.future
        assert (lease.replica, replica.state, controls.orders.count("wake")) == (replica, "ready", 1)
        lease.release()
        controls.told = Told(asleep=True)
        await until(replica, "asleep")
        controls.told = Told()
        await until(replica, "ready")
        assert controls.orders.count("wake") == 1


async def test_one_that_sleeps_with_calls_in_it_is_woken_for_them() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    lease = dispatch.lease("m")
    assert isinstance(lease, Lease)
    controls.told = Told(asleep=True)
    controls.refuses = {"wake"}
    async with watched(dispatch, *pool.replicas):
        while controls.orders.count("wake") < 2:
            await asyncio.sleep(0.005)
        assert pool.replicas[0].state == "asleep"
        controls.refuses = set()
        await until(pool.replicas[0], "ready")
    lease.release()


async def test_who_waited_when_it_was_put_to_sleep_wakes_it() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    leases = [dispatch.lease("m") for _ in range(5)]
    going = asyncio.create_task(sleeping.sleep(dispatch, "m", 10))
    await until(pool.replicas[0], "asleep")
    async with watched(dispatch, *pool.replicas):
        for lease in leases[:4]:
            assert isinstance(lease, Lease)
            lease.release()
        await going
        assert isinstance(leases[4], Wait)
        assert (await leases[4].future).replica is pool.replicas[0]
    assert "wake" in controls.orders


async def test_callers_hear_why_it_cannot_be_woken_and_the_next_one_makes_a_new_try() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    (replica,) = pool.replicas
    controls.told = Told(asleep=True)
    controls.refuses = {"wake"}
    async with watched(dispatch, replica):
        await until(replica, "asleep")
        wait = dispatch.lease("m")
        assert isinstance(wait, Wait)
        with pytest.raises(ServingError, match="could not be woken: no wake today") as caught:
            await wait.future
        assert caught.value.kind == "no_capacity"
        assert replica.error == "no wake today"
        controls.refuses = set()
        wait = dispatch.lease("m")
        assert isinstance(wait, Wait)
        assert (await wait.future).replica is replica
        assert replica.error == ""


async def test_the_other_one_is_taken_while_one_sleeps() -> None:
    dispatch = Dispatch()
    pool, (first, _) = told_pool(dispatch, 2)
    first.told = Told(asleep=True)
    async with watched(dispatch, *pool.replicas):
        await until(pool.replicas[0], "asleep")
        leases = [dispatch.lease("m") for _ in range(4)]
        assert all(isinstance(lease, Lease) and lease.replica is pool.replicas[1] for lease in leases)
        assert "wake" not in first.orders
        wait = dispatch.lease("m")
        assert isinstance(wait, Wait)
        assert (await wait.future).replica is pool.replicas[0], "the other one is full"


async def test_an_operator_s_sleep_waits_for_running_answers_and_keeps_new_ones_off() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    lease = dispatch.lease("m")
    assert isinstance(lease, Lease)
    with pytest.raises(ServingError, match="still gives 1 answers") as caught:
        await sleeping.sleep(dispatch, "m", 0.05)
    assert (caught.value.kind, pool.replicas[0].state, controls.orders) == ("conflict", "ready", [])
    going = asyncio.create_task(sleeping.sleep(dispatch, "m", 10))
    await until(pool.replicas[0], "asleep")
    assert isinstance(dispatch.lease("m"), Wait)
    assert controls.orders == []
    lease.release()
    assert (await going).replicas[0].state == "asleep"
    async with watched(dispatch, *pool.replicas):
        await until(pool.replicas[0], "ready")
    assert controls.orders[:2] == ["sleep", "wake"], "somebody had come meanwhile"


async def test_orders_that_cannot_be() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    controls.refuses = {"sleep"}
    with pytest.raises(ServingError, match="no sleep today"):
        await sleeping.sleep(dispatch, "m")
    assert pool.replicas[0].state == "ready"
    assert (await sleeping.wake(dispatch, "m")).replicas[0].state == "ready"
    assert controls.orders == ["sleep"], "it was awake"
    pool.replicas[0].state = "off"
    for order in (sleeping.sleep, sleeping.wake):
        with pytest.raises(ServingError, match="does not run"):
            await order(dispatch, "m")


async def test_one_that_others_use_is_spared_and_a_full_one_more_so() -> None:
    dispatch = Dispatch()
    pool, (first, second) = told_pool(dispatch, 2)
    first.told = Told(running=2, waiting=1)
    second.told = Told(full=0.99)

    def chosen() -> Replica:
        lease = dispatch.lease("m")
        assert isinstance(lease, Lease)
        lease.release()
        return lease.replica

    async with watched(dispatch, *pool.replicas):
        while "look" not in second.orders or "look" not in first.orders:
            await asyncio.sleep(0.005)
        assert [replica.others for replica in pool.replicas] == [3, float("inf")]
        assert chosen() is pool.replicas[0]
        second.told = Told()
        while pool.replicas[1].others:
            await asyncio.sleep(0.005)
        assert chosen() is pool.replicas[1]


async def test_our_own_load_is_not_counted_twice() -> None:
    dispatch = Dispatch()
    pool, _ = told_pool(dispatch)
    assert isinstance(dispatch.lease("m"), Lease)
    dispatch.told(pool.replicas[0], Told(running=1, waiting=2))
    assert pool.replicas[0].others == 2
    dispatch.told(pool.replicas[0], None)
    assert pool.replicas[0].others == 0


async def test_one_that_does_not_answer_stays_as_it_was_and_one_that_tells_nothing_is_seldom_asked() -> None:
    dispatch = Dispatch()
    pool, (controls,) = told_pool(dispatch)
    controls.told = Told(asleep=True)
    async with watched(dispatch, *pool.replicas):
        await until(pool.replicas[0], "asleep")
        controls.refuses = {"look"}
        before = len(controls.orders)
        while len(controls.orders) < before + 3:
            await asyncio.sleep(0.005)
        assert pool.replicas[0].state == "asleep"
    controls.refuses, controls.told = set(), None
    async with watched(dispatch, *pool.replicas):
        await until(pool.replicas[0], "ready")
        before = len(controls.orders)
        await asyncio.sleep(0.2)
        assert len(controls.orders) == before
