"""Retention: what is old goes in steps, what runs stays."""

from __future__ import annotations

import contextlib

import pytest
from store.noting import NOON, Store, a_close, an_open, living

from trunkcall.store.database import connect
from trunkcall.store.ledger import usage
from trunkcall.store.retention import HOURS_KEPT, prune
from trunkcall.store.rollups import DAY, HOUR, WEEK


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(float("inf"), 5), (3 * DAY, 5), (2.5 * HOUR, 4), (0.0, 1), (1e300, 5)],
)
def test_requests_that_have_ended_go_when_they_are_older_than_the_retention(
    store: Store, retention: float, kept: int
) -> None:
    with living(store.journal):
        old = [a_close(number, opened_at=NOON - number * HOUR) for number in range(1, 5)]
        store.write_part(1, [*old, an_open(9, opened_at=NOON - 10 * HOUR)])
        store.importer.import_now()
        with contextlib.closing(connect(store.url)) as database:
            assert prune(database, NOON, retention)
    assert len(store.rows()) == kept
    assert usage(store.url).total.requests == 5


def test_many_go_in_steps(store: Store) -> None:
    store.write_part(1, [a_close(number) for number in range(3500)])
    store.importer.import_now()
    with contextlib.closing(connect(store.url)) as database:
        assert not prune(database, NOON + 2 * DAY, HOUR, steps=2)
        assert database.query("SELECT count(*) FROM requests") == [(1500,)]
        assert prune(database, NOON + 2 * DAY, HOUR, steps=3)
        assert prune(database, NOON + 2 * DAY, HOUR, steps=3)
    assert store.rows() == []
    assert usage(store.url).total.requests == 3500


def test_hours_go_after_a_year_and_days_stay(store: Store) -> None:
    store.write_part(1, [a_close(1)])
    store.importer.import_now()
    with contextlib.closing(connect(store.url)) as database:
        assert prune(database, NOON + HOURS_KEPT + DAY, DAY)
        assert database.query("SELECT DISTINCT span FROM rollups ORDER BY 1") == [(DAY,), (WEEK,)]
    assert usage(store.url).total.requests == 1
    assert usage(store.url, by=("hour",)).total.requests == 0
    told = usage(store.url, since=NOON + 0.5)
    assert (told.since, told.total.requests) == (NOON // DAY * DAY, 1)
