"""Requests that wait for a slot of one model: bounded, and fair between callers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Any


class Waiter:
    """One waiting request; `future` gets what is granted, or the error that ends the wait."""

    __slots__ = ("future", "key")

    def __init__(self, key: str, future: asyncio.Future[Any]) -> None:
        self.key = key
        self.future = future


class FairQueue:
    """Callers take turns by key; within a key, first come is first served."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, deque[Waiter]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, waiter: Waiter) -> None:
        """Put a waiter behind those of its key."""
        self._by_key.setdefault(waiter.key, deque()).append(waiter)
        self._size += 1

    def pop(self) -> Waiter | None:
        """The waiter whose turn it is; those that have gone are skipped."""
        while self._by_key:
            key, waiters = next(iter(self._by_key.items()))
            waiter = waiters.popleft()
            self._size -= 1
            if waiters:
                self._by_key.move_to_end(key)
            else:
                del self._by_key[key]
            if not waiter.future.done():
                return waiter
        return None

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out whose caller has gone; does nothing when it is out already."""
        waiters = self._by_key.get(waiter.key)
        if waiters is None or waiter not in waiters:
            return
        waiters.remove(waiter)
        self._size -= 1
        if not waiters:
            del self._by_key[waiter.key]

    def position(self, waiter: Waiter) -> int:
        """How many will be served before this one, when nobody else comes."""
        waiters = self._by_key.get(waiter.key)
        if waiters is None or waiter not in waiters:
            return 0
        depth = waiters.index(waiter)
        ahead = 0
        before = True
        for key, others in self._by_key.items():
            if key == waiter.key:
                before = False
                ahead += depth
            else:
                ahead += min(len(others), depth + (1 if before else 0))
        return ahead

    def drain(self) -> list[Waiter]:
        """Take everybody out."""
        everybody = [w for waiters in self._by_key.values() for w in waiters if not w.future.done()]
        self._by_key.clear()
        self._size = 0
        return everybody
