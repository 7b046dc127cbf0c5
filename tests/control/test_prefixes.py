"""Beginnings of prompts and who holds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.control.prefixes import BLOCK, Prefixes, marks


@given(st.text(max_size=40), st.text(max_size=400), st.text(max_size=400))
def test_common_beginnings_have_common_marks(start: str, one: str, other: str) -> None:
    start *= 20
    common = len(marks(start))
    assert marks(start + one)[:common] == marks(start) == marks(start + other)[:common]


def test_marks_are_of_whole_blocks_and_bounded() -> None:
    assert marks("x" * (BLOCK - 1)) == []
    assert len(marks("x" * BLOCK)) == 1
    assert len(marks(tuple(range(3 * BLOCK)))) == 3
    assert len(marks("x" * 10**6)) == 72


def test_longest_beginning_counts_and_a_short_one_does_not() -> None:
    prefixes = Prefixes()
    system, first, second = ("".join(f"{word} {n} " for n in range(200)) for word in ("system", "first", "second"))
    prefixes.note(marks(system + first), "a")
    prefixes.note(marks(system + second), "b")
    assert prefixes.holders(marks(system + first + "more")) == ("a",)
    assert prefixes.holders(marks(system)) == ("b", "a")
    assert prefixes.holders(marks(system + "x" * len(system) * 4)) == ()
    assert prefixes.holders(marks("other" * 99)) == ()
    assert prefixes.holders([]) == ()


def test_only_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.prefixes.KEPT", 4)
    prefixes = Prefixes()
    old, new = marks("a" * 4 * BLOCK), marks("b" * 3 * BLOCK)
    prefixes.note(old, "a")
    assert prefixes.held("a") == 4
    prefixes.note(new, "b")
    assert (prefixes.held("a"), prefixes.held("b")) == (1, 3)
    for id in "cdefg":
        prefixes.note(new, id)
    assert prefixes.holders(new) == ("g", "f", "e", "d")
    assert prefixes.held("b") == 0
