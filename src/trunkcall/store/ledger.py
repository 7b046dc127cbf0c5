"""The ledger as it is read: what was used, by whom and of what, and the latest requests.

SQLAlchemy is imported on the first read: 18 MB that a server at rest does without.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.store.importer import sqlite_path

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

Group = Literal["model", "replica", "protocol", "key", "day", "error"]
GROUPS: Final[tuple[str, ...]] = get_args(Group)


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over one group of requests; groupings that were not asked for are UNSET.

    day: YYYY-MM-DD in UTC; open: requests that still run; failed: those with an error;
    estimated: those whose completion_tokens are pieces of the answer, as the engine said no
    usage; cached_tokens: of the prompt tokens; the means are in milliseconds, None where
    nothing was measured.
    """

    model: str | UnsetType = UNSET
    replica: str | UnsetType = UNSET
    protocol: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    day: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    requests: int
    open: int
    failed: int
    estimated: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    mean_first_token_ms: float | None
    mean_total_ms: float | None


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the ledger has it; opened_at in unix seconds, dropped: names joined by commas."""

    id: str
    model: str
    replica: str
    protocol: str
    key: str
    stream: bool
    opened_at: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    first_token_ms: float | None
    total_ms: float | None
    finish: str
    error: str
    status: int
    dropped: str
    attempts: int
    estimated: bool
    closed: bool


def usage(
    url: str, since: float | None = None, until: float | None = None, by: Sequence[str] = ("model",)
) -> list[UsageRow]:
    """Sum the requests opened in [since, until), unix seconds, in groups; sorted by group.

    Raises ServingError: bad_request for a group that is none of GROUPS, unreachable when the
    database does not answer. A ledger that does not exist yet is empty.
    """
    for name in by:
        if name not in GROUPS:
            raise ServingError("bad_request", f"cannot group by {name!r}. {did_you_mean(name, GROUPS)}", param="by")
    with _reading(url) as connection:
        if connection is None:
            return []
        return [_usage_row(by, row) for row in connection.execute(_sums(connection, since, until, by))]


def recent(url: str, limit: int = 100) -> list[RequestRow]:
    """The latest requests, newest first; raises ServingError (unreachable)."""
    from sqlalchemy import select

    from trunkcall.store.schema import requests

    columns = [requests.c[name] for name in RequestRow.__struct_fields__]
    statement = select(*columns).order_by(requests.c.opened_at.desc(), requests.c.sequence.desc()).limit(limit)
    with _reading(url) as connection:
        if connection is None:
            return []
        return [RequestRow(**row) for row in connection.execute(statement).mappings()]


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


@contextlib.contextmanager
def _reading(url: str) -> Generator[Connection | None]:
    """A connection to read from; None where there is no ledger yet."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    path = sqlite_path(url)
    if path is not None and not path.exists():
        yield None
        return
    try:
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                yield connection if inspect(connection).has_table("requests") else None
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ServingError("unreachable", f"the ledger's database does not answer: {reason}") from error


def _sums(connection: Connection, since: float | None, until: float | None, by: Sequence[str]) -> Select[Any]:
    from sqlalchemy import BigInteger, case, cast, func, select

    from trunkcall.store.schema import requests

    c = requests.c
    days = c.opened_at / 86400
    # PostgreSQL's cast rounds, SQLite's cuts, and SQLite may lack floor().
    day = cast(func.floor(days) if connection.dialect.name == "postgresql" else days, BigInteger)
    groups: list[ColumnElement[Any]] = [day if name == "day" else c[name] for name in by]

    def number(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    statement = select(
        *groups,
        func.count(),
        number(c.closed.is_(False)),
        number(c.error != ""),
        number(c.estimated.is_(True)),
        func.coalesce(func.sum(c.prompt_tokens), 0),
        func.coalesce(func.sum(c.completion_tokens), 0),
        func.coalesce(func.sum(c.cached_tokens), 0),
        func.avg(c.first_token_ms),
        func.avg(c.total_ms),
    )
    if since is not None:
        statement = statement.where(c.opened_at >= since)
    if until is not None:
        statement = statement.where(c.opened_at < until)
    return statement.group_by(*groups).order_by(*groups) if groups else statement


def _usage_row(by: Sequence[str], row: Sequence[Any]) -> UsageRow:
    count = len(by)
    groups = dict(zip(by, row[:count], strict=True))
    if "day" in groups:
        groups["day"] = str(datetime.fromtimestamp(0, UTC).date() + timedelta(days=groups["day"]))
    requests, still_open, failed, estimated, prompt, completion, cached = (int(value) for value in row[count:-2])
    first, total = row[-2:]
    return UsageRow(
        **groups,
        requests=requests,
        open=still_open,
        failed=failed,
        estimated=estimated,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        mean_first_token_ms=first,
        mean_total_ms=total,
    )
