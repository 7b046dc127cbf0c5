"""What is kept for a tool call's result stays within its limit, the longest unused going first."""

from __future__ import annotations

from trunkcall.backends.remembered import Remembered


def test_the_longest_unused_goes_first() -> None:
    kept = Remembered(limit=10)
    for id in "abc":
        kept.keep(id, b"123")
    assert kept.get("a") == b"123"
    kept.keep("d", b"1234")
    assert [id for id in "abcd" if kept.get(id)] == ["a", "c", "d"]


def test_a_value_takes_the_place_of_an_earlier_one() -> None:
    kept = Remembered(limit=10)
    kept.keep("a", b"12345")
    kept.keep("a", b"1234567890")
    assert kept.get("a") == b"1234567890"
    kept.keep("b", b"12345678901")
    assert (kept.get("a"), kept.get("b")) == (None, None)
