"""Entering journal rows into the ledger: each request once, and in the sums once, however often its rows come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trunkcall.store.database import Database
from trunkcall.store.journal import Close, Open, Progress, Row
from trunkcall.store.rollups import COUNTED, Changes, counted

_KEY: Final = ("writer", "epoch", "sequence")
_AT_ONCE: Final = 500
"""Parameters of one look-up; SQLite may take as few as 999."""


def _insert(fields: Sequence[str], more: str) -> str:
    names = ("writer", "epoch", *fields)
    return f"INSERT INTO requests ({', '.join(names)}, closed) VALUES ({', '.join('?' * len(names))}, {more}"


_OPEN: Final = _insert(Open.__struct_fields__, "FALSE) ON CONFLICT DO NOTHING")
# A close also overrides a close: what the writer said last is the truth, and a second import says the same.
_CLOSE: Final = _insert(
    Close.__struct_fields__,
    "TRUE) ON CONFLICT (writer, epoch, sequence) DO UPDATE SET closed = TRUE, "
    + ", ".join(f"{name} = excluded.{name}" for name in Close.__struct_fields__ if name not in _KEY),
)
_PROGRESS: Final = (
    "UPDATE requests SET completion_tokens = ? WHERE writer = ? AND epoch = ? AND sequence = ? AND NOT closed"
)
_ENDED: Final = f"SELECT sequence, {', '.join(COUNTED)} FROM requests WHERE writer = ? AND epoch = ?"
_LOST: Final = (
    "UPDATE requests SET closed = TRUE, estimated = TRUE, error = 'gateway_lost'"
    " WHERE writer = ? AND epoch = ? AND NOT closed"
)


def enter(database: Database, writer: str, epoch: str, rows: list[Row]) -> None:
    """Put rows, in the order they were noted, into `requests` and `rollups`; doing it again changes nothing.

    Within a transaction; raises ServingError (unreachable).
    """
    opens: dict[int, tuple[Any, ...]] = {}
    chunks: dict[int, int] = {}
    closes: dict[int, Close] = {}
    for row in rows:
        if isinstance(row, Close):
            closes[row.sequence] = row
        elif isinstance(row, Progress):
            chunks[row.sequence] = row.chunks
        else:
            opens[row.sequence] = (writer, epoch, *msgspec.structs.astuple(row))
    for sequence in closes:
        opens.pop(sequence, None)
        chunks.pop(sequence, None)
    if opens:
        database.run(_OPEN, opens.values())
    if chunks:
        database.run(_PROGRESS, [(count, writer, epoch, sequence) for sequence, count in chunks.items()])
    if closes:
        _close(database, writer, epoch, closes)


def _close(database: Database, writer: str, epoch: str, closes: dict[int, Close]) -> None:
    changes = Changes()
    before = _ended(database, writer, epoch, list(closes))
    for sequence, row in closes.items():
        now, then = counted(row), before.get(sequence)
        if now == then:
            continue
        if then is not None:
            changes.take(then)
        changes.add(now)
    database.run(_CLOSE, [(writer, epoch, *msgspec.structs.astuple(row)) for row in closes.values()])
    changes.write(database)


def _ended(database: Database, writer: str, epoch: str, sequences: list[int]) -> dict[int, tuple[Any, ...]]:
    """Which of these requests are in the sums already, and as what."""
    found: dict[int, tuple[Any, ...]] = {}
    for first in range(0, len(sequences), _AT_ONCE):
        some = sequences[first : first + _AT_ONCE]
        statement = f"{_ENDED} AND sequence IN ({', '.join('?' * len(some))}) AND closed"
        for sequence, *row in database.query(statement, (writer, epoch, *some)):
            found[sequence] = tuple(row)
    return found


def close_orphans(database: Database, writer: str, epoch: str) -> None:
    """What a writer that is gone has left open ends as `gateway_lost`, with what it had; within a transaction.

    Raises ServingError (unreachable).
    """
    changes = Changes()
    error, estimated = COUNTED.index("error"), COUNTED.index("estimated")
    for _, *row in database.query(f"{_ENDED} AND NOT closed", (writer, epoch)):
        row[error], row[estimated] = "gateway_lost", True
        changes.add(row)
    database.run(_LOST, [(writer, epoch)])
    changes.write(database)
