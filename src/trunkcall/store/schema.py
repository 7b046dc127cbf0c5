"""The ledger's tables, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, MetaData, Table, Text, false, true

metadata: Final = MetaData()


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


requests: Final = Table(
    "requests",
    metadata,
    # The key that makes double entry impossible: the journal's writer, its epoch, the number within it.
    Column("writer", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
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
    Index("requests_opened_at", "opened_at"),
    sqlite_with_rowid=False,
)
"""One row per request. opened_at: unix seconds; estimated: the engine said no usage (yet); closed: it has ended."""

journal_positions: Final = Table(
    "journal_positions",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)
"""How many bytes of each journal file are in `requests`; written in the same transaction as the rows."""
