"""Which replica takes the next request: pure functions over a snapshot of loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Load(NamedTuple):
    """What a policy may look at of one replica; slots None is no limit."""

    ready: bool
    suspect: bool
    in_flight: int
    slots: int | None


def free(load: Load) -> bool:
    """Whether it could take one more request now."""
    return load.ready and (load.slots is None or load.in_flight < load.slots)


def least_loaded(loads: Sequence[Load], avoid: int | None = None) -> int | None:
    """The index of the free replica with the fewest requests per slot; None when none is free.

    Suspect replicas (that just refused a connection) and `avoid` (the one that failed this
    request before) are taken only when there is nothing else.
    """
    best: int | None = None
    best_rank = (True, True, 0.0, 0)
    for index, load in enumerate(loads):
        if not free(load):
            continue
        share = load.in_flight / load.slots if load.slots else 0.0
        rank = (index == avoid, load.suspect, share, load.in_flight)
        if best is None or rank < best_rank:
            best, best_rank = index, rank
    return best


def retry_after(waiting: int, slots: int, mean_seconds: float) -> float:
    """Seconds until a place in the queue is likely, between 1 and 60."""
    return min(60.0, max(1.0, waiting * mean_seconds / max(1, slots)))
