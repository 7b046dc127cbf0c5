"""Turns by key, and places told truly."""

from __future__ import annotations

import asyncio
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
