"""Sums by hour and day: what each request that has ended adds to which of them, and what a span of time is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from trunkcall.store.database import Database
from trunkcall.store.journal import Close

HOUR: Final = 3600
DAY: Final = 86400
SINGLE: Final = 0
"""The span of a request by itself, in `pruned` and in `Piece`."""
FACETS: Final = ("key", "replica", "protocol", "error")
SUMS: Final = (
    "requests", "failed", "estimated", "prompt_tokens", "completion_tokens", "cached_tokens", "cost",
    "first_token_count", "first_token_ms", "total_count", "total_ms",
)  # fmt: skip
COUNTED: Final = (
    "opened_at", "model", "key", "replica", "protocol", "error", "estimated", "prompt_tokens", "completion_tokens",
    "cached_tokens", "cost", "first_token_ms", "total_ms",
)  # fmt: skip
"""What of a request goes into sums: columns of `requests`, fields of Close."""

counted: Final[Callable[[Close], tuple[Any, ...]]] = attrgetter(*COUNTED)
"""A row's COUNTED, comparable with what a query gives of it."""

_CELL: Final = ("facet", "span", "start", "model", "value")
_ADD: Final = (
    f"INSERT INTO rollups ({', '.join((*_CELL, *SUMS))}) VALUES ({', '.join('?' * (len(_CELL) + len(SUMS)))})"
    f" ON CONFLICT ({', '.join(_CELL)}) DO UPDATE SET "
    + ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in SUMS)
)


class Changes:
    """What a transaction adds to the sums, and takes from them; starts empty."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Any, ...], list[Any]] = {}

    def add(self, row: Sequence[Any]) -> None:
        """Count a request; row: its COUNTED."""
        self._count(row, 1)

    def take(self, row: Sequence[Any]) -> None:
        """Count a request no more, as it was counted before."""
        self._count(row, -1)

    def _count(self, row: Sequence[Any], sign: int) -> None:
        opened_at, model, key, replica, protocol, error, estimated, prompt, completion, cached, cost, first, total = row
        place = (int(opened_at // HOUR) * HOUR, model, key, replica, protocol, error)
        sums = self._sums.get(place)
        if sums is None:
            sums = self._sums[place] = [0] * len(SUMS)
        sums[0] += sign
        if error:
            sums[1] += sign
        if estimated:
            sums[2] += sign
        sums[3] += sign * prompt
        sums[4] += sign * completion
        if cached:
            sums[5] += sign * cached
        sums[6] += sign * cost
        if first is not None:
            sums[7] += sign
            sums[8] += sign * first
        if total is not None:
            sums[9] += sign
            sums[10] += sign * total

    def cells(self) -> dict[tuple[str, int, int, str, str], list[Any]]:
        """Sums by (facet, span, start, model, value), in that order, so that two writers never wait in a ring."""
        cells: dict[tuple[str, int, int, str, str], list[Any]] = {}
        for (hour, model, *values), sums in self._sums.items():
            if not any(sums):
                continue
            for facet, value in zip(FACETS, values, strict=True):
                for span, start in ((HOUR, hour), (DAY, hour // DAY * DAY)):
                    place = (facet, span, start, model, value)
                    found = cells.get(place)
                    cells[place] = sums if found is None else [a + b for a, b in zip(found, sums, strict=True)]
        return dict(sorted(cells.items()))

    def write(self, database: Database) -> None:
        """Put them into `rollups`; within the transaction that changes the requests."""
        cells = self.cells()
        if cells:
            database.run(_ADD, [(*place, *sums) for place, sums in cells.items()])


class Piece(msgspec.Struct, frozen=True):
    """A part of a span of time that is read at once: [start, stop) in unix seconds from rows of one `span`."""

    span: int
    start: float
    stop: float


def pieces(since: float, until: float, coarsest: int) -> list[Piece]:
    """What [since, until) is made of: as few rows as can be, whole days and hours in the middle and less at both ends.

    coarsest: the longest span that may be used, SINGLE, HOUR or DAY.
    """
    if since >= until:
        return []
    if coarsest == SINGLE:
        return [Piece(SINGLE, since, until)]
    first, last = -(-since // coarsest) * coarsest, until // coarsest * coarsest
    finer = HOUR if coarsest == DAY else SINGLE
    if first >= last:
        return pieces(since, until, finer)
    return [*pieces(since, first, finer), Piece(coarsest, first, last), *pieces(last, until, finer)]
