"""What a key may spend: windows of a minute, budgets of days and months, and clocks that jump."""

from __future__ import annotations

import calendar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.control.limits import FREE, PRESUMED, Credits, Held, cost
from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.core.models import Price

NOON = calendar.timegm((2026, 11, 30, 12, 0, 0))
"""The last day of a month."""
DAY = 86400


def credits_of(**limits: Any) -> Credits:
    return Credits(KeyEntry(name="k", **limits))


def take(
    credits: Credits, prompt: int, most: int | None, *, now: float = 1000.0, unix: float = NOON, price: Price = FREE
) -> Held:
    return credits.hold(price, prompt, most, now, unix)


def told(credits: Credits, now: float) -> dict[str, str]:
    """What the headers say."""
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in credits.headers(now)}


def refused(credits: Credits, prompt: int = 1, most: int | None = 0, **more: Any) -> ServingError:
    with pytest.raises(ServingError) as raised:
        take(credits, prompt, most, **more)
    return raised.value


def test_requests_of_a_minute() -> None:
    credits = credits_of(requests_per_minute=2)
    take(credits, 1, 0, now=1000.0)
    take(credits, 1, 0, now=1030.0)
    error = refused(credits, now=1031.5)
    assert (error.kind, error.retry_after) == ("rate_limited", 29.5)
    assert "2 requests per minute" in error.message
    take(credits, 1, 0, now=1061.0)
    assert refused(credits, now=1062.0).retry_after == 29.0


def test_tokens_of_a_minute_are_held_and_settled() -> None:
    credits = credits_of(tokens_per_minute=100)
    held = take(credits, 10, 80, now=1000.0)
    assert told(credits, 1000.0) == {"limit-tokens": "100", "remaining-tokens": "10", "reset-tokens": "1m1s"}
    assert refused(credits, 5, 6, now=1001.0).retry_after == 60.0
    credits.settle(held, 30, 0.0, 1002.0)
    assert told(credits, 1002.0)["remaining-tokens"] == "70"
    more = take(credits, 5, 65, now=1003.0)
    credits.settle(more, 90, 0.0, 1004.0)
    assert told(credits, 1004.0)["remaining-tokens"] == "0", "more than was held counts too"


def test_what_never_fits_has_no_retry_after() -> None:
    error = refused(credits_of(tokens_per_minute=100), 50, 51)
    assert (error.kind, error.retry_after) == ("rate_limited", None)
    assert "max_tokens" in error.message
    assert refused(credits_of(requests_per_minute=0)).retry_after is None


@pytest.mark.parametrize(
    ("limits", "seconds", "word"),
    [
        ({"tokens_per_day": 100}, DAY / 2, "2026-12-01 00:00 UTC"),
        ({"tokens_per_month": 100}, DAY / 2, "2026-12-01 00:00 UTC"),
        ({"money_per_day": 100.0}, DAY / 2, "100 per day"),
        ({"money_per_month": 100.0}, DAY / 2, "100 per month"),
    ],
)
def test_an_exhausted_budget_says_which_and_until_when(limits: dict[str, Any], seconds: float, word: str) -> None:
    credits = credits_of(**limits)
    price = Price(1e6, 1e6)
    error = refused(credits, 10, 91, price=price)
    assert (error.kind, error.retry_after) == ("quota", None), "waiting does not help"
    held = take(credits, 10, 90, price=price)
    error = refused(credits, 1, 1, price=price)
    assert (error.kind, error.retry_after) == ("quota", 1.0), "what is held may come back at once"
    credits.settle(held, 100, 100.0, 1001.0)
    error = refused(credits, 1, 1, price=price)
    assert (error.kind, error.retry_after) == ("quota", seconds)
    assert word in error.message
    assert "'k'" in error.message


def test_days_and_months_begin_anew() -> None:
    credits = credits_of(tokens_per_day=100, tokens_per_month=150)
    credits.settle(take(credits, 0, 100), 100, 0.0, 1001.0)
    refused(credits, 1)
    credits.settle(take(credits, 0, 100, unix=NOON + DAY), 100, 0.0, 1001.0)
    assert credits.tokens_this_month == 100, "it was the month's last day"
    credits.settle(take(credits, 0, 50, unix=NOON + 2 * DAY), 50, 0.0, 1001.0)
    assert (credits.tokens_today, credits.tokens_this_month) == (50, 150)
    assert "per month" in refused(credits, 1, unix=NOON + 3 * DAY).message


def test_a_request_over_midnight_counts_for_the_day_it_began_on() -> None:
    credits = credits_of(tokens_per_day=100)
    long = take(credits, 0, 60)
    take(credits, 0, 40, unix=NOON + DAY)
    assert refused(credits, 1, unix=NOON + DAY).retry_after == 1.0, "what is held counts, whenever it began"
    credits.settle(long, 60, 0.0, 1001.0)
    assert credits.tokens_today == 0
    take(credits, 0, 60, unix=NOON + DAY)


