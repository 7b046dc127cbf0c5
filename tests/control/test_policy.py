"""The choice of a replica, as tables."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.control.policy import (
    Load,
    Share,
    bound,
    draw,
    due,
    in_vain,
    least,
    lottery,
    next_turn,
    odds,
    prefix_affinity,
    pressure,
    queueing,
    retry_after,
    ring,
    session_affinity,
    shortest_queue,
)

TABLE: list[tuple[str, list[Load], int | None]] = [
    ("nothing there", [], None),
    ("not ready", [Load(False, False, 0, None)], None),
    ("full", [Load(True, False, 4, 4)], None),
    ("no limit is never full", [Load(True, False, 900, None)], 0),
    ("fewest per slot", [Load(True, False, 3, 8), Load(True, False, 2, 4)], 0),
    ("fewest in flight among unlimited", [Load(True, False, 3, None), Load(True, False, 2, None)], 1),
    ("suspect last", [Load(True, True, 0, 4), Load(True, False, 3, 4)], 1),
    ("suspect when there is no other", [Load(True, True, 0, 4), Load(True, False, 4, 4)], 0),
    ("others count", [Load(True, False, 0, 4, 3.0), Load(True, False, 2, 4)], 1),
    ("others count among unlimited", [Load(True, False, 0, None, 3.0), Load(True, False, 2, None)], 1),
    ("one whose memory is full, last", [Load(True, False, 0, 4, inf), Load(True, False, 3, 4, 9.0)], 1),
    ("before one that is suspect", [Load(True, False, 0, 4, inf), Load(True, True, 0, 4)], 0),
    ("first of equals", [Load(True, False, 1, 4), Load(True, False, 1, 4)], 0),
    ("more slots of as many requests", [Load(True, False, 1, 2), Load(True, False, 1, 4)], 1),
]


@pytest.mark.parametrize(("what", "loads", "chosen"), TABLE, ids=[row[0] for row in TABLE])
def test_least_loaded(what: str, loads: list[Load], chosen: int | None) -> None:
    assert least([pressure(load) for load in loads]) == chosen


LENGTHS: list[tuple[str, list[Load], int | None]] = [
    ("full", [Load(True, False, 2, 2)], None),
    ("the shorter one", [Load(True, False, 2, 8), Load(True, False, 1, 2)], 1),
    ("for its speed", [Load(True, False, 2, None, 0.0, 1.0), Load(True, False, 7, None, 0.0, 4.0)], 1),
    ("others count", [Load(True, False, 0, 4, 3.0), Load(True, False, 2, 4)], 1),
    ("suspect last", [Load(True, True, 0, 4), Load(True, False, 3, 4)], 1),
]


@pytest.mark.parametrize(("what", "loads", "chosen"), LENGTHS, ids=[row[0] for row in LENGTHS])
def test_shortest_queue_of_loads(what: str, loads: list[Load], chosen: int | None) -> None:
    assert least([queueing(load) for load in loads]) == chosen


PARTS: list[tuple[str, list[Load], float, int | None]] = [
    ("nobody", [], 0.5, None),
    ("all full", [Load(True, False, 1, 1)], 0.5, None),
    ("by weight", [Load(True, False, 0, 9, 0.0, 1.0), Load(True, False, 0, 9, 0.0, 3.0)], 0.24, 0),
    ("by weight, above", [Load(True, False, 0, 9, 0.0, 1.0), Load(True, False, 0, 9, 0.0, 3.0)], 0.26, 1),
    ("never a full one", [Load(True, False, 9, 9), Load(True, False, 0, 9)], 0.0, 1),
    ("nor at the end", [Load(True, False, 0, 9), Load(False, False, 0, 9)], 0.9999999999999999, 0),
    ("hardly a suspect one", [Load(True, True, 0, 9), Load(True, False, 0, 9)], 0.001, 1),
    ("suspect when there is no other", [Load(True, True, 0, 9)], 0.5, 0),
]


@pytest.mark.parametrize(("what", "loads", "drawn", "chosen"), PARTS, ids=[row[0] for row in PARTS])
def test_lottery_of_loads(what: str, loads: list[Load], drawn: float, chosen: int | None) -> None:
    assert draw([odds(load) for load in loads], drawn) == chosen


@given(weights=st.lists(st.floats(0.5, 20), min_size=1, max_size=6), away=st.lists(st.integers(0, 5), max_size=20))
def test_weighted_shares_come_true_smoothly(weights: list[float], away: list[int]) -> None:
    """Also after some were full for a while, who are owed nothing."""
    turns, now = [0.0] * len(weights), 0.0

    def once(full: int | None = None) -> int:
        nonlocal now
        index = least([due(Load(True, False, 0, 0 if i == full else 1), turn) for i, turn in enumerate(turns)])
        assert index is not None
        turns[index], now = next_turn(turns[index], now, weights[index]), max(now, turns[index])
        return index

    for full in away:
        if len(weights) > 1:
            once(full % len(weights))
    counts = [0] * len(weights)
    for asked in range(1, 400):
        counts[once()] += 1
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - asked * weight / sum(weights)) <= len(weights) + 1


def _bounded(flights: list[int], slots: int = 99) -> tuple[list[float], list[int], int]:
    ranks = [pressure(Load(True, False, flight, slots)) for flight in flights]
    return ranks, flights, bound(sum(flights), len(ranks) - ranks.count(inf))


BOUNDS: list[tuple[str, list[int], int, bool]] = [
    ("nobody has anything", [0, 0, 0], 1, True),
    ("a quarter over the mean", [3, 1, 1], 0, False),
    ("rounded up", [2, 1, 1], 0, True),
    ("at the mean", [1, 1, 1], 0, True),
    ("far over it", [9, 0, 0], 0, False),
    ("full", [99, 0, 0], 0, False),
    ("alone", [5], 0, True),
]


@pytest.mark.parametrize(("what", "flights", "index", "within"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_bound_of_load(what: str, flights: list[int], index: int, within: bool) -> None:
    ranks, flights, most = _bounded(flights)
    assert (ranks[index] < inf and flights[index] < most) is within


@given(sessions=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=30), count=st.integers(1, 9))
def test_a_conversation_stays_while_replicas_come_and_go(sessions: list[str], count: int) -> None:
    ids = [f"m/{number}" for number in range(count)]
    idle = _bounded([0] * count)
    before = {session: session_affinity(ring(ids), session, *idle) for session in sessions}
    more = _bounded([0] * (count + 1))
    for session in sessions:
        after = session_affinity(ring([*ids, "new"]), session, *more)
        assert after in (before[session], count)


def test_many_conversations_spread_evenly() -> None:
    circle, idle = ring(["a", "b", "c", "d"]), _bounded([0] * 4)
    counts = Counter(session_affinity(circle, f"session {number}", *idle) for number in range(4000))
    assert all(800 < counts[index] < 1200 for index in range(4)), counts


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.text(max_size=5))
def test_a_busy_session_goes_to_a_replica_within_the_bound(flights: list[int], session: str) -> None:
    ranks, flights, most = _bounded(flights, slots=6)
    index = session_affinity(ring([f"m/{n}" for n in range(len(flights))]), session, ranks, flights, most)
    best = least(ranks)
    if index is None or best is None:
        assert index is best
    else:
        assert flights[index] < most or ranks[index] == ranks[best]


HELD: list[tuple[str, list[int], list[int], int | None]] = [
    ("nobody", [], [0, 0], None),
    ("who holds it", [1], [0, 0], 1),
    ("the less busy holder", [0, 1, 2], [2, 1, 2], 1),
    ("not beyond the bound", [0], [9, 0, 0], None),
]


@pytest.mark.parametrize(("what", "holders", "flights", "chosen"), HELD, ids=[row[0] for row in HELD])
def test_prefix_affinity(what: str, holders: list[int], flights: list[int], chosen: int | None) -> None:
    assert prefix_affinity(holders, *_bounded(flights)) == chosen


@pytest.mark.parametrize(
    ("waiting", "slots", "mean", "left", "vain"),
    [(0, 4, 60.0, 0.1, False), (3, 4, 60.0, 0.1, False), (40, 4, 1.0, 5.0, False), (40, 4, 1.0, 2.0, True)],
)
def test_only_the_clearly_hopeless_are_refused(waiting: int, slots: int, mean: float, left: float, vain: bool) -> None:
    assert in_vain(waiting, slots, mean, left) is vain


@pytest.mark.parametrize(
    ("waiting", "slots", "mean", "seconds"),
    [(0, 4, 1.0, 1.0), (40, 4, 2.0, 20.0), (1000, 1, 9.0, 60.0), (5, 0, 1.0, 5.0)],
)
def test_retry_after(waiting: int, slots: int, mean: float, seconds: float) -> None:
    assert retry_after(waiting, slots, mean) == seconds


QUEUES: list[tuple[str, list[Share], int | None]] = [
    ("nobody", [], None),
    ("the shorter one", [(False, 1, 2), (False, 1, 1)], 1),
    ("first of equals", [(False, 1, 1), (False, 1, 1)], 0),
    ("for its speed", [(False, 1, 2), (False, 4, 7)], 1),
    ("no speed is no division by it", [(False, 0, 0), (False, 1, 9)], 1),
    ("no speed when there is no other", [(False, 0, 3)], 0),
    ("suspect last", [(True, 1, 0), (False, 1, 50)], 1),
    ("suspect when there is no other", [(True, 1, 2), (True, 1, 1)], 1),
]


@pytest.mark.parametrize(("what", "shares", "chosen"), QUEUES, ids=[row[0] for row in QUEUES])
def test_shortest_queue(what: str, shares: list[Share], chosen: int | None) -> None:
    assert shortest_queue(shares) == chosen


DRAWS: list[tuple[str, list[Share], float, int | None]] = [
    ("nobody", [], 0.5, None),
    ("no speed at all", [(False, 0, 0), (False, 0.00001, 0)], 0.5, None),
    ("the first part", [(False, 1, 9), (False, 3, 0)], 0.24, 0),
    ("the second part", [(False, 1, 9), (False, 3, 0)], 0.25, 1),
    ("to the end", [(False, 1, 0), (False, 3, 0)], 0.999, 1),
    ("never one without speed", [(False, 0, 0), (False, 1, 0), (False, 0, 0)], 0.0, 1),
    ("nor at the end", [(False, 1, 0), (False, 0, 0)], 0.9999999999999999, 0),
    ("suspects have no chance", [(True, 9, 0), (False, 1, 0)], 0.0, 1),
    ("among suspects only", [(True, 1, 0), (True, 1, 0)], 0.6, 1),
    ("a rest of rounding", [(False, 0.1, 0)] * 10, 0.9999999999999999, 9),
]


@pytest.mark.parametrize(("what", "shares", "drawn", "chosen"), DRAWS, ids=[row[0] for row in DRAWS])
def test_lottery(what: str, shares: list[Share], drawn: float, chosen: int | None) -> None:
    assert lottery(shares, drawn) == chosen
