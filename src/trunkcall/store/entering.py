"""Entering journal rows into the ledger: each request once, and in the sums once, however often its rows come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from trunkcall.core.errors import ServingError
from trunkcall.store.database import Database
from trunkcall.store.journal import Close, Open, Progress, Row
from trunkcall.store.rollups import COUNTED, Changes, Counted, counted

_AT_ONCE: Final = 500
"""Parameters of one look-up; SQLite may take as few as 999."""
_TRIES: Final = 10
"""Servers that may begin an epoch in the same PostgreSQL at the same moment."""

_OPEN: Final = (
    f"INSERT INTO requests (epoch, {', '.join(Open.__struct_fields__)})"
    f" VALUES ({{}}, {', '.join('?' * len(Open.__struct_fields__))}) ON CONFLICT DO NOTHING"
)
_FLAGS: Final = ("stream", "estimated")
_NULLS: Final = ("cached_tokens", "queue_ms", "first_token_ms", "total_ms")
_SELDOM: Final[dict[str, str]] = {"error": "''", "dropped": "''", "asked": "''", "resumes": "0", "resumed": "''"}
_PROGRESS: Final = "UPDATE requests SET completion_tokens = ? WHERE epoch = ? AND sequence = ? AND NOT closed"
_ENDED: Final = f"SELECT sequence, {', '.join(COUNTED)} FROM requests WHERE epoch = ?"
_LOST: Final = (
    "UPDATE requests SET closed = TRUE, estimated = TRUE, error = 'gateway_lost' WHERE epoch = ? AND NOT closed"
)
_LAST: Final = "SELECT coalesce(max(sequence), 0) FROM requests WHERE epoch = ?"
_NUMBER: Final = "SELECT number FROM epochs WHERE writer = ? AND epoch = ?"
_NUMBERED: Final = (
    "INSERT INTO epochs (number, writer, epoch) SELECT coalesce(max(number), 0) + 1, ?, ? FROM epochs WHERE TRUE"
    " ON CONFLICT DO NOTHING"
)


class _Shape(msgspec.Struct, frozen=True):
    """A statement for closes that have the same in some fields, and what gives its parameters of a row."""

    statement: str
    parameters: Callable[[Close], tuple[Any, ...]]


@lru_cache(maxsize=1024)
def _shape(epoch: int, *same: bool) -> _Shape:
    """same: what _FLAGS are, which of _NULLS are null, and whether all of _SELDOM are as they mostly are.

    Written out they cost nothing. As parameters, a boolean or a null takes Python's driver of SQLite 0.35 us each,
    five times what a number takes, as it looks for an adapter first.
    """
    flags, nulls, plain = same[: len(_FLAGS)], same[len(_FLAGS) : -1], same[-1]
    written = {name: str(flag).upper() for name, flag in zip(_FLAGS, flags, strict=True)}
    written |= {name: "NULL" for name, null in zip(_NULLS, nulls, strict=True) if null}
    if plain:
        written |= _SELDOM
    given = [name for name in Close.__struct_fields__ if name not in written]
    every = [*given, *written]
    # A close also overrides a close: what the writer said last is the truth, and a second import says the same.
    return _Shape(
        f"INSERT INTO requests (epoch, {', '.join(every)}, closed)"
        f" VALUES ({epoch}, {', '.join(['?'] * len(given) + list(written.values()))}, TRUE)"
        " ON CONFLICT (epoch, sequence) DO UPDATE SET closed = TRUE, "
        + ", ".join(f"{name} = excluded.{name}" for name in every if name != "sequence"),
        attrgetter(*given),
    )


def epoch_number(database: Database, writer: str, epoch: str) -> int:
    """The number of a writer's epoch in the ledger, given at its first row; outside of a transaction.

    Raises ServingError (unreachable).
    """
    for _ in range(_TRIES):
        if found := database.query(_NUMBER, (writer, epoch)):
            return found[0][0]
        database.run(_NUMBERED, [(writer, epoch)])
    raise ServingError("unreachable", "the ledger's database gives others all numbers for epochs")


class Entry:
    """Rows of one epoch on their way into `requests` and `rollups` in one transaction, which the caller holds.

    Entering the same rows again, in this transaction or a later one, changes nothing. Methods raise ServingError
    (unreachable).
    """

    def __init__(self, database: Database, epoch: int) -> None:
        self._database = database
        self._epoch = epoch
        self._changes = Changes()
        # Whatever is beyond it is not there: an old stream's close is looked up, and a short request's is not.
        self._last: int = database.query(_LAST, (epoch,))[0][0]

    def enter(self, rows: list[Row]) -> None:
        """Put in rows, in the order in which they were noted."""
        closes = {row.sequence: row for row in rows if type(row) is Close}
        if len(closes) < len(rows):
            self._enter_open(rows, closes)
        if closes:
            self._count(closes)
            self._write(closes.values())
            self._last = max(self._last, *closes)

    def _write(self, closes: Iterable[Close]) -> None:
        shapes: dict[tuple[bool, ...], list[Close]] = {}
        for row in closes:
            same = (
                row.stream,
                row.estimated,
                row.cached_tokens is None,
                row.queue_ms is None,
                row.first_token_ms is None,
                row.total_ms is None,
                not (row.error or row.dropped or row.asked or row.resumes or row.resumed),
            )
            found = shapes.get(same)
            if found is None:
                shapes[same] = [row]
            else:
                found.append(row)
        for same, alike in shapes.items():
            shape = _shape(self._epoch, *same)
            self._database.run(shape.statement, map(shape.parameters, alike))

    def _enter_open(self, rows: list[Row], closes: dict[int, Close]) -> None:
        """What of these rows is of requests that have not ended in them."""
        opens: dict[int, Open] = {}
        chunks: dict[int, int] = {}
        for row in rows:
            if row.sequence in closes:
                continue
            if isinstance(row, Open):
                opens[row.sequence] = row
            elif isinstance(row, Progress):
                chunks[row.sequence] = row.chunks
        if opens:
            self._database.run(_OPEN.format(self._epoch), map(astuple, opens.values()))
            self._last = max(self._last, *opens)
        if chunks:
            self._database.run(_PROGRESS, [(count, self._epoch, sequence) for sequence, count in chunks.items()])

    def _count(self, closes: dict[int, Close]) -> None:
        before = self._ended([sequence for sequence in closes if sequence <= self._last])
        if not before:
            self._changes.add(closes.values())
            return
        now = {sequence: counted(row) for sequence, row in closes.items()}
        changed = [sequence for sequence in closes if now[sequence] != before.get(sequence)]
        self._changes.take(before[sequence] for sequence in changed if sequence in before)
        self._changes.add(now[sequence] for sequence in changed)

    def _ended(self, sequences: list[int]) -> dict[int, Counted]:
        """Which of these requests are in the sums already, and as what."""
        found: dict[int, Counted] = {}
        for first in range(0, len(sequences), _AT_ONCE):
            some = sequences[first : first + _AT_ONCE]
            statement = f"{_ENDED} AND sequence IN ({', '.join('?' * len(some))}) AND closed"
            for sequence, *row in self._database.query(statement, (self._epoch, *some)):
                found[sequence] = Counted(*row)
        return found

    def close_orphans(self) -> None:
        """What a writer that is gone has left open ends as `gateway_lost`, with what it had."""
        rows = self._database.query(f"{_ENDED} AND NOT closed", (self._epoch,))
        lost = [Counted(*row) for _, *row in rows]
        self._changes.add(msgspec.structs.replace(row, error="gateway_lost", estimated=True) for row in lost)
        self._database.run(_LOST, [(self._epoch,)])

    def finish(self) -> None:
        """Put the sums in; the last thing before the transaction ends."""
        self._changes.write(self._database)
