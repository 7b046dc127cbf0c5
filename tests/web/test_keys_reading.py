"""What the pages of keys and use work out: forms, limits, spans of time, series and CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 15, 10, 30, tzinfo=UTC).timestamp()
NONE = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month", "money_per_day", "money_per_month", "expires_at"))  # fmt: skip
ENTRY: dict[str, Any] = {"name": "team", "role": "user", "models": [], **NONE}
VIEW: dict[str, Any] = {
    "entry": ENTRY, "origin": "store", "created_at": 1.0, "disabled": False,
    "tokens_today": 50, "tokens_this_month": 80, "money_today": 0.5, "money_this_month": 2.0,
}  # fmt: skip
ROW: dict[str, Any] = {
    "requests": 1, "open": 0, "failed": 0, "estimated": 0, "prompt_tokens": 3, "completion_tokens": 4, "cached_tokens": 0,
    "cost": 0.5, "mean_first_token_ms": None, "mean_total_ms": 2.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def script(browser, server):
    """Runs the body of an async function with the modules' functions at hand."""
    page = browser.new_page(timezone_id="America/New_York")
    page.goto(f"{server.url.rstrip('/')}/")

    def run(body: str, *given: Any) -> Any:
        return page.evaluate(
            "async (given) => { const form = await import('/web/keys/key_form.js');"
            " const limits = await import('/web/keys/limits.js'); const use = await import('/web/keys/use.js');"
            f" {body} }}",
            list(given),
        )

    yield run
    page.close()


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        {**ENTRY, "role": "admin", "models": ["a", "b/c:d"], "tokens_per_day": 0, "money_per_month": 0.25},
        {**ENTRY, "expires_at": NOW + 61.5, "requests_per_minute": 2**53 - 1},
    ],
)
def test_a_form_that_is_left_alone_changes_nothing(script, entry):
    told = "const { entry, errors } = form.read(form.formOf(given[0]), given[1], given[0]);"
    assert script(f"{told} return [entry, errors, form.changesOf(given[0], entry)]", entry, NOW) == [entry, {}, {}]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ({"tokens_per_day": "1,000,000"}, {"tokens_per_day": 1_000_000}),
        ({"tokens_per_day": " 5 000 "}, {"tokens_per_day": 5000}),
        ({"money_per_day": ".5"}, {"money_per_day": 0.5}),
        ({"models": "a, b\nc,,a"}, {"models": ["a", "b", "c"]}),
        ({"name": " zoë.x@y+z-1 "}, {"name": "zoë.x@y+z-1"}),
        ({"expires_at": "2026-03-15T08:00"}, {"expires_at": datetime(2026, 3, 15, 12, 0, tzinfo=UTC).timestamp()}),
    ],
)
def test_what_is_typed_is_read(script, typed, read):
    told = script("return form.read({ ...form.formOf(), name: 'n', ...given[0] }, given[1])", typed, NOW)
    assert told == {"entry": {**ENTRY, "name": "n", **read}, "errors": {}}


@pytest.mark.parametrize(
    ("typed", "errors"),
    [
        ({"name": ""}, {"name": "name"}),
        ({"name": "-x"}, {"name": "name"}),
        ({"name": "a b"}, {"name": "name"}),
        ({"name": "x" * 65}, {"name": "name"}),
        ({"tokens_per_day": "1.5", "tokens_per_month": "-1"}, {"tokens_per_day": "whole", "tokens_per_month": "whole"}),
        ({"requests_per_minute": "9" * 20}, {"requests_per_minute": "whole"}),
        ({"money_per_day": "1e3", "money_per_month": "two"}, {"money_per_day": "number", "money_per_month": "number"}),
        ({"expires_at": "2026-03-15T06:29"}, {"expires_at": "past"}),
        ({"expires_at": "soon"}, {"expires_at": "moment"}),
    ],
)
def test_what_is_wrong_is_told_by_field(script, typed, errors):
    told = "return form.read({ ...form.formOf(), name: 'n', ...given[0] }, given[1]).errors"
    assert script(told, typed, NOW) == errors


def test_only_what_is_different_is_sent(script):
    after = {**ENTRY, "tokens_per_day": 5, "models": ["a"]}
    assert script("return form.changesOf(given[0], given[1])", {**ENTRY, "money_per_day": 1}, after) == {
        "models": ["a"],
        "tokens_per_day": 5,
        "money_per_day": None,
    }
    assert script("return form.given(given[0])", after) == {
        "name": "team",
        "role": "user",
        "models": ["a"],
        "tokens_per_day": 5,
    }


@pytest.mark.parametrize(
    ("entry", "more", "condition"),
    [
        ({}, {}, "good"),
        ({}, {"disabled": True}, "disabled"),
        ({"expires_at": NOW}, {}, "expired"),
        ({"expires_at": NOW + 86400}, {}, "expires_soon"),
        ({"expires_at": NOW + 30 * 86400}, {}, "good"),
        ({"tokens_per_day": 50}, {}, "used_up"),
        ({"tokens_per_day": 51}, {}, "good"),
        ({"money_per_month": 0}, {}, "used_up"),
        ({"tokens_per_day": 50, "expires_at": NOW - 1}, {"disabled": True}, "disabled"),
    ],
)
def test_the_condition_of_a_key(script, entry, more, condition):
    view = {**VIEW, **more, "entry": {**ENTRY, **entry}}
    assert script("return limits.conditionOf(given[0], given[1])", view, NOW) == condition


