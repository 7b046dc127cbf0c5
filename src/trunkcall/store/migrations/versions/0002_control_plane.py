"""The control plane: what is told of a request, sums by hour and day, and keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_FACETS = ("key", "replica", "protocol", "error")
_SPANS = (3600, 86400)
_MOST = 2**40


def upgrade() -> None:
    """Add what is new, and sum up the requests that have ended."""
    for column in (
        sa.Column("asked", sa.Text, nullable=False, server_default=""),
        sa.Column("queue_ms", sa.Double),
        sa.Column("why", sa.Text, nullable=False, server_default=""),
        sa.Column("resumes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("resumed", sa.Text, nullable=False, server_default=""),
        sa.Column("cost", sa.Double, nullable=False, server_default="0"),
    ):
        op.add_column("requests", column)
    op.create_index("requests_model", "requests", ["model", "opened_at"])
    op.create_index("requests_key", "requests", ["key", "opened_at"])
    op.create_index("requests_id", "requests", ["id"])
    for name, columns, where in (
        ("requests_asked", ["asked", "opened_at"], sa.text("asked <> ''")),
        ("requests_failed", ["opened_at"], sa.text("error <> ''")),
        ("requests_open", ["opened_at"], sa.text("NOT closed")),
    ):
        op.create_index(name, "requests", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "rollups",
        sa.Column("facet", sa.Text, primary_key=True),
        sa.Column("span", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("estimated", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cost", sa.Double, nullable=False, server_default="0"),
        sa.Column("first_token_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("first_token_ms", sa.Double, nullable=False, server_default="0"),
        sa.Column("total_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("total_ms", sa.Double, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pruned",
        sa.Column("span", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("before", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("models", sa.Text, nullable=False, server_default="[]"),
        sa.Column("requests_per_minute", sa.BigInteger),
        sa.Column("tokens_per_minute", sa.BigInteger),
        sa.Column("tokens_per_day", sa.BigInteger),
        sa.Column("tokens_per_month", sa.BigInteger),
        sa.Column("money_per_day", sa.Double),
        sa.Column("money_per_month", sa.Double),
        sa.Column("expires_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    _sum_up()


def _sum_up() -> None:
    """What the importer does for each request that ends, for all that have."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    least = "least" if postgresql else "min"
    most = "greatest" if postgresql else "max"
    # An absurd count bounds itself: sums of what bigint holds would not fit into it.
    op.execute(
        f"UPDATE requests SET prompt_tokens = {most}(0, {least}(prompt_tokens, {_MOST})),"
        f" completion_tokens = {most}(0, {least}(completion_tokens, {_MOST})),"
        f" cached_tokens = {most}(0, {least}(cached_tokens, {_MOST}))"
        f" WHERE {least}(prompt_tokens, completion_tokens, coalesce(cached_tokens, 0)) < 0"
        f" OR {most}(prompt_tokens, completion_tokens, coalesce(cached_tokens, 0)) > {_MOST}"
    )
    for span in _SPANS:
        # SQLite's cast cuts off; PostgreSQL's rounds.
        start = f"floor(opened_at / {span})" if postgresql else f"opened_at / {span}"
        for facet in _FACETS:
            op.execute(
                f"INSERT INTO rollups SELECT '{facet}', {span}, CAST({start} AS BIGINT) * {span}, model, \"{facet}\","
                " count(*), count(CASE WHEN error <> '' THEN 1 END), count(CASE WHEN estimated THEN 1 END),"
                " sum(prompt_tokens), sum(completion_tokens), coalesce(sum(cached_tokens), 0), 0,"
                " count(first_token_ms), coalesce(sum(first_token_ms), 0),"
                " count(total_ms), coalesce(sum(total_ms), 0)"
                " FROM requests WHERE closed GROUP BY 3, 4, 5"
            )


def downgrade() -> None:
    """Drop what was added, and all keys."""
    op.drop_table("keys")
    op.drop_table("pruned")
    op.drop_table("rollups")
    for name in ("open", "failed", "asked", "id", "key", "model"):
        op.drop_index(f"requests_{name}", "requests")
    for column in ("cost", "resumed", "resumes", "why", "queue_ms", "asked"):
        op.drop_column("requests", column)
