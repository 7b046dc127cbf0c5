"""A demand is told of each time, and keeps when it began."""

from __future__ import annotations

import time

from trunkcall.control.demand import Demand


def test_it_keeps_when_it_began_and_tells_each_time() -> None:
    demand = Demand()
    heard: list[int] = []
    demand.told = lambda: heard.append(demand.calls)
    before = time.monotonic()
    demand.set()
    since = demand.since
    assert before <= since <= time.monotonic() and demand.is_set()
    demand.set()
    assert (demand.since, heard) == (since, [1, 2])
    demand.clear()
    time.sleep(0.001)
    demand.set()
    assert demand.since > since
