"""Which tokens the model reads in a step, and which requests' keys are read in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

CPU_CALL: Final = 128
"""What one more call costs, in tokens that could be read meanwhile: 20 us on a CPU, for 0.15 us each."""
GPU_CALL: Final = 8192


class Piece(msgspec.Struct, frozen=True):
    """Tokens of one request in a pass: they stand in its slot from position `start` on.

    chosen: the token after the last of them is to be chosen.
    """

    slot: int
    start: int
    tokens: Sequence[int]
    chosen: bool


class Span(msgspec.Struct, frozen=True):
    """Neighbouring slots that are read in one call: `count` of them from `slot` on, `length` positions of each."""

    first: int
    """The place of the first query among the queries of all spans."""
    slot: int
    count: int
    length: int


def spans(places: Sequence[tuple[int, int]], call: int) -> list[Span]:
    """Group single queries, given as (slot, positions it reads) in order of slots, into calls.

    A call reads as many positions of each slot as its longest needs; call: the price of another call instead.
    """
    made: list[Span] = []
    for first, (slot, length) in enumerate(places):
        last = made[-1] if made else None
        if last is not None and last.slot + last.count == slot:
            longest = max(last.length, length)
            if (last.count + 1) * longest <= last.count * last.length + length + call:
                made[-1] = Span(last.first, last.slot, last.count + 1, longest)
                continue
        made.append(Span(first, slot, 1, length))
    return made


def pieces_of(rows: Iterable[tuple[int, int, Sequence[int]]], budget: int, split: bool) -> list[Piece]:
    """What the model reads in one step; rows are (slot, tokens read, tokens to read), in order of slots.

    Single tokens go first, all of them; then prompts, at most `budget` tokens of them when they may be split.
    """
    singles: list[Piece] = []
    longer: list[Piece] = []
    for slot, done, tokens in rows:
        if len(tokens) == 1:
            singles.append(Piece(slot, done, tuple(tokens), True))
            continue
        count = min(len(tokens), budget) if split else len(tokens)
        if count <= 0:
            continue
        budget -= count
        # A rest of one token would stand among the longer ones, which have no call for it.
        count = count - 1 if split and count == 1 else count
        if count:
            longer.append(Piece(slot, done, tuple(tokens[:count]), count == len(tokens)))
    return singles + longer
