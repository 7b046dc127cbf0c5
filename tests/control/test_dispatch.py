"""Leases, waits and what happens to both when replicas come and go; no process is started here."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import msgspec
import pytest

from trunkcall.control.breaker import CLOSED, IN_A_ROW, Breaker
from trunkcall.control.dispatch import Dispatch, Lease, Wait
from trunkcall.control.news import News
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.models import Health, ModelSettings, Policy, Source

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


def granted(dispatch: Dispatch, **more: Any) -> Lease:
    lease = dispatch.lease("m", **more)
    assert isinstance(lease, Lease)
    return lease


def waiting(dispatch: Dispatch, **more: Any) -> Wait:
    wait = dispatch.lease("m", **more)
    assert isinstance(wait, Wait)
    return wait


async def test_a_child_that_ends_under_many_answers_is_waited_for_at_once() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 32, managed=True)
    (replica,) = pool.replicas
    for lease in [granted(dispatch) for _ in range(2 * IN_A_ROW)]:
        lease.release("failed", ServingError("upstream_error", "it closed the connection after 7 bytes"))
    assert replica.breaker.view(0.0).state == "closed"
    # What it answers itself counts as anybody's, until its end.
    for lease in [granted(dispatch) for _ in range(IN_A_ROW)]:
        lease.release("failed", ServingError("upstream_error", "it answered 500", upstream=(500, b"")))
    assert replica.breaker.probing
    dispatch.lost(replica, "starting", "it crashed")
    wait = waiting(dispatch)
    dispatch.ready(replica, Backend(), 32)
    assert (await wait.future).replica is replica


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
    monkeypatch.setattr("trunkcall.control.dispatch.SUSPECT_SECONDS", 0.2)
    dispatch = Dispatch()
    pool = pool_of(dispatch, 2, managed=True)
    began = time.monotonic()
    granted(dispatch).release("unreachable")
    wait = waiting(dispatch)
    assert (await asyncio.wait_for(wait.future, 30)).replica is pool.replicas[0]
    # The event loop's clock has whole milliseconds.
    assert time.monotonic() - began > 0.19


async def test_lease_of_an_earlier_life_does_not_make_the_new_one_suspect() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 2, managed=True)
    lease = granted(dispatch)
    dispatch.lost(pool.replicas[0], "starting", "killed")
    dispatch.ready(pool.replicas[0], Backend(), 2)
    lease.release("unreachable")
    assert pool.replicas[0].state == "ready"
    assert pool.replicas[0].in_flight == 0


async def test_unreachable_upstream_is_avoided_while_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.dispatch.time.monotonic", lambda: 100.0)
    dispatch = Dispatch()
    pool = pool_of(dispatch, None, None)
    granted(dispatch).release("unreachable")
    assert {granted(dispatch).replica.id for _ in range(4)} == {"m/1"}
    pool.replicas[1].state = "off"
    assert granted(dispatch).replica.id == "m/0"


async def test_retry_avoids_the_replica_that_failed() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 4, 4)
    assert granted(dispatch, avoid=["m/0"]).replica.id == "m/1"


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


def failing(dispatch: Dispatch, times: int, kind: Kind = "upstream_error", **error: Any) -> None:
    for _ in range(times):
        granted(dispatch).release("failed", ServingError(kind, "it broke", **error))


async def test_replica_that_fails_again_and_again_is_left_alone_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.dispatch.time.monotonic", lambda: 100.0)
    dispatch = Dispatch()
    dispatch.news = News()
    told: list[Any] = []
    dispatch.news.listen(lambda kind, about: told.append((kind, about.breaker.state)))
    pool = pool_of(dispatch, None)
    failing(dispatch, IN_A_ROW)
    view = pool.view().replicas[0].breaker
    assert (view.state, view.failures, view.why) == ("open", IN_A_ROW, "it broke")
    with pytest.raises(ServingError, match="it broke") as caught:
        dispatch.lease("m")
    assert caught.value.kind == "no_capacity"
    assert 0 < (caught.value.retry_after or 0) <= 1.25
    assert told == [("replica", "open")]


async def test_one_request_finds_out_whether_it_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.breaker.FIRST_SECONDS", 0.05)
    dispatch = Dispatch()
    pool_of(dispatch, None)
    failing(dispatch, IN_A_ROW)
    await asyncio.sleep(0.1)
    probe = granted(dispatch)
    wait = waiting(dispatch)
    probe.release()
    (await asyncio.wait_for(wait.future, 30)).release()
    leases = [granted(dispatch) for _ in range(3)]
    assert leases[0].replica.in_flight == 3


async def test_those_who_wait_for_the_finding_are_told_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.breaker.FIRST_SECONDS", 0.05)
    dispatch = Dispatch()
    pool_of(dispatch, None)
    failing(dispatch, IN_A_ROW)
    await asyncio.sleep(0.1)
    probe = granted(dispatch)
    wait = waiting(dispatch)
    probe.release("failed", ServingError("upstream_error", "still broken"))
    with pytest.raises(ServingError, match="still broken"):
        await wait.future


async def test_a_caller_who_leaves_proves_nothing() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, None)
    failing(dispatch, IN_A_ROW - 1)
    granted(dispatch).release("unused")
    failing(dispatch, 1)
    assert pool.view().replicas[0].breaker.state == "open"


async def test_clock_jumps_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.dispatch.time.monotonic", lambda: 100.0)
    dispatch = Dispatch()
    pool = pool_of(dispatch, None)
    failing(dispatch, IN_A_ROW)
    for jump in (-1e9, 1e9):
        monkeypatch.setattr("time.time", lambda jump=jump: 1.7e9 + jump)
        assert pool.view().replicas[0].breaker.state == "open"
        with pytest.raises(ServingError, match="left alone"):
            dispatch.lease("m")


async def test_busy_replica_is_left_alone_for_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.dispatch.time.monotonic", lambda: 100.0)
    dispatch = Dispatch()
    pool = pool_of(dispatch, None, None)
    failing(dispatch, 1, "rate_limited", upstream=(429, b""), retry_after=7.0)
    assert {granted(dispatch).replica.id for _ in range(4)} == {"m/1"}
    failing(dispatch, 1, "upstream_error", upstream=(503, b""), retry_after=9.0)
    with pytest.raises(ServingError, match="come back") as caught:
        dispatch.lease("m")
    assert (caught.value.kind, round(caught.value.retry_after or 0)) == ("overloaded", 7)
    assert [replica.breaker.state for replica in pool.view().replicas] == ["open", "open"]


async def test_callers_mistakes_open_nothing() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, None)
    failing(dispatch, 50, "bad_request", upstream=(400, b""))
    failing(dispatch, 50, "bug")
    assert pool.view().replicas[0].breaker.state == "closed"


async def test_new_life_of_an_engine_begins_with_a_closed_breaker() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 4, managed=True)
    failing(dispatch, IN_A_ROW)
    dispatch.lost(pool.replicas[0], "starting", "killed")
    dispatch.ready(pool.replicas[0], Backend(), 4)
    granted(dispatch).release()


async def test_retry_waits_for_a_busy_replica_rather_than_asking_the_one_that_failed() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1, 1)
    busy = dispatch.lease_on(pool, pool.replicas[1])
    assert busy is not None
    wait = waiting(dispatch, avoid=["m/0"])
    await asyncio.sleep(0)
    assert not wait.future.done()
    busy.release()
    assert (await wait.future).replica.id == "m/1"


async def test_retry_waits_for_one_that_is_being_tried_and_takes_it_once_it_speaks() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, None, None)
    pool.replicas[1].breaker = Breaker(1, until=1.0, times=1)
    trying = dispatch.lease_on(pool, pool.replicas[1])
    assert trying is not None
    assert pool.replicas[1].probed
    assert dispatch.another("m", ["m/0"])
    wait = waiting(dispatch, avoid=["m/0"])
    await asyncio.sleep(0)
    assert not wait.future.done()
    trying.speaks()
    assert (await wait.future).replica.id == "m/1"
    assert pool.replicas[1].breaker is CLOSED
    # With its failure the wait is over too.
    pool.replicas[1].breaker = Breaker(1, until=1.0, times=1)
    trying = dispatch.lease_on(pool, pool.replicas[1])
    assert trying is not None
    wait = waiting(dispatch, avoid=["m/0"])
    trying.release("failed", ServingError("upstream_timeout", "it took too long"))
    assert (await wait.future).replica.id == "m/0"


async def test_who_waits_for_a_certain_replica_holds_up_nobody_else() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1, 1)
    busy = dispatch.lease_on(pool, pool.replicas[1])
    assert busy is not None
    retries = [waiting(dispatch, key="a", avoid=["m/0"]) for _ in range(2)]
    first = await waiting(dispatch, key="a").future
    assert first.replica.id == "m/0"
    second = waiting(dispatch, key="b")
    assert not second.future.done()
    first.release()
    assert (await second.future).replica.id == "m/0"
    assert not any(retry.future.done() for retry in retries)
    busy.release()
    assert (await retries[0].future).replica.id == "m/1"
    assert not retries[1].future.done()


async def test_retry_takes_the_one_that_failed_where_there_is_no_other() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1, 1)
    pool.replicas[1].state = "off"
    assert granted(dispatch, avoid=["m/0"]).replica.id == "m/0"


async def test_the_more_important_wait_less_long() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1)
    lease = granted(dispatch)
    low, high = waiting(dispatch, priority=-1), waiting(dispatch, priority=1)
    assert (low.position, high.position) == (1, 0)
    lease.release()
    assert high.future.done()


async def test_who_waits_in_vain_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("trunkcall.control.dispatch.time.monotonic", lambda: now)
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1)
    pool.mean_seconds = 10.0
    granted(dispatch)
    waiting(dispatch, deadline=101.0)
    with pytest.raises(ServingError, match="1 requests waiting") as caught:
        dispatch.lease("m", deadline=101.0)
    assert (caught.value.kind, caught.value.retry_after) == ("overloaded", 10.0)
    waiting(dispatch, deadline=150.0)


@pytest.mark.parametrize(
    ("policy", "weights", "shares"),
    [
        ("weighted", (1.0, 3.0), {"m/0": 100, "m/1": 300}),
        ("least_loaded", (), {"m/0": 400}),
    ],
)
async def test_policy_of_the_settings(policy: Policy, weights: tuple[float, ...], shares: dict[str, int]) -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 8, 8)
    pool.settings = msgspec.structs.replace(pool.settings, policy=policy, weights=weights)
    counts: Counter[str] = Counter()
    for _ in range(400):
        lease = granted(dispatch)
        counts[lease.replica.id] += 1
        assert lease.why.startswith(policy)
        lease.release()
    assert counts == shares


async def test_lottery_draws_all() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, None, None)
    pool.settings = msgspec.structs.replace(pool.settings, policy="lottery", weights=(1.0, 3.0))
    counts: Counter[str] = Counter()
    for _ in range(1000):
        lease = granted(dispatch)
        counts[lease.replica.id] += 1
        lease.release()
    assert 150 < counts["m/0"] < 350


async def test_aliases_are_names_of_the_model() -> None:
    dispatch = Dispatch()
    pool = pool_of(dispatch, 1)
    pool.settings = msgspec.structs.replace(pool.settings, aliases=("other", "third"))
    assert granted(dispatch).pool is pool
    assert dispatch.find("other") is pool is dispatch.pool("third")
    assert dispatch.names() == ["m", "other", "third"]
    assert pool.view().aliases == ("other", "third")
    with pytest.raises(ServingError, match="'other'"):
        dispatch.pool("othr")
    pool.settings = msgspec.structs.replace(pool.settings, aliases=("third",))
    assert dispatch.find("other") is None
    dispatch.remove("m")
    assert dispatch.find("third") is None


async def test_names_are_taken_once() -> None:
    dispatch = Dispatch()
    pool_of(dispatch, 1)
    with pytest.raises(ServingError, match="exists"):
        dispatch.check_free(ModelSettings(name="m", sources=()))
    dispatch.check_free(ModelSettings(name="new", sources=(), aliases=("fresh",)))


async def test_fallbacks_follow_one_another_and_end() -> None:
    dispatch = Dispatch()
    for name, fallback in {"a": ("b", "c"), "b": ("d", "a"), "c": ("missing",), "d": ()}.items():
        dispatch.pools[name] = Pool(ModelSettings(name=name, sources=(), fallback=fallback), [])
    assert dispatch.fallbacks("a") == ("b", "d", "c")
    assert dispatch.fallbacks("d") == ()
