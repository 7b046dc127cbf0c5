"""The score counts what its patterns accept, and the shipped model reaches it on prompts of another hand than its corpus."""

import pytest

from pocket.corpus import held_out
from pocket.score import SHIPPED, accepted, marks, seen_in_corpus


@pytest.mark.parametrize(
    ("pattern", "answer", "good"),
    [
        (r"\bZork\b|\bmole\b", "It is the Zork.", True),
        (r"\bZork\b|\bmole\b", "it is the zork.", True),
        (r"\bZork\b|\bmole\b", "THE MOLE", True),
        (r"\bZork\b|\bmole\b", "Zorkmid", False),
        (r"one.*two", "One,\ntwo", True),
        (r"^(?!.*\bI am\b).*mole", "i am no mole", False),
    ],
)
def test_capitals_and_lines_make_no_difference(pattern: str, answer: str, good: bool) -> None:
    assert accepted(pattern, answer) is good


@pytest.mark.timeout(360)
def test_enough_are_right_in_scope_and_declined_out_of_scope() -> None:
    pytest.importorskip("xllamacpp", reason="install xllamacpp to run the pocket model")
    found = marks(SHIPPED)
    right = {scope: [mark.good for mark in found if mark.scope == scope] for scope in ("in", "out")}
    assert [len(right["in"]), len(right["out"])] == [100, 50]
    assert sum(right["in"]) >= 70
    assert sum(right["out"]) >= 40


def test_the_corpus_has_none_of_the_prompts() -> None:
    assert len(held_out()) >= 140
    assert seen_in_corpus(seed=11, count=2000) == 0
