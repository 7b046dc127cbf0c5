"""Which replica takes the next request: pure functions over a snapshot of loads.

A policy gives each replica a rank, and the lowest rank is chosen: a request that comes or goes changes one rank.
`lottery` draws by its ranks instead, and the affinities look first at the replicas that know the request.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import ceil, inf
from struct import Struct
from typing import Final, NamedTuple

import msgspec

LEAST_SPEED: Final = 1e-4
"""What FastChat takes for no speed at all."""

BOUND: Final = 1.25
"""How many times the mean load a replica may have that knows a request ("consistent hashing with bounded loads")."""

_SUSPECT: Final = 1e9
_MOST: Final = 1e6
"""Requests in flight; more count as so many, so that a suspect replica still comes last."""
_LITTLE: Final = 1e-9
_POINTS: Final = Struct(">8Q").unpack
"""The points that one hash gives."""
_HASHES: Final = 8
"""For each replica, so that it stands at 64 points."""


class Load(msgspec.Struct, frozen=True, gc=False):
    """What a policy may look at of one replica.

    ready: it takes requests at all; suspect: it has just failed somebody; slots: None is no limit; others: requests
    that it serves for others than us, when it was last looked at, infinite when its memory for requests is full;
    weight: its share, as the operator gave it, else its slots, else 1.
    """

    ready: bool
    suspect: bool
    in_flight: int
    slots: int | None
    others: float = 0.0
    weight: float = 1.0


def free(load: Load) -> bool:
    """Whether it could take one more request now."""
    return load.ready and (load.slots is None or load.in_flight < load.slots)


def pressure(load: Load) -> float:
    """Rank of `least_loaded`: requests per slot, whosever they are; among those without a limit, requests."""
    if not load.ready or (load.slots is not None and load.in_flight >= load.slots):
        return inf
    busy = load.in_flight + load.others
    busy = min(busy, _MOST)
    rank = busy * _LITTLE
    if load.slots:
        rank += busy / load.slots
    return rank + _SUSPECT if load.suspect else rank


def queueing(load: Load) -> float:
    """Rank of `shortest_queue`: requests for the speed, which is the weight."""
    if not free(load):
        return inf
    return min(load.in_flight + load.others, _MOST) / load.weight + (_SUSPECT if load.suspect else 0.0)


def due(load: Load, turn: float) -> float:
    """Rank of `weighted`: when its next turn is (stride scheduling). Of the load only full slots count: they wait.

    turn: as `next_turn` gave it.
    """
    return turn + (_SUSPECT if load.suspect else 0.0) if free(load) else inf


def next_turn(turn: float, now: float, weight: float) -> float:
    """The turn after this one; now: the turn of the last that was chosen. What was full or away is owed nothing."""
    return max(turn, now) + 1.0 / weight


def odds(load: Load) -> float:
    """Its part in a `lottery`, 0 for none."""
    return load.weight * (_LITTLE if load.suspect else 1.0) if free(load) else 0.0


def least(ranks: Sequence[float]) -> int | None:
    """The index of the lowest rank, the first of equals; None when none can take a request."""
    best = min(ranks, default=inf)
    return None if best == inf else ranks.index(best)


def draw(parts: Sequence[float], drawn: float) -> int | None:
    """An index by chance, in proportion to its part; None when nobody has one. drawn: from 0 up to 1."""
    sums = list(accumulate(parts))
    if not sums or not sums[-1]:
        return None
    index = bisect(sums, drawn * sums[-1])
    # Rounding may lead past the last one that has a part.
    return index if index < len(sums) and parts[index] else bisect_left(sums, sums[-1])


def hit(sums: Sequence[float], drawn: float) -> int:
    """The index whose stretch of the running sums a number from 0 up to 1 falls into; one at least."""
    return min(bisect(sums, drawn * sums[-1]), len(sums) - 1)


def bound(flying: int, able: int) -> int:
    """As many requests as a replica may come to which is chosen for what it knows: BOUND times the mean.

    flying: requests of all replicas; able: how many replicas could take one more.
    """
    return ceil(BOUND * (flying + 1) / max(1, able))


def point(text: str) -> int:
    """Where a text stands on the ring: the same in each process and after each restart."""
    return _POINTS(blake2b(text.encode()).digest())[0]


class Ring(NamedTuple):
    """Points of replicas on a circle in rising order, and whose they are."""

    points: list[int]
    owners: list[int]


def ring(ids: Sequence[str]) -> Ring:
    """Each replica at many points, so that one that comes or goes moves no conversation but its own.

    Stands for rendezvous hashing, which would look at each of a thousand replicas for each request.
    """
    spread = sorted(
        (at, index)
        for index, id in enumerate(ids)
        for number in range(_HASHES)
        for at in _POINTS(blake2b(f"{id}#{number}".encode()).digest())
    )
    return Ring([at for at, _ in spread], [owner for _, owner in spread])


def along(circle: Ring, start: int) -> Iterator[int]:
    """The replicas in the order in which they stand on the ring from a point on, each once."""
    seen: set[int] = set()
    first = bisect_left(circle.points, start)
    for part in (range(first, len(circle.owners)), range(first)):
        for at in part:
            owner = circle.owners[at]
            if owner not in seen:
                seen.add(owner)
                yield owner


def session_affinity(
    circle: Ring, session: str, ranks: Sequence[float], flights: Sequence[int], most: int
) -> int | None:
    """The first replica from the session's point on that stays within the bound; None when none can take a request.

    flights: each one's requests; most: the bound.
    """
    for index in along(circle, point(session)):
        if ranks[index] < inf and flights[index] < most:
            return index
    # Those within the bound are all full.
    return least(ranks)


def prefix_affinity(holders: Sequence[int], ranks: Sequence[float], flights: Sequence[int], most: int) -> int | None:
    """The least loaded of those that hold a prompt's beginning and stay within the bound, None for nobody."""
    fit = [index for index in holders if ranks[index] < inf and flights[index] < most]
    return min(fit, key=ranks.__getitem__) if fit else None


