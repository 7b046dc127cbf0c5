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
    monkeypatch.setattr("trunkcall.control.prefixes.KEPT", 8)
    prefixes = Prefixes()
    old, new, last = marks("a" * 4 * BLOCK), marks("b" * 3 * BLOCK), marks("c" * 2 * BLOCK)
    prefixes.note(old, "a")
    prefixes.note(new, "b")
    assert prefixes.holders(old) == ("a",), "half of what is remembered"
    assert (prefixes.held("a"), prefixes.held("b")) == (4, 3)
    prefixes.note(last, "c")
    assert (prefixes.holders(old), prefixes.held("a")) == ((), 0)
    assert prefixes.holders(new) == ("b",)
    prefixes.note(last[:1], "d")
    prefixes.note(marks("e" * 2 * BLOCK), "e")
    assert prefixes.holders(last) == ("c",)


def test_what_is_met_again_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.prefixes.KEPT", 8)
    prefixes = Prefixes()
    known = marks("a" * 2 * BLOCK)
    prefixes.note(known, "a")
    for number in range(20):
        prefixes.note(marks(f"{number:<128}" * 2), "b")
        prefixes.note(known, "ac"[number % 2])
    assert set(prefixes.holders(known)) == {"a", "c"}


def test_a_mark_has_a_few_holders_the_last_one_first() -> None:
    prefixes = Prefixes()
    found = marks("b" * 3 * BLOCK)
    for id in "bcdefgf":
        prefixes.note(found, id)
    assert prefixes.holders(found) == ("f", "g", "e", "d")
    assert [prefixes.held(id) for id in "bcdefg"] == [0, 0, 3, 3, 3, 3]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.lists(st.integers(0, 12), max_size=5)), max_size=60),
    st.sampled_from([4, 8, 40]),
)
def test_what_is_held_is_counted(notes: list[tuple[str, list[int]]], kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trunkcall.control.prefixes.KEPT", kept)
        prefixes = Prefixes()
        for id, found in notes:
            prefixes.note(found, id)
            assert len(prefixes._latest) + len(prefixes._earlier) <= max(kept, 2 * len(found)) + 5
        for id in "abcdef":
            halves = (*prefixes._latest.values(), *prefixes._earlier.values())
            assert prefixes.held(id) == sum(id in holders for holders in halves)
