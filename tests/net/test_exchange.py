"""Ids of requests."""

from __future__ import annotations

from itertools import islice

from trunkcall.net import exchange


def test_ids_are_unique_and_alike() -> None:
    """Over the end of the last two digits, where the next ones begin."""
    ids = list(islice(exchange._count(), 1000))
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert {len(id) for id in ids} == {20}
    assert len({id[:12] for id in ids}) == 1
    assert all(int(id[12:], 16) == at for at, id in enumerate(ids))
