"""Requests that wait for a slot of one model: the more important first, and fair between callers."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Collection
from math import inf
from typing import Any, Protocol

Place = tuple[int, float, int]


class Affinity(Protocol):
    """What of a request should stay together; each is asked for only by the policy that needs it."""

    def session(self) -> str:
        """The name of its conversation."""
        ...

    def prompt(self) -> str | tuple[int, ...]:
        """The beginning of its prompt, as text or tokens."""
        ...


class Waiter:
    """One waiting request; `future` gets what is granted, or the error that ends the wait.

    priority: higher first; deadline: `time.monotonic()` seconds after which nothing is granted; avoid: ids of replicas
    that have failed it.
    """

    __slots__ = ("affinity", "avoid", "deadline", "future", "key", "place", "priority")

    def __init__(
        self,
        key: str,
        future: asyncio.Future[Any],
        *,
        priority: int = 0,
        deadline: float | None = None,
        avoid: Collection[str] = (),
        affinity: Affinity | None = None,
    ) -> None:
        self.key = key
        self.future = future
        self.priority = priority
        self.deadline = inf if deadline is None else deadline
        self.avoid = avoid
        self.affinity = affinity
        self.place: Place | None = None


class FairQueue:
    """Within a priority callers take turns by key; within a key, first come is first served.

    Each waiter is given its round when it comes (start-time fair queueing), so that the whole queue is one sorted
    list: joining, leaving and the place in it take a bisection.
    """

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._waiters: dict[Place, Waiter] = {}
        self._rounds: dict[tuple[int, str], float] = {}
        """The next round of each key."""
        self._current: dict[int, float] = {}
        """The round that was last served, by priority."""
        self._count = 0

    def __len__(self) -> int:
        return len(self._places)

    def push(self, waiter: Waiter) -> None:
        """Put a waiter behind those of its key and priority."""
        self._count += 1
        key = (waiter.priority, waiter.key)
        turn = max(self._rounds.get(key, 0.0), self._current.get(waiter.priority, 0.0))
        self._rounds[key] = turn + 1
        place = waiter.place = (-waiter.priority, turn, self._count)
        insort(self._places, place)
        self._waiters[place] = waiter

    def first(self, after: int = 0) -> Waiter | None:
        """The waiter whose turn it is; those that have gone and those whose time is over are taken out.

        after: so many that have their turns before are passed over.
        """
        while len(self._places) > after:
            waiter = self._waiters[self._places[after]]
            if not waiter.future.done() and time.monotonic() < waiter.deadline:
                return waiter
            self.remove(waiter)
        return None

    def pop(self, after: int = 0) -> Waiter | None:
        """Take out what `first` gives."""
        waiter = self.first(after)
        if waiter is not None and waiter.place is not None:
            self._current[waiter.priority] = max(waiter.place[1], self._current.get(waiter.priority, 0.0))
            self.remove(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out whose caller has gone; does nothing when it is out already."""
        place, waiter.place = waiter.place, None
        if place is None:
            return
        del self._waiters[place]
        del self._places[bisect_left(self._places, place)]
        if not self._places:
            self._rounds.clear()
            self._current.clear()
        elif len(self._rounds) > 4 * len(self._places) + 64:
            self._rounds = {key: turn for key, turn in self._rounds.items() if turn > self._current.get(key[0], 0.0)}

    def position(self, waiter: Waiter) -> int:
        """How many will be served before this one, when nobody else comes."""
        return 0 if waiter.place is None else bisect_left(self._places, waiter.place)

    def drain(self) -> list[Waiter]:
        """Take everybody out."""
        everybody = [self._waiters[place] for place in self._places]
        for waiter in everybody:
            waiter.place = None
        self._places.clear()
        self._waiters.clear()
        self._rounds.clear()
        self._current.clear()
        return [waiter for waiter in everybody if not waiter.future.done()]
