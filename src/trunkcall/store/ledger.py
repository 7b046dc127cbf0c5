"""The ledger as it is read: what was used, by whom and of what, and single requests."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.store.database import Database, connect, sqlite_path
from trunkcall.store.revision import REVISION, revision
from trunkcall.store.rollups import DAY, GROUPED, HOUR, SINGLE, SUMS, Facet, Piece, facet, pieces

Group = Literal["model", "replica", "protocol", "key", "day", "hour", "error"]
GROUPS: Final[tuple[str, ...]] = get_args(Group)
ANY_ERROR: Final = "any"
"""What the filter `error` is for whatever failed."""
_END: Final = 253402300800.0
"""The end of the year 9999, a midnight."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over one group of requests; groupings that were not asked for are UNSET.

    day: YYYY-MM-DD in UTC; hour: YYYY-MM-DDTHH:00Z; open: requests that still run; failed: those with an error;
    estimated: those whose completion_tokens are pieces of the answer and whose prompt_tokens are guessed by its
    length, as the engine said no usage; cached_tokens: of the prompt tokens; cost: at the models' prices; the means
    are in milliseconds, None where nothing was measured.
    """

    model: str | UnsetType = UNSET
    replica: str | UnsetType = UNSET
    protocol: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    day: str | UnsetType = UNSET
    hour: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    requests: int
    open: int
    failed: int
    estimated: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost: float
    mean_first_token_ms: float | None
    mean_total_ms: float | None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Rows sorted by group, and their total.

    since, until: what they are sums of, unix seconds, None for no limit: more than was asked for where only whole
    hours or days are kept of that time, less where the groups need hours or single requests that are no longer kept.
    """

    rows: list[UsageRow]
    total: UsageRow
    since: float | None
    until: float | None


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the ledger has it: the fields of journal.Close, and whether it has ended."""

    id: str
    model: str
    asked: str
    replica: str
    why: str
    protocol: str
    key: str
    stream: bool
    opened_at: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    queue_ms: float | None
    first_token_ms: float | None
    total_ms: float | None
    finish: str
    error: str
    status: int
    dropped: str
    attempts: int
    resumes: int
    resumed: str
    cost: float
    estimated: bool
    closed: bool


class Spent(msgspec.Struct, frozen=True):
    """What a key has used in this UTC day and month: tokens of prompts and answers together, and money."""

    key: str
    tokens_today: int
    tokens_this_month: int
    money_today: float
    money_this_month: float


def usage(url: str, since: float | None = None, until: float | None = None, by: Sequence[str] = ("model",)) -> Usage:
    """Sum the requests opened in [since, until), unix seconds, in groups.

    Raises ServingError: bad_request for a group that is none of GROUPS, unreachable when the
    database does not answer or is of another revision. A ledger that does not exist yet is empty.
    """
    for name in by:
        if name not in GROUPS:
            raise ServingError("bad_request", f"cannot group by {name!r}. {did_you_mean(name, GROUPS)}", param="by")
    by = tuple(dict.fromkeys(by))
    with _reading(url) as database:
        if database is None:
            return Usage(rows=[], total=_usage_row((), (), [0] * len(_ALL)), since=since, until=until)
        kept = facet(by)
        spans = _spans(kept, by)
        start, end = _between(database, since, until, spans)
        groups: dict[tuple[Any, ...], list[Any]] = {}
        for piece in pieces(start, end, spans):
            for row in _sums(database, piece, kept, by):
                group, sums = row[: len(by)], row[len(by) :]
                found = groups.get(group)
                groups[group] = list(sums) if found is None else [a + b for a, b in zip(found, sums, strict=True)]
    total = list(map(sum, zip(*groups.values(), strict=True))) or [0] * len(_ALL)
    return Usage(
        rows=[_usage_row(by, group, groups[group]) for group in sorted(groups) if groups[group][0]],
        total=_usage_row((), (), total),
        since=start if since is not None or start > 0 else None,
        until=end if until is not None else None,
    )


def recent(
    url: str,
    limit: int = 100,
    *,
    before: float | None = None,
    model: str = "",
    key: str = "",
    error: str = "",
    id: str = "",
) -> list[RequestRow]:
    """The latest requests, newest first.

    before: opened earlier, unix seconds; model: as served or as asked for; error: a kind, or ANY_ERROR.

    Raises ServingError (unreachable).
    """
    tests: list[tuple[str, Any]] = []
    if before is not None:
        tests.append(("opened_at < ?", before))
    if key:
        tests += [("key <> ?", ""), ("key = ?", key)]
    if id:
        tests.append(("id = ?", id))
    if error == ANY_ERROR:
        tests.append(("error <> ?", ""))
    elif error:
        tests += [("error <> ?", ""), ("error = ?", error)]
    # Two look-ups, as an index serves each of them but not both in one.
    sets = [[*tests, ("model = ?", model)], [*tests, ("asked <> ?", ""), ("asked = ?", model)]] if model else [tests]
    rows: list[RequestRow] = []
    with _reading(url) as database:
        if database is None:
            return []
        for some in sets:
            where = " WHERE " + " AND ".join(test for test, _ in some) if some else ""
            statement = f"SELECT {_ROW} FROM requests{where} ORDER BY opened_at DESC, sequence DESC LIMIT ?"
            found = database.query(statement, (*(value for _, value in some), limit))
            rows += [msgspec.convert(dict(zip(_FIELDS, row, strict=True)), RequestRow, strict=False) for row in found]
    return rows if len(sets) == 1 else sorted(rows, key=lambda row: -row.opened_at)[:limit]


def spent(database: Database, now: float) -> list[Spent]:
    """What each key has used today and this month, in UTC, by the time at which its requests were opened.

    Raises ServingError (unreachable).
    """
    moment = datetime.fromtimestamp(now, UTC)
    today = int(now // DAY) * DAY
    month = int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp())
    used: dict[str, list[Any]] = {}
    with database.snapshot():
        rows = database.query(_SPENT_ENDED, (today, today, month))
        rows += database.query(_SPENT_OPEN, (today, today, month, _END))
    for key, *sums in rows:
        found = used.get(key)
        used[key] = sums if found is None else [a + b for a, b in zip(found, sums, strict=True)]
    return [
        Spent(key, int(tokens_today), int(tokens), float(money_today), float(money))
        for key, (tokens_today, tokens, money_today, money) in sorted(used.items())
    ]


def moment(text: str) -> float:
    """Unix seconds from a number of them or an ISO 8601 date or time (UTC where it names no zone).

    Raises ServingError (bad_request).
    """
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds):
            return seconds
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ServingError(
            "bad_request", f"{text!r} is no time; write for example 2026-01-31 or unix seconds"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


_FIELDS: Final = RequestRow.__struct_fields__
_ROW: Final = ", ".join(_FIELDS)
_ALL: Final = ("requests", "open", *SUMS[1:])
"""What is summed up for a group; `open` requests are in none of the sums by hour and day."""
_TOKENS: Final = "prompt_tokens + completion_tokens"
_SPENT: Final = (
    f"sum(CASE WHEN {{at}} >= ? THEN {_TOKENS} ELSE 0 END), sum({_TOKENS}),"
    " sum(CASE WHEN {at} >= ? THEN cost ELSE 0 END), sum(cost)"
)
_SPENT_ENDED: Final = (
    f"SELECT key, {_SPENT.format(at='start')} FROM rollups"
    f" WHERE facet = 'key' AND span = {DAY} AND start >= ? GROUP BY key"
)
# Without an upper bound SQLite takes the index that sorts by key, and reads all of it.
_SPENT_OPEN: Final = (
    f"SELECT key, {_SPENT.format(at='opened_at')} FROM requests"
    " WHERE NOT closed AND opened_at >= ? AND opened_at < ? GROUP BY key"
)
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "cached_tokens")
# PostgreSQL's sums of bigint are decimals, which cost three times as much to read.
_WHOLE: Final = "CAST(coalesce(sum({}), 0) AS BIGINT)"
_SINGLE_SUMS: Final = (
    "count(*), count(CASE WHEN NOT closed THEN 1 END), count(CASE WHEN error <> '' THEN 1 END),"
    " count(CASE WHEN estimated THEN 1 END), "
    + ", ".join(_WHOLE.format(name) for name in _COUNTS)
    + ", sum(cost), count(first_token_ms), coalesce(sum(first_token_ms), 0),"
    " count(total_ms), coalesce(sum(total_ms), 0)"
)
_FLOATS: Final = ("cost", "first_token_ms", "total_ms")
_ROLLUP_SUMS: Final = ", ".join(
    "0" if name == "open" else f"sum({name})" if name in _FLOATS else _WHOLE.format(name) for name in _ALL
)
_TIMES: Final = {"day": DAY, "hour": HOUR}
_ORDER: Final = (*_TIMES, *GROUPED)
_SINGLE_PLACES: Final = {name: f"floor(opened_at / {span})" for name, span in _TIMES.items()}


@contextlib.contextmanager
def _reading(url: str) -> Generator[Database | None]:
    """A connection that sees one moment; None where there is no ledger yet."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        yield None
        return
    with contextlib.closing(connect(url)) as database:
        found = revision(database)
        if found not in ("", REVISION):
            raise ServingError(
                "unreachable",
                f"the ledger is at revision {found} and this Trunkcall reads {REVISION}; start its server",
            )
        if not found:
            # Raises where the reason is another one than that nothing was noted yet.
            database.query("SELECT 1")
            yield None
            return
        with database.snapshot():
            yield database


