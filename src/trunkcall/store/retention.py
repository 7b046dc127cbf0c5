"""Retention: old single requests go, in small steps, once the sums hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trunkcall.store.database import Database
from trunkcall.store.rollups import CELL, HOUR, SINGLE

HOURS_KEPT: Final = 400 * 86400.0
"""Seconds for which sums by the hour stay; those by the day do for good."""
_STEP: Final = 1000
"""Rows per transaction: others wait no longer than that takes."""

_OLD_REQUESTS: Final = "SELECT epoch, sequence FROM requests WHERE opened_at < ? AND closed ORDER BY opened_at LIMIT ?"
_DELETE_REQUEST: Final = "DELETE FROM requests WHERE epoch = ? AND sequence = ?"
_OLD_HOURS: Final = f"SELECT {', '.join(CELL)} FROM rollups WHERE span = {HOUR} AND start < ? LIMIT ?"
_DELETE_HOUR: Final = f"DELETE FROM rollups WHERE {' AND '.join(f'{name} = ?' for name in CELL)}"
_MARK: Final = (
    "INSERT INTO pruned (span, before) VALUES (?, ?)"
    " ON CONFLICT (span) DO UPDATE SET before = excluded.before WHERE pruned.before < excluded.before"
)


def prune(database: Database, now: float, retention: float, steps: int = 10) -> bool:
    """Delete requests that began before `now` - `retention` (seconds) and old hours; False when there is more to do.

    Requests that still run stay until they have ended. Raises ServingError (unreachable).
    """
    left = _delete(database, SINGLE, _whole_hours(max(now - retention, 0.0)), _OLD_REQUESTS, _DELETE_REQUEST, steps)
    return _delete(database, HOUR, _whole_hours(now - HOURS_KEPT), _OLD_HOURS, _DELETE_HOUR, left) > 0


def _whole_hours(moment: float) -> int:
    return int(moment // HOUR) * HOUR


def _delete(database: Database, span: int, before: int, find: str, delete: str, steps: int) -> int:
    """Returns how many of the steps are left."""
    for step in range(steps):
        with database.transaction():
            rows: Sequence[Sequence[object]] = database.query(find, (before, _STEP))
            if rows:
                database.run(delete, rows)
                database.run(_MARK, [(span, before)])
        if len(rows) < _STEP:
            return steps - step
    return 0
