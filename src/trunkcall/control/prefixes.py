"""Which replicas have lately worked at which beginnings of prompts, and so may have them in their caches."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

BLOCK: Final = 128
"""Characters or tokens of the first blocks; after each eight they are twice as long."""
KEPT: Final = 32768
"""Marks that are remembered at most, of the latest prompts; half as many at least."""
_DOUBLING: Final = 8
_BLOCKS: Final = 72
_ENDS: Final = (0, *accumulate(BLOCK * 2 ** (number // _DOUBLING) for number in range(_BLOCKS)))
"""How much so many blocks are together."""
_HOLDERS: Final = 4
_ENOUGH: Final = 0.5
"""The part of a prompt that must be known: less is a system prompt, which each replica has soon."""


def marks(prompt: str | tuple[int, ...]) -> list[int]:
    """A number for each beginning of a prompt that ends with a whole block, the shortest first."""
    found: list[int] = []
    mark = start = 0
    whole = len(prompt)
    for end in _ENDS[1:]:
        if end > whole:
            break
        mark = hash((mark, prompt[start:end]))
        found.append(mark)
        start = end
    return found


class Prefixes:
    """Remembers for each mark the replicas, by id, that were last given a prompt with it.

    In two halves: when the latest is full, the earlier one is forgotten as a whole, so that nobody pays for each mark
    that goes. What is met again moves to the latest.
    """

    def __init__(self) -> None:
        self._latest: dict[int, tuple[str, ...]] = {}
        self._earlier: dict[int, tuple[str, ...]] = {}
        self._held: dict[str, int] = {}
        self._held_earlier: dict[str, int] = {}

    def holders(self, found: list[int]) -> tuple[str, ...]:
        """Who holds the longest known beginning, when that is a good part of the prompt."""
        latest, earlier = self._latest, self._earlier
        for known in range(len(found), 0, -1):
            mark = found[known - 1]
            holders = latest.get(mark) or earlier.get(mark)
            if holders is not None:
                return holders if _ENDS[known] >= _ENOUGH * _ENDS[len(found)] else ()
        return ()

    def held(self, id: str) -> int:
        """How many marks a replica holds; those of both halves count twice."""
        return self._held.get(id, 0) + self._held_earlier.get(id, 0)

    def note(self, found: list[int], id: str) -> None:
        """A replica works at a prompt with these marks."""
        if len(self._latest) + len(found) > KEPT // 2:
            self._earlier, self._latest = self._latest, {}
            self._held_earlier, self._held = self._held, {}
        latest, earlier, held = self._latest, self._earlier, self._held
        alone = (id,)
        fresh = 0
        for mark in found:
            before = latest.get(mark)
            if before is None:
                fresh += 1
                before = earlier.get(mark)
                if before is None:
                    latest[mark] = alone
                    continue
                for other in before:
                    held[other] = held.get(other, 0) + (other != id)
            elif before[0] == id:
                continue
            elif id not in before:
                fresh += 1
            holders = latest[mark] = (id, *[other for other in before if other != id][: _HOLDERS - 1])
            if len(holders) == len(before) and before[-1] not in holders:
                held[before[-1]] -= 1
        held[id] = held.get(id, 0) + fresh