@pytest.mark.parametrize("back", [1, 60, DAY, 40 * DAY, 400 * DAY])
def test_a_clock_that_is_set_back_gives_no_second_budget(back: float) -> None:
    credits = credits_of(tokens_per_day=100, tokens_per_month=100)
    midnight = NOON + DAY / 2
    credits.settle(take(credits, 0, 100, unix=midnight), 100, 0.0, 1001.0)
    refused(credits, unix=midnight - back)
    refused(credits, unix=midnight - back + 1)
    if back <= DAY:
        refused(credits, unix=midnight + 1)
    assert credits.tokens_today == 100


def test_a_clock_that_was_wrong_for_long_does_not_stop_the_days() -> None:
    credits = credits_of(tokens_per_day=100)
    credits.settle(take(credits, 0, 100, unix=NOON + 400 * DAY), 100, 0.0, 1001.0)
    refused(credits, unix=NOON)
    take(credits, 0, 100, unix=NOON + DAY)


@given(st.lists(st.tuples(st.integers(-3 * DAY, 3 * DAY), st.integers(0, 120), st.integers(0, 200)), max_size=60))
def test_nothing_becomes_negative(steps: list[tuple[int, int, int]]) -> None:
    credits = credits_of(tokens_per_minute=300, tokens_per_day=500, tokens_per_month=1000, money_per_day=1.0)
    price = Price(1000.0, 2000.0)
    unix, now, running = float(NOON), 1000.0, list[Held]()
    for jump, most, used in steps:
        unix += jump
        now += abs(jump) % 50
        try:
            running.append(take(credits, 3, most, now=now, unix=unix, price=price))
        except ServingError as error:
            assert error.retry_after is None or error.retry_after > 0
        if len(running) > 3:
            credits.settle(running.pop(0), used, used * 2000 / 1e6, now)
        assert credits.tokens_today >= 0
        assert credits.money_this_month >= 0
        assert 0 <= int(told(credits, now).get("remaining-tokens", "0")) <= 300
    for held in running:
        credits.settle(held, 0, 0.0, now)
    credits.turn(unix + 62 * DAY)
    assert take(credits, 0, 300, now=now + 61, unix=unix + 62 * DAY).tokens == 300, "nothing is held for ever"


@pytest.mark.parametrize(
    ("limits", "price", "held"),
    [
        ({"tokens_per_day": 100_000}, Price(), PRESUMED),
        ({"tokens_per_day": 500}, Price(), 490),
        ({"tokens_per_month": 200, "tokens_per_day": 500}, Price(), 190),
        ({"tokens_per_minute": 50}, Price(), 40),
        ({"money_per_day": 0.5}, Price(0.0, 1000.0), 500),
        ({"money_per_month": 0.5}, Price(1000.0, 1000.0), 490),
    ],
)
def test_a_request_without_a_limit_of_its_own_holds_what_remains(
    limits: dict[str, Any], price: Price, held: int
) -> None:
    credits = credits_of(**limits)
    assert take(credits, 10, None, price=price).tokens == held + 10
    if held < PRESUMED:
        refused(credits, 10, None, price=price)


def test_a_free_model_is_not_stopped_by_money() -> None:
    credits = credits_of(money_per_day=0.0)
    take(credits, 10, 10)
    refused(credits, 10, 10, price=Price(1.0, 1.0))


def test_changed_limits_keep_what_was_spent() -> None:
    credits = credits_of(tokens_per_day=100)
    running = take(credits, 0, 90)
    credits.change(KeyEntry(name="k", tokens_per_day=200, tokens_per_minute=1000))
    take(credits, 0, 100)
    credits.settle(running, 50, 0.0, 1001.0)
    said = {"limit-tokens": "1000", "remaining-tokens": "850", "reset-tokens": "1m1s"}
    assert told(credits, 1001.0) == said, "what was held before the limit is counted, not given back"
    credits.change(KeyEntry(name="k", tokens_per_day=200, tokens_per_minute=500))
    assert told(credits, 1001.0) == {**said, "limit-tokens": "500", "remaining-tokens": "350"}
    credits.change(KeyEntry(name="k"))
    take(credits, 10**9, None)


def test_seeded_from_the_ledger() -> None:
    credits = credits_of(tokens_per_day=100, money_per_month=1.0)
    credits.seed(90, 900, 0.1, 1.0, NOON)
    refused(credits, 0, 11)
    refused(credits, 0, 1, price=Price(0.0, 1.0))
    take(credits, 0, 10)
    take(credits, 0, 90, unix=NOON + DAY)


@pytest.mark.parametrize(
    ("price", "tokens", "expected"),
    [
        (Price(), (10, 10, 0), 0.0),
        (Price(3.0, 15.0), (1_000_000, 1_000_000, 0), 18.0),
        (Price(3.0, 15.0), (1_000_000, 0, 1_000_000), 3.0),
        (Price(3.0, 15.0, 0.3), (1_000_000, 0, 500_000), 1.65),
        (Price(3.0, 15.0, 0.3), (10, 0, 10_000_000), 3e-6),
    ],
)
def test_cost(price: Price, tokens: tuple[int, int, int], expected: float) -> None:
    assert cost(price, *tokens) == pytest.approx(expected)
