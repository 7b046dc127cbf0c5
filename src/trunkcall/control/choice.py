"""One pool's replicas as its policy sees them: their ranks, kept up as requests come and go, and the choice."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import accumulate
from math import inf
from typing import Final, Protocol

from trunkcall.control import policy
from trunkcall.control.policy import Load, Ring
from trunkcall.control.prefixes import Prefixes, marks
from trunkcall.control.queue import Affinity
from trunkcall.core.models import ModelSettings, Policy

AFFINE: Final[frozenset[Policy]] = frozenset({"session_affinity", "prefix_affinity"})
"""Policies that want to know what a request belongs to."""
_RANKS: Final = {"shortest_queue": policy.queueing, "lottery": policy.odds}
"""Ranks that need nothing but the load; others are `pressure`."""
_ALONE: Final = (0, "only replica")
_COMPARED: Final = 8
"""Of replicas that are equal otherwise."""
_DRAWS: Final = 8
"""By weight alone, before all replicas are looked at."""

Place = tuple[float, int]
"""A rank and the index of the replica that has it."""


class Rival(Protocol):
    """What is looked at of a replica."""

    id: str
    in_flight: int
    slots: int | None

    def load(self, now: float, weight: float) -> Load: ...

    def takes(self, now: float) -> bool:
        """Whether it can take one more request."""
        ...

    def works(self, now: float) -> bool:
        """Whether it is worth waiting for."""
        ...

    def changes_at(self, now: float) -> float:
        """When its load becomes another one by the clock alone."""
        ...


class Choice:
    """Ranks of one pool's replicas; who changes one tells it here: `changed`, or `took` and `gave_back`.

    A request that comes or goes moves one replica in the order of ranks; a choice takes the first of them, so that
    a thousand replicas cost hardly more than ten.
    """

    def __init__(self) -> None:
        self._members: list[Rival] = []
        self._settings: ModelSettings | None = None
        self._rank = policy.pressure
        self._weighted = False
        self._ordered = True
        self._index: dict[int, int] = {}
        self._places: dict[str, int] = {}
        self._sums: list[float] = []
        """Of weights, up to each replica; empty until a lottery asks."""
        self._ranks: list[float] = []
        self._order: list[Place] = []
        """Those that can take a request, the lowest rank first; none in a lottery."""
        self._flights: list[int] = []
        self._flying = 0
        """Their sum."""
        self._weights: list[float] = []
        self._turns: dict[str, float] = {}
        self._turn = 0.0
        self._until = inf
        """When the load of one of these becomes another by the clock."""
        self._doubted: set[int] = set()
        self._stale = True
        self._changed: list[Rival] = []
        self._ring: Ring | None = None
        self._prefixes = Prefixes()

    def changed(self, replica: Rival) -> None:
        """Something other than its requests has changed."""
        self._changed.append(replica)
        if len(self._changed) > len(self._members):
            self._stale = True
            self._changed.clear()

    def rearranged(self) -> None:
        """Replicas have come, gone or changed places."""
        self._stale = True

    def choose(
        self,
        settings: ModelSettings,
        replicas: Sequence[Rival],
        now: float,
        avoid: Collection[str] = (),
        affinity: Affinity | None = None,
    ) -> tuple[int, str] | None:
        """The index of a replica that can take a request now, and why it; None when none can.

        now: `time.monotonic()`; avoid: ids of those that failed the request before, which are taken only where there
        is no other that works.
        """
        if len(replicas) < 2:
            # What is changed meanwhile is looked at when there are more.
            self._stale = True
            return _ALONE if replicas and replicas[0].takes(now) else None
        self._refresh(settings, replicas, now)
        ranks, order = self._spared(now, avoid) if avoid else (self._ranks, self._order)
        name = settings.policy
        if name == "lottery":
            drawn = self._by_lot(ranks)
            return None if drawn is None else (drawn, _odds(self._weights[drawn], self._sums[-1]))
        if not order:
            return None
        if affinity is not None and name in AFFINE:
            return (self._by_session if name == "session_affinity" else self._by_prefix)(affinity, ranks, order)
        index = order[0][1]
        return index, self._said(name, index)

    def took(self, replica: Rival, now: float) -> None:
        """A request has gone to a replica."""
        index = self._index.get(id(replica))
        if index is None:
            return
        if self._weighted:
            turn = self._turns.get(replica.id, 0.0)
            self._turns[replica.id] = policy.next_turn(turn, self._turn, self._weights[index])
            self._turn = max(turn, self._turn)
        self._look(index, replica, now)

    def gave_back(self, replica: Rival, now: float) -> None:
        """A request of a replica has ended."""
        index = self._index.get(id(replica))
        if index is not None:
            self._look(index, replica, now)

    def _refresh(self, settings: ModelSettings, replicas: Sequence[Rival], now: float) -> None:
        if self._stale or settings is not self._settings or len(replicas) != len(self._members):
            self._begin(settings, replicas, now)
            return
        if self._changed:
            for replica in self._changed:
                index = self._index.get(id(replica))
                if index is not None:
                    weight = weight_of(settings, index, replica.slots)
                    if weight != self._weights[index]:
                        self._weights[index] = weight
                        self._sums.clear()
                    self._look(index, replica, now)
            self._changed.clear()
        if now >= self._until:
            doubted, self._doubted = self._doubted, set()
            self._until = inf
            for index in doubted:
                self._look(index, self._members[index], now)

    def _begin(self, settings: ModelSettings, replicas: Sequence[Rival], now: float) -> None:
        """Look at all of them."""
        if self._members != replicas:
            self._members = list(replicas)
            self._ring = None
        self._settings = settings
        self._stale = False
        self._until = inf
        self._doubted.clear()
        self._changed.clear()
        self._rank = _RANKS.get(settings.policy, policy.pressure)
        self._weighted = settings.policy == "weighted"
        self._ordered = settings.policy != "lottery"
        self._index = {id(replica): index for index, replica in enumerate(replicas)}
        self._places = {replica.id: index for index, replica in enumerate(replicas)}
        self._weights = [weight_of(settings, index, replica.slots) for index, replica in enumerate(replicas)]
        self._sums.clear()
        self._turns = {replica.id: self._turns.get(replica.id, self._turn) for replica in replicas}
        self._ranks = [inf] * len(replicas)
        self._order.clear()
        self._flights = [0] * len(replicas)
        self._flying = 0
        for index, replica in enumerate(replicas):
            self._look(index, replica, now)

    def _look(self, index: int, replica: Rival, now: float) -> None:
        load = replica.load(now, self._weights[index])
        self._flying += load.in_flight - self._flights[index]
        self._flights[index] = load.in_flight
        if self._weighted:
            rank = policy.due(load, self._turns.get(replica.id, self._turn))
        else:
            rank = self._rank(load)
        before = self._ranks[index]
        if rank != before:
            self._ranks[index] = rank
            if self._ordered:
                order = self._order
                if before < inf:
                    del order[bisect_left(order, (before, index))]
                if rank < inf:
                    insort(order, (rank, index))
        if load.suspect or not load.ready:
            until = replica.changes_at(now)
            if until < inf:
                self._doubted.add(index)
                self._until = min(self._until, until)

    def _spared(self, now: float, avoid: Collection[str]) -> tuple[list[float], list[Place]]:
        """Ranks and their order when some are to be avoided, also where the others are merely busy."""
        members = self._members
        if not any(r.id not in avoid and r.works(now) for r in members):
            return self._ranks, self._order
        none = inf if self._ordered else 0.0
        ranks = [none if r.id in avoid else rank for r, rank in zip(members, self._ranks, strict=True)]
        return ranks, [place for place in self._order if members[place[1]].id not in avoid]

    def _by_lot(self, parts: list[float]) -> int | None:
        """Drawn by weight, and again while the one that was drawn has less of a part than its weight says."""
        if not self._sums:
            self._sums = list(accumulate(self._weights))
        for _ in range(_DRAWS):
            index = policy.hit(self._sums, random.random())
            part = parts[index]
            if part and random.random() * self._weights[index] < part:
                return index
        return policy.draw(parts, random.random())

    def _by_session(self, affinity: Affinity, ranks: list[float], order: list[Place]) -> tuple[int, str] | None:
        if self._ring is None:
            self._ring = policy.ring([replica.id for replica in self._members])
        session = affinity.session()
        if session:
            index = policy.session_affinity(self._ring, session, ranks, self._flights, self._most())
            return None if index is None else (index, "session_affinity")
        index = order[0][1]
        return index, self._said("session_affinity: no session", index)

    def _by_prefix(self, affinity: Affinity, ranks: list[float], order: list[Place]) -> tuple[int, str] | None:
        found = marks(affinity.prompt())
        holders = self._prefixes.holders(found)
        known = [self._places[id] for id in holders if id in self._places]
        index = policy.prefix_affinity(known, ranks, self._flights, self._most())
        why = "prefix_affinity"
        if index is None:
            lowest = order[0][0]
            # Of equals the one that has been given least to remember.
            equals = [index for rank, index in order[:_COMPARED] if rank == lowest]
            index = min(equals, key=lambda index: self._prefixes.held(self._members[index].id))
            why = self._said("prefix_affinity: a busy prompt" if known else "prefix_affinity: a new prompt", index)
        self._prefixes.note(found, self._members[index].id)
        return index, why

    def _most(self) -> int:
        return policy.bound(self._flying, len(self._order))

    def _said(self, name: str, index: int) -> str:
        replica = self._members[index]
        return _why(name, replica.in_flight, replica.slots, len(self._members))


@lru_cache(maxsize=4096)
def _why(name: str, in_flight: int, slots: int | None, count: int) -> str:
    busy = f"{in_flight} in flight" if slots is None else f"{in_flight} of {slots} slots"
    return f"{name}: {busy}, of {count} replicas"


@lru_cache(maxsize=4096)
def _odds(weight: float, whole: float) -> str:
    return f"lottery: {weight:g} of {whole:g}"


def weight_of(settings: ModelSettings, index: int, slots: int | None) -> float:
    """A replica's share: as the operator gave it, else its slots, else 1."""
    if index < len(settings.weights):
        return settings.weights[index]
    return float(slots or 1)