def retry_after(waiting: int, slots: int, mean_seconds: float, loading: float = 0.0) -> float:
    """Seconds until a place in the queue is likely, between 1 and 60; loading: those before the first can be served."""
    return min(60.0, max(1.0, loading + waiting * mean_seconds / max(1, slots)))


def in_vain(waiting: int, slots: int, mean_seconds: float, left: float) -> bool:
    """Whether a caller with so many seconds left clearly waits in vain: four times as many would be too few."""
    return waiting >= slots and waiting * mean_seconds / max(1, slots) > 4 * left


Share = tuple[bool, float, float]
"""What FastChat's policies look at of one worker: whether it is suspect, its speed, the calls that it has.

A plain tuple, because there may be a thousand of them at each choice."""


def shortest_queue(shares: Sequence[Share]) -> int | None:
    """The index of the worker with the shortest queue for its speed, the first of equals; None without workers.

    Suspect ones come last; one without speed is taken when there is no other.
    """
    best: int | None = None
    shunned, lowest = True, inf
    for index, (suspect, speed, queue) in enumerate(shares):
        wait = queue / speed if speed > 0 else inf
        if best is None or suspect < shunned or (suspect == shunned and wait < lowest):
            best, shunned, lowest = index, suspect, wait
    return best


def lottery(shares: Sequence[Share], drawn: float) -> int | None:
    """The index of a worker by chance, in proportion to its speed; None without workers or when all speeds are 0.

    drawn: a random number from 0 up to 1. Suspect workers have a chance only when there are no others.
    """
    suspects = all(suspect for suspect, _, _ in shares)
    speeds = [speed if suspect == suspects else 0.0 for suspect, speed, _ in shares]
    return None if sum(speeds) < LEAST_SPEED else draw(speeds, drawn)
