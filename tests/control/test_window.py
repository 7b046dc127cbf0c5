"""What a window of a minute counts, when there is room in it again, and what callers are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.control.window import Window, header_seconds


@given(
    limit=st.integers(0, 50),
    steps=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 20), st.integers(0, 20)), max_size=80),
)
def test_no_minute_has_more_than_the_limit(limit: int, steps: list[tuple[float, int, int]]) -> None:
    """What was taken and not given back, in any 60 seconds; nothing is refused that would have fit into 61."""
    window = Window("tokens", limit, 0.0)
    now = 0.0
    taken: list[tuple[float, int]] = []
    for pause, amount, unneeded in steps:
        now += pause
        window.forget(int(now))
        if window.total + amount > limit:
            recent = sum(kept for at, kept in taken if now - at < 61)
            assert recent + amount > limit
            if window.total:
                wait = window.wait(min(window.total, window.total + amount - limit), now)
                assert 0 < wait <= 61
            continue
        second = window.second
        window.add(amount)
        unneeded = min(unneeded, amount)
        window.give_back(unneeded, second)
        taken.append((now, amount - unneeded))
    for at, _ in taken:
        assert sum(kept for other, kept in taken if at <= other < at + 60) <= limit
    window.forget(int(now) + 61)
    assert window.total == 0
    assert window.headers(int(now) + 61)[2] == (b"x-ratelimit-reset-tokens", b"0s")


@given(
    amounts=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=30), share=st.floats(0, 1)
)
def test_after_the_wait_there_is_room(amounts: list[tuple[int, int]], share: float) -> None:
    window = Window("tokens", 100, 0.5)
    now = 0.5
    for pause, amount in amounts:
        now += pause
        window.forget(int(now))
        window.add(amount)
    excess = max(1, int(window.total * share))
    before = window.total
    later = now + window.wait(excess, now)
    window.forget(int(later))
    assert window.total <= before - excess


@pytest.mark.parametrize(("seconds", "text"), [(0, b"0s"), (0.2, b"1s"), (59.1, b"1m0s"), (61, b"1m1s")])
def test_seconds_in_headers(seconds: float, text: bytes) -> None:
    assert header_seconds(seconds) == text


@pytest.mark.parametrize(
    ("amount", "now", "remaining", "reset"),
    [(0, 9.5, b"10", b"0s"), (4, 9.5, b"6", b"1m1s"), (4, 30.0, b"6", b"40s"), (4, 69.9, b"6", b"1s"),
     (14, 9.5, b"0", b"1m1s"), (4, 8.0, b"6", b"1m1s"), (4, 500.0, b"6", b"0s")],
)  # fmt: skip
def test_headers(amount: int, now: float, remaining: bytes, reset: bytes) -> None:
    window = Window("tokens", 10, 9.5)
    if amount:
        window.add(amount)
    assert window.headers(int(now)) == (
        (b"x-ratelimit-limit-tokens", b"10"),
        (b"x-ratelimit-remaining-tokens", remaining),
        (b"x-ratelimit-reset-tokens", reset),
    )
