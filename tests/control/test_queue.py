"""Turns by key, and places told truly."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.control.queue import FairQueue, Waiter


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def _filled(keys: list[str], loop: asyncio.AbstractEventLoop) -> tuple[FairQueue, list[Waiter]]:
    queue = FairQueue()
    waiters = [Waiter(key, loop.create_future()) for key in keys]
    for waiter in waiters:
        queue.push(waiter)
    return queue, waiters


def test_callers_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    queue, waiters = _filled(["a", "a", "a", "b", "c"], loop)
    order = [queue.pop() for _ in range(5)]
    assert order == [waiters[0], waiters[3], waiters[4], waiters[1], waiters[2]]
    assert queue.pop() is None


def test_those_who_left_are_skipped(loop: asyncio.AbstractEventLoop) -> None:
    queue, waiters = _filled(["a", "a", "b"], loop)
    waiters[0].future.cancel()
    queue.remove(waiters[2])
    assert len(queue) == 2
    assert queue.pop() is waiters[1]
    assert len(queue) == 0


@given(keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=12), data=st.data())
def test_position_is_the_number_served_before(
    loop: asyncio.AbstractEventLoop, keys: list[str], data: st.DataObject
) -> None:
    queue, waiters = _filled(keys, loop)
    waiter = data.draw(st.sampled_from(waiters))
    told = queue.position(waiter)
    served = 0
    while queue.pop() is not waiter:
        served += 1
    assert told == served


@given(keys=st.lists(st.sampled_from("abc"), max_size=12))
def test_every_waiter_comes_out_once(loop: asyncio.AbstractEventLoop, keys: list[str]) -> None:
    queue, waiters = _filled(keys, loop)
    out: list[Waiter] = []
    while (waiter := queue.pop()) is not None:
        out.append(waiter)
    assert sorted(map(id, out)) == sorted(map(id, waiters))
    assert len(queue) == 0


def test_the_more_important_come_first_and_take_turns_among_themselves(loop: asyncio.AbstractEventLoop) -> None:
    queue = FairQueue()
    wanted = [("a", 0), ("a", 5), ("a", 5), ("b", 5), ("b", -1), ("c", 0)]
    waiters = [Waiter(key, loop.create_future(), priority=priority) for key, priority in wanted]
    for waiter in waiters:
        queue.push(waiter)
    assert [queue.position(waiter) for waiter in waiters] == [3, 0, 2, 1, 5, 4]
    assert [queue.pop() for _ in waiters] == [waiters[at] for at in (1, 3, 2, 0, 5, 4)]


def test_those_whose_time_is_over_are_not_served(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("trunkcall.control.queue.time.monotonic", lambda: now)
    queue = FairQueue()
    late, early = (Waiter("a", loop.create_future(), deadline=deadline) for deadline in (101.0, 200.0))
    queue.push(late)
    queue.push(early)
    now = 102.0
    assert queue.pop() is early
    assert len(queue) == 0


@given(
    keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=40), fresh=st.lists(st.sampled_from("abc"), max_size=40)
)
def test_no_key_gets_more_than_its_turn(loop: asyncio.AbstractEventLoop, keys: list[str], fresh: list[str]) -> None:
    """Whoever comes meanwhile: since a key began to wait, no other was served more than twice more than it."""
    queue, waiters = _filled(keys, loop)
    served: Counter[str] = Counter()
    began = {waiter.key: served.copy() for waiter in waiters}
    left = [*fresh]
    while (first := queue.pop()) is not None:
        waiters.remove(first)
        served[first.key] += 1
        waiting = {waiter.key for waiter in waiters}
        began = {key: before for key, before in began.items() if key in waiting}
        for key, before in began.items():
            since = served - before
            assert all(since[other] - since[key] <= 2 for other in since), (key, since)
        if left:
            waiters.append(Waiter(left.pop(), loop.create_future()))
            queue.push(waiters[-1])
            began.setdefault(waiters[-1].key, served.copy())


def test_ten_thousand_waiters_come_look_and_leave(loop: asyncio.AbstractEventLoop) -> None:
    queue, waiters = _filled([f"key {number % 100}" for number in range(10_000)], loop)
    assert sorted(queue.position(waiter) for waiter in waiters) == list(range(10_000))
    for waiter in waiters[::2]:
        queue.remove(waiter)
        queue.remove(waiter)
    assert len(queue) == 5000
    assert queue.drain()
    assert len(queue) == 0
    assert queue.position(waiters[1]) == 0
