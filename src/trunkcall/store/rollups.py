"""Sums by hour, day and week: what each request that has ended adds to which of them, and what a span is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from trunkcall.store.database import Database
from trunkcall.store.journal import Close

HOUR: Final = 3600
DAY: Final = 86400
WEEK: Final = 7 * DAY
SINGLE: Final = 0
"""The span of a request by itself, in `pruned` and in `Piece`."""
GROUPED: Final = ("model", "key", "replica", "protocol", "error")
"""What sums are kept by, beside their time."""
SUMS: Final = (
    "requests", "failed", "estimated", "prompt_tokens", "completion_tokens", "cached_tokens", "cost",
    "first_token_count", "first_token_ms", "total_count", "total_ms",
)  # fmt: skip


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What of a request goes into sums: columns of `requests`, fields of Close."""

    opened_at: float
    model: str
    key: str
    replica: str
    protocol: str
    error: str
    estimated: bool
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    cost: float
    first_token_ms: float | None
    total_ms: float | None


COUNTED: Final = Counted.__struct_fields__


def counted(row: Close) -> Counted:
    """What of a row goes into sums."""
    return Counted(*_counted(row))


_counted: Final[Callable[[Close], tuple[Any, ...]]] = attrgetter(*COUNTED)


class Facet(msgspec.Struct, frozen=True):
    """One way to keep sums: `without` what of GROUPED, and by which spans, the longest first."""

    name: str
    without: str
    spans: tuple[int, ...]


FACETS: Final = (
    Facet("replica", "key", (WEEK, DAY, HOUR)),
    Facet("key", "replica", (WEEK, DAY, HOUR)),
    # By the hour it would be nearly as many rows as requests.
    Facet("both", "", (WEEK, DAY)),
)
"""The shortest to read first."""


def facet(by: Sequence[str]) -> Facet:
    """The shortest to read that keeps apart what is asked for."""
    return next(each for each in FACETS if each.without not in by)


CELL: Final = ("facet", "span", "start", *GROUPED)
_ADD: Final = (
    f"INSERT INTO rollups ({', '.join((*CELL, *SUMS))}) VALUES ({', '.join('?' * (len(CELL) + len(SUMS)))})"
    f" ON CONFLICT ({', '.join(CELL)}) DO UPDATE SET "
    + ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in SUMS)
)

Cell = tuple[str, int, int, str, str, str, str, str]
"""(facet, span, start, *GROUPED), with an empty text for what the facet is without."""


class Changes:
    """What a transaction adds to the sums, and takes from them; starts empty."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Any, ...], list[Any]] = {}

    def add(self, rows: Iterable[Counted | Close]) -> None:
        """Count requests."""
        self._count(rows, 1)

    def take(self, rows: Iterable[Counted]) -> None:
        """Count requests no more, as they were counted before."""
        self._count(rows, -1)

    def _count(self, rows: Iterable[Counted | Close], sign: int) -> None:
        everything = self._sums
        for row in rows:
            place = (row.opened_at // HOUR, row.model, row.key, row.replica, row.protocol, row.error)
            sums = everything.get(place)
            if sums is None:
                sums = everything[place] = [0] * len(SUMS)
            sums[0] += sign
            if row.error:
                sums[1] += sign
            if row.estimated:
                sums[2] += sign
            sums[3] += sign * row.prompt_tokens
            sums[4] += sign * row.completion_tokens
            cached, first, total = row.cached_tokens, row.first_token_ms, row.total_ms
            if cached:
                sums[5] += sign * cached
            sums[6] += sign * row.cost
            if first is not None:
                sums[7] += sign
                sums[8] += sign * first
            if total is not None:
                sums[9] += sign
                sums[10] += sign * total

    def cells(self) -> dict[Cell, list[Any]]:
        """Sums by cell, in the order of cells, so that two writers never wait in a ring."""
        cells: dict[Cell, list[Any]] = {}
        for (hour, model, key, replica, protocol, error), sums in self._sums.items():
            if not any(sums):
                continue
            began = int(hour) * HOUR
            for each in FACETS:
                rest = (
                    model,
                    "" if each.without == "key" else key,
                    "" if each.without == "replica" else replica,
                    protocol,
                    error,
                )
                for span in each.spans:
                    cell = (each.name, span, began // span * span, *rest)
                    found = cells.get(cell)
                    cells[cell] = sums if found is None else [a + b for a, b in zip(found, sums, strict=True)]
        return dict(sorted(cells.items()))

    def write(self, database: Database) -> None:
        """Put them into `rollups`; within the transaction that changes the requests."""
        cells = self.cells()
        if cells:
            database.run(_ADD, [(*cell, *sums) for cell, sums in cells.items()])


class Piece(msgspec.Struct, frozen=True):
    """A part of a span of time that is read at once: [start, stop) in unix seconds from rows of one `span`."""

    span: int
    start: float
    stop: float


def pieces(since: float, until: float, spans: Sequence[int]) -> list[Piece]:
    """What [since, until) is made of: as few rows as can be, whole weeks and days in the middle and less at both ends.

    spans: those that may be used, the longest first; what they leave over is read from single requests.
    """
    if since >= until:
        return []
    if not spans:
        return [Piece(SINGLE, since, until)]
    longest, *finer = spans
    first, last = -(-since // longest) * longest, until // longest * longest
    if first >= last:
        return pieces(since, until, finer)
    return [*pieces(since, first, finer), Piece(longest, first, last), *pieces(last, until, finer)]
