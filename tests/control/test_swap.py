"""Who starts and who makes room, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.control.swap import LEAST_STAY, Moves, Tenant, decide

NOW = 100.0


def asks(name: str, need: int = 10, since: float = NOW, **more: Any) -> Tenant:
    return Tenant(id=name, model=more.pop("model", name), need=need, asks=True, since=since, **more)


def there(name: str, need: int = 10, since: float = 0.0, **more: Any) -> Tenant:
    return Tenant(id=name, model=more.pop("model", name), need=need, there=True, since=since, **more)


TABLE: dict[str, tuple[list[Tenant], Moves]] = {
    "nobody": ([], Moves()),
    "there is room": ([asks("b", 5), there("a", 5)], Moves(start=("b",))),
    "unknown need": ([asks("b", 0), there("a", 10)], Moves(start=("b",))),
    "first come, first served": (
        [asks("c", 6, since=2), asks("b", 6, since=1)],
        Moves(start=("b",)),
    ),
    "the least recently used makes room": (
        [asks("c", 5), there("a", 5, used=50), there("b", 5, used=40)],
        Moves(leave=("b",)),
    ),
    "as many as needed": (
        [asks("c", 10), there("a", 5, used=50), there("b", 5, used=40)],
        Moves(leave=("b", "a")),
    ),
    "not more than needed": (
        [asks("c", 8), there("a", 2, used=40), there("b", 8, used=50)],
        Moves(leave=("b",)),
    ),
    "an idle one before a busy one": (
        [asks("c", 5), there("a", 5, busy=True, used=1), there("b", 5, used=90)],
        Moves(leave=("b",)),
    ),
    "a pinned one stays": (
        [asks("c", 5), there("a", 5, pinned=True, used=1), there("b", 5, used=90)],
        Moves(leave=("b",)),
    ),
    "all are pinned": ([asks("c", 5), there("a", 10, pinned=True)], Moves(refuse=("c",))),
    "pinned ones leave too little": (
        [asks("c", 9), there("a", 5, pinned=True), there("b", 5)],
        Moves(refuse=("c",)),
    ),
    "too big alone": ([asks("c", 11)], Moves(refuse=("c",))),
    "a refused one holds up nobody": ([asks("c", 11, since=1), asks("d", 5)], Moves(start=("d",), refuse=("c",))),
    "who has just come stays for a while": (
        [asks("b"), there("a", since=NOW - 1)],
        Moves(again=NOW - 1 + LEAST_STAY),
    ),
    "a busy one stays for longer": (
        [asks("b"), there("a", since=NOW - 5, busy=True, stay=20)],
        Moves(again=NOW + 15),
    ),
    "then it takes no more": ([asks("b"), there("a", since=NOW - 21, busy=True, stay=20)], Moves(leave=("a",))),
    "the busy that was there longest": (
        [asks("c", 5), there("a", 5, since=20, busy=True), there("b", 5, since=10, busy=True)],
        Moves(leave=("b",)),
    ),
    "who leaves already is waited for": ([asks("b"), there("a", leaving=True)], Moves()),
    "who leaves makes room for one of two": (
        [asks("b", since=1), asks("c", since=2), there("a", leaving=True)],
        Moves(),
    ),
    "what is coming is promised in order": (
        [asks("b", 10, since=1), asks("c", 2, since=2), there("a", 8, leaving=True)],
        Moves(),
    ),
    "what is over may be taken at once": (
        [asks("b", 6, since=1), asks("c", 2, since=2), there("a", 8, leaving=True)],
        Moves(start=("c",)),
    ),
    "who asked later does not push in": (
        [asks("b", 10, since=1), asks("c", 2, since=2), there("a", 5, since=NOW)],
        Moves(again=NOW + LEAST_STAY),
    ),
    "one that loads is waited for": ([asks("b"), there("a", loading=True)], Moves()),
    "a second replica takes free room": (
        [asks("a1", 5, model="a", extra=True), there("a0", 5, model="a")],
        Moves(start=("a1",)),
    ),
    "and no other": (
        [asks("a1", 5, model="a", extra=True), there("a0", 5, model="a"), there("b", 5, used=1)],
        Moves(),
    ),
    "first replicas go before second ones": (
        [asks("a1", 5, 1, model="a", extra=True), asks("b", 5, 2), there("a0", 5, model="a")],
        Moves(start=("b",)),
    ),
    "ttl": ([there("a", expires=NOW), there("b", 0, expires=NOW + 7)], Moves(leave=("a",), again=NOW + 7)),
    "ttl begins when it is ready": ([there("a", expires=0, loading=True)], Moves()),
    "ttl makes room too": ([asks("b"), there("a", expires=NOW - 1, since=NOW - 1)], Moves(leave=("a",))),
    "its replacement fits beside": (
        [asks("n", 5, model="a"), there("o", 5, model="a", retiring=True)],
        Moves(start=("n",)),
    ),
    "its replacement comes after it": (
        [asks("n", 6, model="a"), there("o", 6, model="a", retiring=True, since=NOW, busy=True, pinned=True)],
        Moves(leave=("o",)),
    ),
    "replacements come one by one": (
        [
            asks("n1", 5, model="a", extra=True),
            there("n0", 5, model="a", loading=True),
            there("o1", 5, model="a", retiring=True),
        ],
        Moves(),
    ),
    "the next replacement": (
        [
            asks("n1", 5, model="a", extra=True),
            there("n0", 5, model="a"),
            there("o1", 5, model="a", retiring=True),
        ],
        Moves(leave=("o1",)),
    ),
    "a closer look found less room": ([asks("b", 4, short=True), there("a", 5)], Moves(leave=("a",))),
    "while something loads that is not known": (
        [asks("b", 4, short=True), there("a", 5, loading=True)],
        Moves(),
    ),
    "and there is nobody to go": ([asks("b", 4, short=True)], Moves(refuse=("b",))),
    "larger than was known": (
        [there("a", 7, used=50), there("b", 7, used=40), there("c", 1, used=60, busy=True)],
        Moves(leave=("b",)),
    ),
    "one alone may be larger": ([there("a", 70, used=50)], Moves()),
}


@pytest.mark.parametrize("case", TABLE)
def test_of_ten_bytes(case: str) -> None:
    tenants, moves = TABLE[case]
    assert decide(tenants, 10, NOW) == moves


_TENANTS = st.lists(
    st.builds(
        Tenant,
        id=st.uuids().map(str),
        model=st.sampled_from("abcd"),
        need=st.integers(0, 12),
        asks=st.just(False),
        there=st.booleans(),
        loading=st.booleans(),
        leaving=st.booleans(),
        busy=st.booleans(),
        pinned=st.booleans(),
        since=st.floats(0, NOW),
        used=st.floats(0, NOW),
        extra=st.booleans(),
        short=st.booleans(),
    ).map(lambda t: t if t.there else asks(t.id, t.need, t.since, model=t.model, extra=t.extra, short=t.short)),
    max_size=8,
    unique_by=lambda t: t.id,
)


@given(_TENANTS)
def test_what_is_started_fits_and_nobody_is_harmed(tenants: list[Tenant]) -> None:
    moves = decide(tenants, 10, NOW)
    by_id = {tenant.id: tenant for tenant in tenants}
    held = sum(tenant.need for tenant in tenants if tenant.there)
    started = sum(by_id[one].need for one in moves.start)
    assert not started or held + started <= 10
    for one in map(by_id.__getitem__, moves.leave):
        assert one.there and not one.leaving and not one.pinned and not one.loading
    for one in map(by_id.__getitem__, (*moves.start, *moves.refuse)):
        assert one.asks
    assert not set(moves.start) & set(moves.refuse)
    if moves.again is not None:
        assert moves.again > NOW