def _spans(kept: Facet, by: Sequence[str]) -> list[int]:
    """Those of a facet's that keep hours or days apart where that is asked for, the longest first."""
    longest = HOUR if "hour" in by else DAY if "day" in by else max(kept.spans)
    return [span for span in kept.spans if span <= longest]


def _between(database: Database, since: float | None, until: float | None, spans: Sequence[int]) -> tuple[float, float]:
    """The span of time that can be told, of what was asked for: only whole hours or days are left of what is old."""
    gone: dict[int, int] = dict(database.query("SELECT span, before FROM pruned"))
    start, end = max(since or 0.0, 0.0), min(_END if until is None else max(until, 0.0), _END)
    start = max(start, gone.get(spans[0] if spans else SINGLE, 0))
    for fine, whole in itertools.pairwise((SINGLE, *reversed(spans))):
        before = gone.get(fine, 0)
        if start < before:
            start = start // whole * whole
        if max(end // whole * whole, start) < before:
            end = -(-end // whole) * whole
    return start, end


def _sums(database: Database, piece: Piece, kept: Facet, by: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Rows of a piece: its groups, then _ALL."""
    span = "opened_at >= ? AND opened_at < ?"
    bounds = (piece.start, piece.stop)
    places = [_SINGLE_PLACES.get(name, name) for name in by]
    if piece.span == SINGLE:
        return _grouped(database, _SINGLE_SUMS, f"requests WHERE {span}", bounds, places, places)
    ended = _grouped(
        database,
        _ROLLUP_SUMS,
        "rollups WHERE facet = ? AND span = ? AND start >= ? AND start < ?",
        (kept.name, piece.span, *bounds),
        [f"start / {_TIMES[name]}" if name in _TIMES else name for name in by],
        # In the order of the table's key there is nothing to sort, where that can be.
        [_place(name, piece.span) for name in sorted(by, key=_ORDER.index)],
    )
    return ended + _grouped(database, _SINGLE_SUMS, f"requests WHERE NOT closed AND {span}", bounds, places, places)


def _place(name: str, span: int) -> str:
    """What to group sums of a span by."""
    return name if name not in _TIMES else "start" if _TIMES[name] == span else f"start / {_TIMES[name]}"


def _grouped(
    database: Database, sums: str, source: str, parameters: Sequence[Any], places: list[str], groups: list[str]
) -> list[tuple[Any, ...]]:
    """An empty source has no groups, and also no sum."""
    end = f" GROUP BY {', '.join(groups)}" if groups else " HAVING count(*) > 0"
    return database.query(f"SELECT {', '.join((*places, sums))} FROM {source}{end}", parameters)


def _usage_row(by: Sequence[str], group: Sequence[Any], sums: Sequence[Any]) -> UsageRow:
    groups: dict[str, Any] = dict(zip(by, group, strict=True))
    if "day" in groups:
        groups["day"] = _told(int(groups["day"]) * DAY)[:10]
    if "hour" in groups:
        groups["hour"] = _told(int(groups["hour"]) * HOUR)
    requests, still_open, failed, estimated, prompt, completion, cached, cost, firsts, first, totals, total = sums
    return UsageRow(
        **groups,
        requests=requests,
        open=still_open,
        failed=failed,
        estimated=estimated,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cost=float(cost),
        mean_first_token_ms=first / firsts if firsts else None,
        mean_total_ms=total / totals if totals else None,
    )


@lru_cache
def _told(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:00Z}"
