"""The choice of a replica, as a table."""

from __future__ import annotations

from math import inf

import pytest

from trunkcall.control.policy import Load, Share, least_loaded, lottery, retry_after, shortest_queue

TABLE: list[tuple[str, list[Load], int | None, int | None]] = [
    ("nothing there", [], None, None),
    ("not ready", [Load(False, False, 0, None)], None, None),
    ("full", [Load(True, False, 4, 4)], None, None),
    ("no limit is never full", [Load(True, False, 900, None)], None, 0),
    ("fewest per slot", [Load(True, False, 3, 8), Load(True, False, 2, 4)], None, 0),
    ("fewest in flight among unlimited", [Load(True, False, 3, None), Load(True, False, 2, None)], None, 1),
    ("suspect last", [Load(True, True, 0, 4), Load(True, False, 3, 4)], None, 1),
    ("suspect when there is no other", [Load(True, True, 0, 4), Load(True, False, 4, 4)], None, 0),
    ("the one that failed before, last", [Load(True, False, 0, 4), Load(True, True, 3, 4)], 0, 1),
    ("the one that failed before, when alone", [Load(True, False, 0, 4)], 0, 0),
    ("others count", [Load(True, False, 0, 4, 3.0), Load(True, False, 2, 4)], None, 1),
    ("others count among unlimited", [Load(True, False, 0, None, 3.0), Load(True, False, 2, None)], None, 1),
    ("one whose memory is full, last", [Load(True, False, 0, 4, inf), Load(True, False, 3, 4, 9.0)], None, 1),
    ("before one that is suspect", [Load(True, False, 0, 4, inf), Load(True, True, 0, 4)], None, 0),
    ("first of equals", [Load(True, False, 1, 4), Load(True, False, 1, 4)], None, 0),
]


@pytest.mark.parametrize(("what", "loads", "avoid", "chosen"), TABLE, ids=[row[0] for row in TABLE])
def test_least_loaded(what: str, loads: list[Load], avoid: int | None, chosen: int | None) -> None:
    assert least_loaded(loads, avoid) == chosen


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
