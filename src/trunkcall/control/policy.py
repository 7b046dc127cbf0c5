"""Which replica takes the next request: pure functions over a snapshot of loads."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

LEAST_SPEED: Final = 1e-4
"""What FastChat takes for no speed at all."""


class Load(NamedTuple):
    """What a policy may look at of one replica.

    slots: None is no limit; others: requests that it serves for others than us, when it was last looked at, infinite
    when its memory for requests is full.
    """

    ready: bool
    suspect: bool
    in_flight: int
    slots: int | None
    others: float = 0.0


def free(load: Load) -> bool:
    """Whether it could take one more request now."""
    return load.ready and (load.slots is None or load.in_flight < load.slots)


def least_loaded(loads: Sequence[Load], avoid: int | None = None) -> int | None:
    """The index of the free replica with the fewest requests per slot, whosever they are; None when none is free.

    Suspect replicas (that just refused a connection) and `avoid` (the one that failed this
    request before) are taken only when there is nothing else.
    """
    best: int | None = None
    best_rank = (True, True, 0.0, 0.0)
    for index, load in enumerate(loads):
        if not free(load):
            continue
        busy = load.in_flight + load.others
        share = busy / load.slots if load.slots else 0.0
        rank = (index == avoid, load.suspect, share, busy)
        if best is None or rank < best_rank:
            best, best_rank = index, rank
    return best


def retry_after(waiting: int, slots: int, mean_seconds: float) -> float:
    """Seconds until a place in the queue is likely, between 1 and 60."""
    return min(60.0, max(1.0, waiting * mean_seconds / max(1, slots)))


Share = tuple[bool, float, float]
"""What FastChat's policies look at of one worker: whether it is suspect, its speed, the calls that it has.

A plain tuple, because there may be a thousand of them at each choice."""


def shortest_queue(shares: Sequence[Share]) -> int | None:
    """The index of the worker with the shortest queue for its speed, the first of equals; None without workers.

    Suspect ones come last; one without speed is taken when there is no other.
    """
    best: int | None = None
    shunned, least = True, inf
    for index, (suspect, speed, queue) in enumerate(shares):
        wait = queue / speed if speed > 0 else inf
        if best is None or suspect < shunned or (suspect == shunned and wait < least):
            best, shunned, least = index, suspect, wait
    return best


def lottery(shares: Sequence[Share], drawn: float) -> int | None:
    """The index of a worker by chance, in proportion to its speed; None without workers or when all speeds are 0.

    drawn: a random number from 0 up to 1. Suspect workers have a chance only when there are no others.
    """
    suspects = all(suspect for suspect, _, _ in shares)
    speeds = [speed if suspect == suspects else 0.0 for suspect, speed, _ in shares]
    whole = sum(speeds)
    if whole < LEAST_SPEED:
        return None
    left = drawn * whole
    last: int | None = None
    for index, speed in enumerate(speeds):
        if speed > 0:
            last = index
            if left < speed:
                return index
            left -= speed
    # Rounding has left a rest.
    return last
