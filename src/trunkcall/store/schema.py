"""The ledger's tables, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    not_,
    true,
)

metadata: Final = MetaData()


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _sum(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, server_default="0")


requests: Final = Table(
    "requests",
    metadata,
    # The key that makes double entry impossible: a writer's epoch, by its number in `epochs`, and the number within it.
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _text("id"),
    _text("model"),
    _text("replica"),
    _text("protocol"),
    _text("key"),
    Column("stream", Boolean, nullable=False, server_default=false()),
    Column("opened_at", Double, nullable=False),
    _count("prompt_tokens"),
    _count("completion_tokens"),
    Column("cached_tokens", BigInteger),
    Column("first_token_ms", Double),
    Column("total_ms", Double),
    _text("finish"),
    _text("error"),
    _count("status"),
    _text("dropped"),
    _count("attempts"),
    Column("estimated", Boolean, nullable=False, server_default=true()),
    Column("closed", Boolean, nullable=False, server_default=false()),
    _text("asked"),
    Column("queue_ms", Double),
    _text("why"),
    _count("resumes"),
    _text("resumed"),
    _sum("cost"),
    sqlite_with_rowid=False,
)
"""One row per request that is open or not older than the retention; the columns as in journal.Close.

opened_at: unix seconds; estimated: the engine said no usage (yet); closed: it has ended, and is in `rollups`.
"""
Index("requests_opened_at", requests.c.opened_at)
Index("requests_model", requests.c.model, requests.c.opened_at)
Index("requests_id", requests.c.id)
_failed: Final = requests.c.error != ""
_keyed: Final = requests.c.key != ""
_renamed: Final = requests.c.asked != ""
_open: Final = not_(requests.c.closed)
Index("requests_key", requests.c.key, requests.c.opened_at, sqlite_where=_keyed, postgresql_where=_keyed)
Index("requests_asked", requests.c.asked, requests.c.opened_at, sqlite_where=_renamed, postgresql_where=_renamed)
Index("requests_failed", requests.c.opened_at, sqlite_where=_failed, postgresql_where=_failed)
Index("requests_open", requests.c.opened_at, sqlite_where=_open, postgresql_where=_open)

epochs: Final = Table(
    "epochs",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("writer", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    UniqueConstraint("writer", "epoch"),
)
"""The lives of the journal's writers: a number is an eighth of their names, and each request and index holds it."""

rollups: Final = Table(
    "rollups",
    metadata,
    Column("facet", Text, primary_key=True),
    Column("span", BigInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("model", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("replica", Text, primary_key=True),
    Column("protocol", Text, primary_key=True),
    Column("error", Text, primary_key=True),
    _count("requests"),
    _count("failed"),
    _count("estimated"),
    _count("prompt_tokens"),
    _count("completion_tokens"),
    _count("cached_tokens"),
    _sum("cost"),
    _count("first_token_count"),
    _sum("first_token_ms"),
    _count("total_count"),
    _sum("total_ms"),
    sqlite_with_rowid=False,
)
"""Sums over the requests that have ended, once for each facet, so that each is as short a read as can be.

facet: `replica` sums over all keys and `key` over all replicas, which are empty then, `both` over neither; span:
seconds, an hour, a day or seven days, but no hours for `both`; start: unix seconds; the counts beside the milliseconds:
requests in which they were measured.
"""

pruned: Final = Table(
    "pruned",
    metadata,
    Column("span", BigInteger, primary_key=True, autoincrement=False),
    Column("before", BigInteger, nullable=False),
)
"""What retention has taken: rows of a span that began before this, in unix seconds; span 0 is `requests`."""

journal_positions: Final = Table(
    "journal_positions",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)
"""How many bytes of each journal file are in `requests`; written in the same transaction as the rows."""

keys: Final = Table(
    "keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("models", Text, nullable=False, server_default="[]"),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("tokens_per_day", BigInteger),
    Column("tokens_per_month", BigInteger),
    Column("money_per_day", Double),
    Column("money_per_month", Double),
    Column("expires_at", Double),
    Column("created_at", Double, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=false()),
)
"""API keys. digest: sha256 of the secret in hex; models: a JSON list, [] is all; limits: NULL is none; times: unix."""
