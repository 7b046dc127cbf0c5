"""The choice among replicas that come, go and change, against what the policies say of a fresh look."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkcall.control import policy
from trunkcall.control.breaker import CLOSED, Breaker
from trunkcall.control.choice import Choice
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.models import ModelSettings, Source


class Asked:
    """A request of one conversation and one prompt."""

    def __init__(self, session: str = "", prompt: str = "") -> None:
        self._session = session
        self._prompt = prompt

    def session(self) -> str:
        return self._session

    def prompt(self) -> str:
        return self._prompt


def ready(number: int, slots: int | None = 4) -> Replica:
    replica = Replica(f"m/{number}", Source("x"), slots)
    replica.state = "ready"
    return replica


def pool_of(count: int, slots: int | None = 4, **settings: Any) -> Pool:
    return Pool(ModelSettings(name="m", sources=(), **settings), [ready(number, slots) for number in range(count)])


def choose(pool: Pool, now: float = 1.0, **more: Any) -> int | None:
    chosen = pool.choice.choose(pool.settings, pool.replicas, now, **more)
    return None if chosen is None else chosen[0]


def take(pool: Pool, index: int, now: float = 1.0) -> None:
    pool.replicas[index].in_flight += 1
    pool.choice.took(pool.replicas[index], now)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["state", "slots", "others", "suspect", "breaker", "take", "leave", "come", "look"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(CHANGES)
def test_ranks_are_those_of_a_fresh_look(changes: list[tuple[str, int]]) -> None:
    async def run() -> None:
        pool, now = pool_of(3), 1.0
        for what, number in changes:
            now += 0.5
            replica = pool.replicas[number % len(pool.replicas)]
            match what:
                case "state":
                    replica.state = "ready" if number % 2 else "starting"
                case "slots":
                    replica.slots = number or None
                case "others":
                    replica.others = float(number)
                case "suspect":
                    replica.suspect_until = now + number
                case "breaker":
                    replica.breaker = Breaker(until=now + number) if number else CLOSED
                case "take":
                    take(pool, number % len(pool.replicas), now)
                case "leave" if len(pool.replicas) > 1:
                    pool.rearrange([one for one in pool.replicas if one is not replica])
                case "come":
                    fresh_one = ready(len(pool.replicas) + 10)
                    fresh_one.pools.append(pool)
                    pool.rearrange([fresh_one, *pool.replicas])
                case _:
                    pass
            fresh = [policy.pressure(one.load(now, 1.0)) for one in pool.replicas]
            assert choose(pool, now) == policy.least(fresh)

    asyncio.run(run())


def test_whys() -> None:
    assert pool_of(1).choice.choose(pool_of(1).settings, pool_of(1).replicas, 1.0) == (0, "only replica")
    pool = pool_of(3)
    take(pool, 0)
    assert pool.choice.choose(pool.settings, pool.replicas, 1.0) == (1, "least_loaded: 0 of 4 slots, of 3 replicas")
    pool = pool_of(2, None, policy="shortest_queue")
    assert pool.choice.choose(pool.settings, pool.replicas, 1.0) == (0, "shortest_queue: 0 in flight, of 2 replicas")
    assert Choice().choose(pool.settings, [], 1.0) is None


def test_settings_that_change_count_at_once() -> None:
    pool = pool_of(2)
    assert [choose(pool) for _ in range(2)] == [0, 0]
    pool.settings = ModelSettings(name="m", sources=(), policy="weighted", weights=(1.0, 9.0))
    order: list[int] = []
    for _ in range(20):
        index = choose(pool)
        assert index is not None
        order.append(index)
        take(pool, index)
        pool.replicas[index].in_flight -= 1
        pool.choice.gave_back(pool.replicas[index], 1.0)
    assert order.count(0) == 2


@pytest.mark.parametrize("name", ["session_affinity", "prefix_affinity", "weighted", "lottery", "shortest_queue"])
def test_avoided_ones_are_the_last_resort(name: Any) -> None:
    pool = pool_of(2, policy=name)
    asked = Asked("me", "hello " * 50)
    first = choose(pool, affinity=asked)
    assert first is not None
    avoid = [pool.replicas[first].id]
    assert choose(pool, affinity=asked, avoid=avoid) == 1 - first
    pool.replicas[1 - first].state = "off"
    assert choose(pool, affinity=asked, avoid=avoid) == first


def test_conversation_stays_until_its_replica_is_over_the_bound() -> None:
    pool = pool_of(3, 8, policy="session_affinity")
    asked = Asked("me")
    home = choose(pool, affinity=asked)
    assert home is not None
    assert {choose(pool, affinity=asked) for _ in range(5)} == {home}
    for _ in range(4):
        take(pool, home)
    assert choose(pool, affinity=asked) != home
    for index in range(3):
        take(pool, index)
        take(pool, index)
        take(pool, index)
    pool.replicas[home].in_flight = 2
    pool.choice.gave_back(pool.replicas[home], 1.0)
    assert choose(pool, affinity=asked) == home
    assert choose(pool, affinity=Asked("")) == home


def test_prompts_go_where_they_are_known_and_new_ones_spread() -> None:
    pool = pool_of(2, policy="prefix_affinity")
    talks = ["".join(f"talk {number} word {word} " for word in range(40)) for number in range(6)]
    homes = [choose(pool, affinity=Asked(prompt=talk)) for talk in talks]
    assert homes.count(0) == homes.count(1) == 3
    for _ in range(3):
        talks = [talk + " and on and on, for a while at least, until a block is full" for talk in talks]
        assert [choose(pool, affinity=Asked(prompt=talk)) for talk in talks] == homes
    home = homes[0]
    assert home is not None
    for _ in range(3):
        take(pool, home)
    assert choose(pool, affinity=Asked(prompt=talks[0])) == 1 - home


@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=2, max_size=6),
    full=st.sets(st.integers(0, 5)),
    suspect=st.sets(st.integers(0, 5)),
)
@settings(max_examples=20)
def test_a_lottery_draws_by_the_odds_of_those_that_are_free(
    weights: list[float], full: set[int], suspect: set[int]
) -> None:
    random.seed(1)
    pool = pool_of(len(weights), 1, policy="lottery", weights=tuple(weights))
    for index, replica in enumerate(pool.replicas):
        replica.in_flight = int(index in full)
        replica.suspect_until = 2.0 if index in suspect else 0.0
    odds = [policy.odds(replica.load(1.0, weight)) for replica, weight in zip(pool.replicas, weights, strict=True)]
    drawn = [choose(pool) for _ in range(1000)]
    if not sum(odds):
        assert set(drawn) == {None}
        return
    for index, part in enumerate(odds):
        assert abs(drawn.count(index) / 1000 - part / sum(odds)) < 0.06


def test_a_replica_that_takes_the_place_of_another() -> None:
    pool = pool_of(2, policy="session_affinity")
    take(pool, 0)
    assert choose(pool, affinity=Asked("")) == 1
    fresh = ready(7)
    pool.rearrange([pool.replicas[1], fresh])
    take(pool, 0)
    assert choose(pool, affinity=Asked("")) == 1
    homes = {choose(pool, affinity=Asked(f"talk {number}")) for number in range(40)}
    assert homes == {0, 1}
