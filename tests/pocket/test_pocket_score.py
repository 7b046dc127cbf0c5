"""The shipped pocket model on prompts that were written by another hand than its corpus."""

import re

from pocket.corpus import held_out
from pocket.score import SHIPPED, marks, seen_in_corpus


def test_enough_are_right_in_scope_and_declined_out_of_scope() -> None:
    found = marks(SHIPPED)
    right = {scope: [mark.good for mark in found if mark.scope == scope] for scope in ("in", "out")}
    assert [len(right["in"]), len(right["out"])] == [100, 50]
    assert sum(right["in"]) >= 70
    assert sum(right["out"]) >= 40
    for mark in found:
        if mark.scope == "out" and mark.good:
            assert re.search(r"do not|cannot|only understand|no clock", mark.answer), mark.answer


def test_the_corpus_has_none_of_the_prompts() -> None:
    assert len(held_out()) >= 140
    assert seen_in_corpus(seed=11, count=2000) == 0
