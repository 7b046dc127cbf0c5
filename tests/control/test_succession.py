"""Which replicas of a changed model stay, by table."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from trunkcall.control.members import Member
from trunkcall.control.pool import Replica
from trunkcall.control.succession import free_numbers, in_order, kept
from trunkcall.core.models import ModelSettings, Source

A, B = Source("a"), Source("b")


def settings(*sources: Source, **more: Any) -> ModelSettings:
    return ModelSettings(name="m", sources=sources, **more)


def members(*sources: Source, retiring: str = "") -> list[Member]:
    made = [Member(Replica(f"m/{number}", source, None)) for number, source in enumerate(sources)]
    for member in made:
        member.retiring = member.replica.id == retiring
    return made


@pytest.mark.parametrize(
    ("before", "after", "stay", "missing"),
    [
        (settings(A), settings(A, ttl=3.0, queue=1, pinned=True), ["m/0"], []),
        (settings(A), settings(A, A), ["m/0"], [A]),
        (settings(A, A), settings(A), ["m/0"], []),
        (settings(A, B), settings(B, A), ["m/0", "m/1"], []),
        (settings(A, B), settings(B), ["m/1"], []),
        (settings(A), settings(B), [], [B]),
        *((settings(A), settings(A, **heavy), [], [A]) for heavy in ({"env": {"X": "1"}}, {"options": {"a": 1}})),
        *((settings(A), settings(A, **heavy), [], [A]) for heavy in ({"slots": 3}, {"key": "env:K"})),
    ],
)
def test_what_a_change_leaves(
    before: ModelSettings, after: ModelSettings, stay: list[str], missing: list[Source]
) -> None:
    found, lacks = kept(before, after, members(*before.sources))
    assert ([member.replica.id for member in found], lacks) == (stay, Counter(missing))


def test_one_that_goes_already_does_not_stay() -> None:
    found, lacks = kept(settings(A), settings(A, queue=1), members(A, retiring="m/0"))
    assert (found, lacks) == ([], Counter([A]))


def test_order_and_numbers() -> None:
    some = members(A, B, A, retiring="m/0")
    assert [one.id for one in in_order(settings(A, B), some)] == ["m/2", "m/1", "m/0"]
    assert list(islice(free_numbers([some[0], some[2]]), 2)) == [1, 3]
