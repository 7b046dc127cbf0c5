"""Adapters as models of their own, over all replicas of their base."""

from __future__ import annotations

import pytest
from control.told_replicas import Controls, told_pool

from trunkcall.control import adapters
from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.core.errors import ServingError

pytestmark = pytest.mark.anyio


async def test_all_replicas_load_it_and_take_its_calls() -> None:
    dispatch = Dispatch()
    pool, both = told_pool(dispatch, 2)
    view = await adapters.load(dispatch, "m", "a", "/a")
    assert view.adapters == ("a",)
    assert [controls.loaded for controls in both] == [{"a": "/a"}] * 2
    assert [controls.adapters for controls in both] == [{"a"}] * 2
    leases = [dispatch.lease("a"), dispatch.lease("m")]
    assert {lease.replica for lease in leases if isinstance(lease, Lease)} == set(pool.replicas)
    assert (await adapters.unload(dispatch, "m", "a")).adapters == ()
    assert "a" not in dispatch.pools
    assert all(not controls.adapters and not controls.loaded for controls in both)
    assert all(replica.pools == [pool] for replica in pool.replicas)


async def test_none_has_it_when_one_refuses_it() -> None:
    dispatch = Dispatch()
    _, (first, second) = told_pool(dispatch, 2)
    second.refuses = {"load"}
    with pytest.raises(ServingError, match="no load today"):
        await adapters.load(dispatch, "m", "a", "/a")
    assert "a" not in dispatch.pools
    assert (first.loaded, first.adapters) == ({}, set())


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [("m", "/a", "conflict"), ("", "/a", "bad_request"), ("a", "", "bad_request"), ("a", "../a", "bad_request")],
)
async def test_names_and_paths_that_cannot_be(name: str, path: str, kind: str) -> None:
    dispatch = Dispatch()
    _, (controls,) = told_pool(dispatch)
    with pytest.raises(ServingError) as caught:
        await adapters.load(dispatch, "m", name, path)
    assert (caught.value.kind, caught.value.param) == (kind, "lora")
    assert not controls.orders


@pytest.mark.parametrize(("state", "says"), [("asleep", "wake it first"), ("off", "does not run yet")])
async def test_a_model_that_cannot_be_told(state: str, says: str) -> None:
    dispatch = Dispatch()
    pool, _ = told_pool(dispatch)
    pool.replicas[0].state = state  # type: ignore[assignment]
    if state == "off":
        pool.replicas[0].backend = None
    with pytest.raises(ServingError, match=says) as caught:
        await adapters.load(dispatch, "m", "a", "/a")
    assert caught.value.kind == "conflict"


async def test_what_was_loaded_is_part_of_the_next_start() -> None:
    dispatch = Dispatch()
    pool, _ = told_pool(dispatch, lora={"old": "/old"})
    pool.replicas[0].managed = True
    adapters.offer(dispatch, pool, {"old": pool.replicas})
    await adapters.load(dispatch, "m", "a", "/a")
    assert pool.settings.options["lora"] == {"old": "/old", "a": "/a"}
    pool.replicas[0].backend.controls.loaded["old"] = "/old"  # type: ignore[union-attr]
    await adapters.unload(dispatch, "m", "old")
    assert pool.settings.options["lora"] == {"a": "/a"}


async def test_a_start_that_was_under_way_is_brought_up_to_date() -> None:
    dispatch = Dispatch()
    pool, _ = told_pool(dispatch, lora={"new": "/new", "bad": "/bad"})
    adapters.offer(dispatch, pool, {"new": pool.replicas})
    fresh = Controls()
    fresh.loaded = {"gone": "/gone"}
    await adapters.settle(dispatch, pool, pool.replicas[0], fresh, ["gone"])
    assert (fresh.loaded, fresh.adapters) == ({"new": "/new"}, {"new"})
    adapters.offer(dispatch, pool, {"bad": pool.replicas})
    fresh.refuses = {"load"}
    await adapters.settle(dispatch, pool, pool.replicas[0], fresh, ["new"])
    assert dispatch.pools["bad"].replicas == [], "it would be answered by another"
    assert dispatch.pools["new"].replicas == pool.replicas


async def test_an_adapter_waits_for_its_base() -> None:
    dispatch = Dispatch()
    pool, _ = told_pool(dispatch)
    pool.replicas[0].state = "off"
    adapters.offer(dispatch, pool, {"a": pool.replicas})
    dispatch.lease("a")
    assert pool.wanted.is_set()


async def test_a_replica_without_it_takes_no_calls_for_it() -> None:
    dispatch = Dispatch()
    pool, (first, second) = told_pool(dispatch, 2, lora={"a": "/a"})
    adapters.offer(dispatch, pool, {"a": pool.replicas[:1]})
    await adapters.settle(dispatch, pool, pool.replicas[0], first, ["a"])
    await adapters.settle(dispatch, pool, pool.replicas[1], second, [])
    assert dispatch.pools["a"].replicas == pool.replicas[:1]
    assert second.orders == []
    await adapters.settle(dispatch, pool, pool.replicas[1], second, ["a"])
    assert dispatch.pools["a"].replicas == pool.replicas, "it was started with it"