def test_budgets_are_those_that_it_has(script):
    view = {**VIEW, "entry": {**ENTRY, "tokens_per_day": 200, "money_per_month": 1, "requests_per_minute": 6}}
    assert script("return limits.budgets(given[0])", view) == [
        {"name": "tokens_per_day", "used": 50, "most": 200, "share": 0.25},
        {"name": "money_per_month", "used": 2, "most": 1, "share": 1},
    ]
    assert script("return limits.paces(given[0])", view) == [{"name": "requests_per_minute", "most": 6}]


@pytest.mark.parametrize(
    ("now", "name", "moment"),
    [
        (NOW, "tokens_per_day", datetime(2026, 3, 16, tzinfo=UTC)),
        (NOW, "money_per_month", datetime(2026, 4, 1, tzinfo=UTC)),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp(), "tokens_per_month", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_budgets_begin_anew_by_utc(script, now, name, moment):
    assert script("return limits.renewal(given[0], given[1])", name, now) == moment.timestamp()


@pytest.mark.parametrize(
    ("name", "since", "until"),
    [
        ("today", datetime(2026, 3, 15, tzinfo=UTC), None),
        ("day", datetime(2026, 3, 14, 11, tzinfo=UTC), None),
        ("week", datetime(2026, 3, 9, tzinfo=UTC), None),
        ("month", datetime(2026, 2, 14, tzinfo=UTC), None),
        ("this_month", datetime(2026, 3, 1, tzinfo=UTC), None),
        ("all", None, None),
        ("own", datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)),
    ],
)
def test_spans(script, name, since, until):
    told = script("return use.spanOf(given[0], given[1], '2026-01-30', '2026-02-01')", name, NOW)
    assert told == {"since": since and since.timestamp(), "until": until and until.timestamp()}


def test_a_span_of_ones_own_may_be_open(script):
    assert script("return use.spanOf('own', given[0], '', '')", NOW) == {"since": None, "until": None}


def test_slots_have_no_gaps(script):
    told = "return use.slots(given[0], given[1], given[2], given[3], given[4])"
    rows = [{"day": "2026-03-13"}, {"day": "2026-03-15"}]
    assert script(told, "day", None, None, rows, NOW) == ["2026-03-13", "2026-03-14", "2026-03-15"]
    since = datetime(2026, 3, 11, tzinfo=UTC).timestamp()
    assert script(told, "day", since, datetime(2026, 3, 14, tzinfo=UTC).timestamp(), [rows[0]], NOW) == [
        "2026-03-11",
        "2026-03-12",
        "2026-03-13",
    ]
    hours = [{"hour": "2026-03-15T09:00Z"}]
    assert script(told, "hour", None, None, hours, NOW) == ["2026-03-15T09:00Z", "2026-03-15T10:00Z"]
    assert script(told, "hour", 0, None, hours, NOW) is None
    assert script(told, "day", 0, None, [], NOW) == []


def test_series_put_the_smallest_together(script):
    rows = [
        {**ROW, "day": day, "model": f"m{n}", "prompt_tokens": n, "completion_tokens": 0}
        for n in range(8)
        for day in "ab"
    ]
    told = script("return use.seriesOf(given[0], 'day', 'model', 'tokens', ['a', 'b'], { others: 'others' })", rows)
    assert [one["name"] for one in told] == ["m7", "m6", "m5", "m4", "m3", "others"]
    assert told[0]["values"] == [7, 7] and told[-1]["values"] == [3, 3]
    (one,) = script("return use.seriesOf(given[0], 'day', '', 'cost', ['a', 'b'], { all: 'all' })", rows)
    assert one == {"name": "all", "values": [4, 4]}


def test_csv_is_read_by_others(script):
    rows = [
        {**ROW, "key": 'a "b", c', "day": "2026-03-15"},
        {**ROW, "key": "", "day": "2026-03-16", "mean_total_ms": None},
    ]
    text = script("return use.csv(given[0], ['day', 'key'])", rows)
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [one["key"] for one in found] == ['a "b", c', ""]
    assert found[0]["cost"] == "0.5" and found[0]["mean_total_ms"] == "2.5" and found[1]["mean_total_ms"] == ""
    assert text.endswith("\r\n")


def test_times_are_newest_first_and_others_largest_first(script):
    rows = [{**ROW, "day": "a", "cost": 1}, {**ROW, "day": "b", "cost": 2}, {**ROW, "day": "b", "cost": 3}]
    assert [one["cost"] for one in script("return use.ordered(given[0], 'day', 'cost')", rows)] == [3, 2, 1]
    rows = [{**ROW, "model": "a", "cost": 1}, {**ROW, "model": "b", "cost": 3}]
    assert [one["cost"] for one in script("return use.ordered(given[0], 'model', 'cost')", rows)] == [3, 1]
