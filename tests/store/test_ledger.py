"""Reading the ledger: sums by group, single requests, what keys have used, and moments in time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from store.conftest import DATABASES, new_ledger
from store.noting import Store, a_close, an_open, living

from trunkcall.core.errors import ServingError
from trunkcall.store import ledger
from trunkcall.store.database import connect
from trunkcall.store.journal import Close, Row
from trunkcall.store.ledger import GROUPS, Spent, UsageRow, moment, recent, spent, usage
from trunkcall.store.retention import prune
from trunkcall.store.rollups import DAY, HOUR

MIDNIGHT = 1_700_006_400.0
"""2023-11-15 in UTC."""


def close(sequence: int, **changed: Any) -> Close:
    return a_close(sequence, **{"opened_at": MIDNIGHT + sequence, **changed})


ROWS: list[Row] = [
    close(1, cost=0.5),
    close(2, cached_tokens=4, first_token_ms=15.0, cost=0.25),
    close(3, model="b", key="bob", opened_at=MIDNIGHT - 0.5, first_token_ms=None, total_ms=None),
    close(4, error="upstream_error", finish="", estimated=True, completion_tokens=3, asked="alias"),
    an_open(5, model="b", replica="b-1", key="", opened_at=MIDNIGHT + DAY),
]


@pytest.fixture(scope="module", params=DATABASES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("ledger")
    store = Store(where / "journal", new_ledger(request, where))
    # Its writer lives, so that what is open stays open.
    with living(store.journal):
        store.write_part(1, ROWS)
        store.importer.import_now()
    return store.url


def test_usage_by_model(filled: str) -> None:
    found = usage(filled)
    assert msgspec.to_builtins(found.rows) == [
        {
            "model": "a", "requests": 3, "open": 0, "failed": 1, "estimated": 1, "prompt_tokens": 30,
            "completion_tokens": 43, "cached_tokens": 4, "cost": 0.75, "mean_first_token_ms": 25 / 3, "mean_total_ms": 50.0,
        },
        {
            "model": "b", "requests": 2, "open": 1, "failed": 0, "estimated": 1, "prompt_tokens": 10,
            "completion_tokens": 20, "cached_tokens": 0, "cost": 0.0, "mean_first_token_ms": None, "mean_total_ms": None,
        },
    ]  # fmt: skip
    assert (found.since, found.until) == (None, None)
    assert (found.total.requests, found.total.open, found.total.cost, found.total.mean_total_ms) == (5, 1, 0.75, 50.0)


def test_days_and_hours_begin_in_utc(filled: str) -> None:
    assert [(row.day, row.requests) for row in usage(filled, by=("day",)).rows] == [
        ("2023-11-14", 1),
        ("2023-11-15", 3),
        ("2023-11-16", 1),
    ]
    assert [(row.hour, row.model, row.requests) for row in usage(filled, by=("hour", "model")).rows] == [
        ("2023-11-14T23:00Z", "b", 1),
        ("2023-11-15T00:00Z", "a", 3),
        ("2023-11-16T00:00Z", "b", 1),
    ]


def test_several_groups_and_none(filled: str) -> None:
    rows = usage(filled, by=("key", "model")).rows
    assert [(row.key, row.model, row.requests) for row in rows] == [("", "b", 1), ("alice", "a", 3), ("bob", "b", 1)]
    rows = usage(filled, by=("error", "key", "day")).rows
    assert [(row.error, row.key, row.day) for row in rows] == [
        ("", "", "2023-11-16"), ("", "alice", "2023-11-15"), ("", "bob", "2023-11-14"),
        ("upstream_error", "alice", "2023-11-15"),
    ]  # fmt: skip
    (whole,) = usage(filled, by=()).rows
    assert (whole.requests, whole.model) == (5, UNSET)
    for name in GROUPS:
        assert sum(row.requests for row in usage(filled, by=(name,)).rows) == 5


def test_a_span_of_time_holds_its_beginning_and_not_its_end(filled: str) -> None:
    found = usage(filled, since=MIDNIGHT + 1, until=MIDNIGHT + 4, by=())
    assert (found.total.requests, found.since, found.until) == (2, MIDNIGHT + 1, MIDNIGHT + 4)
    for since, until in (
        (MIDNIGHT + 1e6, None),
        (MIDNIGHT + 4, MIDNIGHT + 1),
        (-5.0, 0.0),
        (1e300, None),
        (None, -1e300),
    ):
        none = usage(filled, since=since, until=until)
        assert (none.rows, none.total.requests, none.total.mean_total_ms) == ([], 0, None)


def test_recent_is_newest_first(filled: str) -> None:
    rows = recent(filled, 3)
    assert [row.id for row in rows] == ["r5", "r4", "r2"]
    assert (rows[0].closed, rows[0].stream, rows[0].estimated) == (False, True, True)
    assert (rows[1].error, rows[2].cached_tokens, rows[2].closed) == ("upstream_error", 4, True)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["r5", "r4", "r2", "r1", "r3"]),
        ({"before": MIDNIGHT + 2}, ["r1", "r3"]),
        ({"model": "b"}, ["r5", "r3"]),
        ({"model": "alias"}, ["r4"]),
        ({"key": "alice", "model": "a", "before": MIDNIGHT + 4}, ["r2", "r1"]),
        ({"error": "any"}, ["r4"]),
        ({"error": "overloaded"}, []),
        ({"error": "upstream_error"}, ["r4"]),
        ({"id": "r3"}, ["r3"]),
        ({"key": "' OR 1=1 --"}, []),
    ],
)
def test_single_requests_are_found(filled: str, wanted: dict[str, Any], found: list[str]) -> None:
    assert [row.id for row in recent(filled, 10, **wanted)] == found


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (MIDNIGHT + 2 * HOUR, [Spent("", 0, 0, 0, 0), Spent("alice", 73, 73, 0.75, 0.75), Spent("bob", 0, 30, 0, 0)]),
        (MIDNIGHT - 5, [Spent("", 0, 0, 0, 0), Spent("alice", 73, 73, 0.75, 0.75), Spent("bob", 30, 30, 0, 0)]),
        (MIDNIGHT + DAY, [Spent("", 0, 0, 0, 0), Spent("alice", 0, 73, 0, 0.75), Spent("bob", 0, 30, 0, 0)]),
        (datetime(2023, 12, 1, tzinfo=UTC).timestamp(), []),
    ],
)
def test_what_keys_have_used_this_day_and_month(filled: str, now: float, expected: list[Spent]) -> None:
    with contextlib.closing(connect(filled)) as database:
        assert spent(database, now) == expected


def test_an_unknown_group_names_the_nearest(filled: str) -> None:
    with pytest.raises(ServingError, match=r"'modle'.*'model'") as raised:
        usage(filled, by=("modle",))
    assert raised.value.kind == "bad_request"


def sums(row: UsageRow) -> tuple[int, int, int, float]:
    return row.requests, row.open, row.prompt_tokens + row.completion_tokens, round(row.cost, 6)


TIMES = st.integers(0, 4 * DAY).map(lambda second: MIDNIGHT + second)
MADE = st.lists(
    st.tuples(TIMES, st.sampled_from("ab"), st.sampled_from(["x", "y"]), st.booleans(), st.integers(0, 9)), max_size=30
)


@pytest.mark.timeout(240)
@given(
    made=MADE,
    since=st.none() | TIMES,
    until=st.none() | TIMES,
    by=st.lists(st.sampled_from(["model", "key", "day", "hour"]), unique=True),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_of_any_span_are_those_of_its_requests(
    store: Store, made: list[Any], since: float | None, until: float | None, by: list[str]
) -> None:
    for table in ("requests", "rollups", "journal_positions"):
        store.run(f"DELETE FROM {table}")
    rows: list[Row] = []
    expected: dict[tuple[str, ...], tuple[int, int, int, float]] = {}
    for number, (opened_at, model, key, still_open, tokens) in enumerate(made):
        if still_open:
            rows.append(an_open(number, opened_at=opened_at, model=model, key=key))
        else:
            rows.append(
                a_close(
                    number,
                    opened_at=opened_at,
                    model=model,
                    key=key,
                    prompt_tokens=1,
                    completion_tokens=tokens,
                    cost=0.5,
                )
            )
        if (since is None or since <= opened_at) and (until is None or opened_at < until):
            when = datetime.fromtimestamp(opened_at, UTC)
            named = {"model": model, "key": key, "day": f"{when:%Y-%m-%d}", "hour": f"{when:%Y-%m-%dT%H:00Z}"}
            group = tuple(named[name] for name in by)
            have = expected.get(group, (0, 0, 0, 0.0))
            this = (1, 1, 0, 0.0) if still_open else (1, 0, 1 + tokens, 0.5)
            expected[group] = tuple(a + b for a, b in zip(have, this, strict=True))  # type: ignore[assignment]
    with living(store.journal):
        if rows:
            store.write_part(1, rows)
        store.importer.import_now()
        found = usage(store.url, since, until, by)
    (store.journal / "w.e.000001.jsonl").unlink(missing_ok=True)
    assert {tuple(getattr(row, name) for name in by): sums(row) for row in found.rows} == expected


def test_no_read_goes_through_all_requests(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[str] = []

    class Explaining:
        def __init__(self, url: str) -> None:
            self._database = connect(url)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._database, name)

        def query(self, statement: str, parameters: Any = ()) -> Any:
            plans.extend(str(row[3]) for row in self._database.query(f"EXPLAIN QUERY PLAN {statement}", parameters))
            return self._database.query(statement, parameters)

    monkeypatch.setattr(ledger, "connect", Explaining)
    for by in ((), *((name,) for name in GROUPS), ("model", "key", "day"), ("hour", "error")):
        for since, until in ((None, None), (MIDNIGHT + 5, None), (MIDNIGHT + 5, MIDNIGHT + 5 * DAY + 5)):
            usage(sqlite_store.url, since, until, by)
    for wanted in ({"model": "m"}, {"key": "k"}, {"error": "any"}, {"error": "bug"}, {"id": "i"}, {"before": 5.0}):
        recent(sqlite_store.url, **wanted)
    with contextlib.closing(Explaining(sqlite_store.url)) as database:
        spent(database, MIDNIGHT)  # type: ignore[arg-type]
    assert len(plans) > 50
    # That of the failed ones is short, and left after `limit` rows.
    assert {plan for plan in plans if plan.startswith("SCAN requests")} <= {"SCAN requests USING INDEX requests_failed"}


def prune_all(store: Store, now: float, retention: float) -> None:
    with contextlib.closing(connect(store.url)) as database:
        while not prune(database, now, retention):
            pass


def test_what_retention_took_is_still_summed_up_and_the_span_says_so(store: Store) -> None:
    store.write_part(1, [close(number, opened_at=MIDNIGHT + number * 600) for number in range(48)])
    store.importer.import_now()
    before = usage(store.url)
    prune_all(store, MIDNIGHT + 8 * HOUR, 4 * HOUR)
    assert len(store.rows()) == 24
    assert usage(store.url) == before
    cut = usage(store.url, MIDNIGHT + HOUR + 1, MIDNIGHT + 3 * HOUR + 1)
    assert (cut.since, cut.until, cut.total.requests) == (MIDNIGHT + HOUR, MIDNIGHT + 4 * HOUR, 18)
    exact = usage(store.url, MIDNIGHT + 4 * HOUR + 601)
    assert (exact.since, exact.total.requests) == (MIDNIGHT + 4 * HOUR + 601, 22)
    crossed = usage(store.url, by=("key", "replica"))
    assert (crossed.since, crossed.total.requests) == (None, 48)
    crossed = usage(store.url, MIDNIGHT + HOUR, MIDNIGHT + 5 * HOUR, by=("key", "replica"))
    assert (crossed.since, crossed.until, crossed.total.requests) == (MIDNIGHT, MIDNIGHT + DAY, 48)
    crossed = usage(store.url, MIDNIGHT + 4 * HOUR, MIDNIGHT + 5 * HOUR, by=("key", "replica"))
    assert (crossed.since, crossed.until, crossed.total.requests) == (MIDNIGHT + 4 * HOUR, MIDNIGHT + 5 * HOUR, 6)
    hourly = usage(store.url, by=("hour", "key", "replica"))
    assert (hourly.since, hourly.total.requests) == (MIDNIGHT + 4 * HOUR, 24)
    # One that comes late is in the sums, and goes with the others of its time.
    store.write_part(1, [close(100, opened_at=MIDNIGHT)], name="late.e")
    store.importer.import_now()
    prune_all(store, MIDNIGHT + 8 * HOUR, 4 * HOUR)
    assert (len(store.rows()), usage(store.url).total.requests) == (24, 49)


def test_a_ledger_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    found = usage(url)
    assert (found.rows, found.total.requests) == ([], 0)
    assert recent(url) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [usage, recent])
def test_a_ledger_that_cannot_be_read_is_told(tmp_path: Path, read: Callable[[str], Any], sqlite_store: Store) -> None:
    sqlite_store.run("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(ServingError, match="at revision 0001") as raised:
        read(sqlite_store.url)
    assert raised.value.kind == "unreachable"
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ServingError, match="not a database") as raised:
        read(f"sqlite:///{tmp_path / 'broken.db'}")
    assert raised.value.kind == "unreachable"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700006400.5", MIDNIGHT + 0.5),
        ("2023-11-15", MIDNIGHT),
        ("2023-11-15T01:00:00+01:00", MIDNIGHT),
        ("2023-11-15T00:00:01Z", MIDNIGHT + 1),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf"])
def test_what_is_no_moment_is_told(text: str) -> None:
    with pytest.raises(ServingError, match="is no time") as raised:
        moment(text)
    assert raised.value.kind == "bad_request"
