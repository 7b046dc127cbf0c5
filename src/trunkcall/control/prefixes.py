"""Which replicas have lately worked at which beginnings of prompts, and so may have them in their caches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

BLOCK: Final = 128
"""Characters or tokens of the first blocks; after each eight they are twice as long."""
KEPT: Final = 32768
"""Marks that are remembered, of the latest prompts."""
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
    """Remembers for each mark the replicas, by id, that were last given a prompt with it."""

    def __init__(self) -> None:
        self._holders: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        self._held: dict[str, int] = {}

    def holders(self, found: list[int]) -> tuple[str, ...]:
        """Who holds the longest known beginning, when that is a good part of the prompt."""
        for known in range(len(found), 0, -1):
            holders = self._holders.get(found[known - 1])
            if holders is not None:
                return holders if _ENDS[known] >= _ENOUGH * _ENDS[len(found)] else ()
        return ()

    def held(self, id: str) -> int:
        """How many marks a replica holds."""
        return self._held.get(id, 0)

    def note(self, found: list[int], id: str) -> None:
        """A replica works at a prompt with these marks."""
        known, held = self._holders, self._held
        alone = (id,)
        for mark in found:
            holders = known.get(mark)
            if holders is None:
                known[mark] = alone
                held[id] = held.get(id, 0) + 1
                continue
            if holders[0] != id:
                self._let_go((holders,))
                holders = known[mark] = (id, *[other for other in holders if other != id][: _HOLDERS - 1])
                for other in holders:
                    held[other] = held.get(other, 0) + 1
            known.move_to_end(mark)
        self._let_go([known.popitem(last=False)[1] for _ in range(len(known) - KEPT)])

    def _let_go(self, gone: Iterable[tuple[str, ...]]) -> None:
        held = self._held
        for holders in gone:
            for id in holders:
                left = held[id] - 1
                if left:
                    held[id] = left
                else:
                    del held[id]
