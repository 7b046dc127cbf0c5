"""The choice of a replica, as a table."""

from __future__ import annotations

import pytest

from trunkcall.control.policy import Load, least_loaded, retry_after

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
