"""Whom an error blames, and what the breaker makes of it, as tables; no clock is read."""

from __future__ import annotations

import pytest

from trunkcall.control.breaker import (
    BUSY_SECONDS,
    CLOSED,
    FIRST_SECONDS,
    IN_A_ROW,
    LOCKED_SECONDS,
    LONGEST_SECONDS,
    Breaker,
    Verdict,
    after,
    judge,
)
from trunkcall.core.errors import Kind, ServingError

BLAMES: list[tuple[Kind, int | None, float | None, Verdict]] = [
    ("unreachable", None, None, "failed"),
    ("upstream_timeout", None, None, "failed"),
    ("upstream_timeout", 504, None, "failed"),
    ("upstream_error", None, None, "failed"),
    ("upstream_error", 200, None, "failed"),
    ("upstream_error", 500, None, "failed"),
    ("upstream_error", 503, None, "failed"),
    ("upstream_error", 503, 7.0, "busy"),
    ("loading", 503, 7.0, "busy"),
    ("loading", 503, None, "failed"),
    ("rate_limited", 429, 7.0, "busy"),
    ("rate_limited", 429, None, "well"),
    ("quota", 429, None, "well"),
    ("upstream_error", 401, None, "locked"),
    ("upstream_error", 403, None, "locked"),
    ("unauthenticated", 401, None, "well"),
    ("forbidden", 403, None, "well"),
    ("bad_request", 400, None, "well"),
    ("too_long", 400, None, "well"),
    ("no_model", 404, None, "well"),
    ("upstream_error", 404, None, "well"),
    ("out_of_memory", 507, None, "nobody"),
    ("bad_request", None, None, "nobody"),
    ("bug", None, None, "nobody"),
    ("cancelled", None, None, "nobody"),
    ("deadline", None, None, "nobody"),
    ("overloaded", None, 5.0, "nobody"),
]


@pytest.mark.parametrize(("kind", "status", "retry_after", "verdict"), BLAMES)
def test_blame(kind: Kind, status: int | None, retry_after: float | None, verdict: Verdict) -> None:
    upstream = None if status is None else (status, b"")
    assert judge(ServingError(kind, "x", upstream=upstream, retry_after=retry_after)) == verdict


def run(verdicts: str, breaker: Breaker = CLOSED, now: float = 100.0, seconds: float = 7.0) -> Breaker:
    """w: well, f: failed, n: nobody, b: busy, l: locked; a digit lets so many seconds pass."""
    words: dict[str, Verdict] = {"w": "well", "f": "failed", "n": "nobody", "b": "busy", "l": "locked"}
    for letter in verdicts:
        if letter.isdigit():
            now += int(letter)
        else:
            breaker = after(breaker, words[letter], now, "why", seconds, 0.0)
    return breaker


STORIES: list[tuple[str, str, float]] = [
    ("a failure is none", "f", 0.0),
    ("one less than enough", "f" * (IN_A_ROW - 1), 0.0),
    ("enough in a row", "f" * IN_A_ROW, 100 + FIRST_SECONDS),
    ("not in a row", "ffffwffffw", 0.0),
    ("more of the same while it is open change nothing", "f" * 9, 100 + FIRST_SECONDS),
    ("one failure after the time doubles it", "fffff1f", 101 + 2 * FIRST_SECONDS),
    ("and again", "fffff1f2f", 103 + 4 * FIRST_SECONDS),
    ("up to a limit", "fffff" + "9999f" * 12, 100 + 12 * 36 + LONGEST_SECONDS),
    ("one success after the time closes it", "fffff1w", 0.0),
    ("and all is forgotten", "fffff1wffff", 0.0),
    ("a success that began before does not", "fffffw", 100 + FIRST_SECONDS),
    ("callers who leave say nothing", "fffff1n", 100 + FIRST_SECONDS),
    ("nor before", "ffffnnf", 100 + FIRST_SECONDS),
    ("every second one fails", "fw" * 9 + "f", 100 + FIRST_SECONDS),
    ("every third one fails", "fww" * 30, 0.0),
    ("busy for as long as it says", "b", 107.0),
    ("then one may try", "b7w", 0.0),
    ("our key is not accepted", "l", 100 + LOCKED_SECONDS),
]


@pytest.mark.parametrize(("what", "verdicts", "until"), STORIES, ids=[row[0] for row in STORIES])
def test_story(what: str, verdicts: str, until: float) -> None:
    breaker = run(verdicts)
    assert breaker.until == until
    assert (breaker is CLOSED) or breaker.why == "why"


def test_busy_is_bounded_and_says_so() -> None:
    breaker = run("b", seconds=86400.0)
    assert breaker.until == 100 + BUSY_SECONDS
    assert breaker.busy
    assert breaker.view(101.0).seconds == BUSY_SECONDS - 1


def test_jitter_spreads_by_a_quarter() -> None:
    breaker = run("ffff")
    assert after(breaker, "failed", 0.0, "", 0.0, 1.0).until == FIRST_SECONDS * 1.25


def test_well_costs_nothing_while_all_is_well() -> None:
    assert after(CLOSED, "well", 0.0, "", 0.0, 0.0) is CLOSED


@pytest.mark.parametrize(("now", "state"), [(100.5, "open"), (102.0, "half_open")])
def test_view(now: float, state: str) -> None:
    view = run("fffff").view(now)
    assert (view.state, view.failures, view.why) == (state, 5, "why")
    assert CLOSED.view(now).state == "closed"
