"""Requests keyed by the number of their epoch, and sums by week and by several groups at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_HOUR, _DAY, _WEEK = 3600, 86400, 604800
_GROUPED = ("model", "key", "replica", "protocol", "error")
_FACETS = {
    "replica": ("key", (_WEEK, _DAY, _HOUR)),
    "key": ("replica", (_WEEK, _DAY, _HOUR)),
    "both": ("", (_WEEK, _DAY)),
}
_SUMS = (
    "requests", "failed", "estimated", "prompt_tokens", "completion_tokens", "cached_tokens", "cost",
    "first_token_count", "first_token_ms", "total_count", "total_ms",
)  # fmt: skip
_REAL = ("cost", "first_token_ms", "total_ms")
_FIELDS = (
    "sequence", "id", "model", "replica", "protocol", "key", "stream", "opened_at", "prompt_tokens",
    "completion_tokens", "cached_tokens", "first_token_ms", "total_ms", "finish", "error", "status", "dropped",
    "attempts", "estimated", "closed", "asked", "queue_ms", "why", "resumes", "resumed", "cost",
)  # fmt: skip
_KEPT = ", ".join(f"requests.{name}" for name in _FIELDS)


def upgrade() -> None:
    """Number the epochs, copy the requests to their new key, and sum them up anew."""
    op.create_table(
        "epochs",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.UniqueConstraint("writer", "epoch"),
    )
    op.execute(
        "INSERT INTO epochs SELECT row_number() OVER (ORDER BY writer, epoch), writer, epoch"
        " FROM (SELECT DISTINCT writer, epoch FROM requests) AS found"
    )
    _make_requests("numbered", [sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False)])
    op.execute(
        f"INSERT INTO numbered (epoch, {', '.join(_FIELDS)}) SELECT epochs.number, {_KEPT} FROM requests"
        " JOIN epochs ON epochs.writer = requests.writer AND epochs.epoch = requests.epoch ORDER BY 1, 2"
    )
    _replace_requests("numbered", sa.text("key <> ''"))
    _make_rollups("summed", ("facet", "span", "start", *_GROUPED))
    _sum_up()
    _carry_over()
    op.drop_table("rollups")
    op.rename_table("summed", "rollups")


def _make_requests(name: str, key: list[sa.Column[int]] | list[sa.Column[str]]) -> None:
    op.create_table(
        name,
        *key,
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(each, sa.Text, nullable=False, server_default="") for each in ("id", "model", "replica")),
        *(sa.Column(each, sa.Text, nullable=False, server_default="") for each in ("protocol", "key")),
        sa.Column("stream", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("first_token_ms", sa.Double),
        sa.Column("total_ms", sa.Double),
        sa.Column("finish", sa.Text, nullable=False, server_default=""),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("status", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("dropped", sa.Text, nullable=False, server_default=""),
        sa.Column("attempts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("estimated", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("asked", sa.Text, nullable=False, server_default=""),
        sa.Column("queue_ms", sa.Double),
        sa.Column("why", sa.Text, nullable=False, server_default=""),
        sa.Column("resumes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("resumed", sa.Text, nullable=False, server_default=""),
        sa.Column("cost", sa.Double, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
    )


def _replace_requests(name: str, keyed: sa.TextClause | None) -> None:
    op.drop_table("requests")
    op.rename_table(name, "requests")
    op.create_index("requests_opened_at", "requests", ["opened_at"])
    op.create_index("requests_model", "requests", ["model", "opened_at"])
    op.create_index("requests_id", "requests", ["id"])
    for index, columns, where in (
        ("requests_key", ["key", "opened_at"], keyed),
        ("requests_asked", ["asked", "opened_at"], sa.text("asked <> ''")),
        ("requests_failed", ["opened_at"], sa.text("error <> ''")),
        ("requests_open", ["opened_at"], sa.text("NOT closed")),
    ):
        op.create_index(index, "requests", columns, sqlite_where=where, postgresql_where=where)


def _make_rollups(name: str, cell: tuple[str, ...]) -> None:
    op.create_table(
        name,
        *(
            sa.Column(each, sa.BigInteger, primary_key=True, autoincrement=False)
            if each in ("span", "start")
            else sa.Column(each, sa.Text, primary_key=True)
            for each in cell
        ),
        *(
            sa.Column(each, sa.Double if each in _REAL else sa.BigInteger, nullable=False, server_default="0")
            for each in _SUMS
        ),
        sqlite_with_rowid=False,
    )


def _sum_up() -> None:
    """What the importer does for each request that ends, for all that retention has left."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for facet, (without, spans) in _FACETS.items():
        rest = ", ".join("''" if name == without else f'"{name}"' for name in _GROUPED)
        for span in spans:
            # SQLite's cast cuts off; PostgreSQL's rounds.
            start = f"floor(opened_at / {span})" if postgresql else f"opened_at / {span}"
            op.execute(
                f"INSERT INTO summed SELECT '{facet}', {span}, CAST({start} AS BIGINT) * {span}, {rest},"
                " count(*), count(CASE WHEN error <> '' THEN 1 END), count(CASE WHEN estimated THEN 1 END),"
                " sum(prompt_tokens), sum(completion_tokens), coalesce(sum(cached_tokens), 0), sum(cost),"
                " count(first_token_ms), coalesce(sum(first_token_ms), 0),"
                " count(total_ms), coalesce(sum(total_ms), 0)"
                " FROM requests WHERE closed AND opened_at >="
                " coalesce((SELECT before FROM pruned WHERE span = 0), 0) GROUP BY 3, 4, 5, 6, 7, 8"
            )


def _carry_over() -> None:
    """Sums over what retention has taken: each was kept by one group alone, so they lose protocols and errors."""
    before = "coalesce((SELECT before FROM pruned WHERE span = 0), 0)"
    midnight = f"({before} / {_DAY} * {_DAY})"
    sums = ", ".join(f"sum({name})" if name in _REAL else f"CAST(sum({name}) AS BIGINT)" for name in _SUMS)
    added = ", ".join(f"{name} = summed.{name} + excluded.{name}" for name in _SUMS)
    for facet, (_, spans) in _FACETS.items():
        groups = "'', value" if facet == "replica" else "value, ''"
        for span in spans:
            # A day that is gone in part has its hours.
            days = (
                f"span = {_DAY} AND start < {midnight} OR span = {_HOUR} AND start >= {midnight} AND start < {before}"
            )
            old = f"span = {_HOUR} AND start < {before}" if span == _HOUR else days
            op.execute(
                f"INSERT INTO summed SELECT '{facet}', {span}, start / {span} * {span}, model, {groups}, '', '', {sums}"
                f" FROM rollups WHERE facet = '{'replica' if facet == 'replica' else 'key'}' AND ({old})"
                " GROUP BY 3, 4, 5, 6"
                f" ON CONFLICT (facet, span, start, {', '.join(_GROUPED)}) DO UPDATE SET {added}"
            )


def downgrade() -> None:
    """Give each request its epoch's names again, and sums their one group; sums by week and several groups go."""
    _make_requests("named", [sa.Column(name, sa.Text, primary_key=True) for name in ("writer", "epoch")])
    op.execute(
        f"INSERT INTO named (writer, epoch, {', '.join(_FIELDS)}) SELECT epochs.writer, epochs.epoch, {_KEPT}"
        " FROM requests JOIN epochs ON epochs.number = requests.epoch"
    )
    _replace_requests("named", None)
    op.drop_table("epochs")
    _make_rollups("single", ("facet", "span", "start", "model", "value"))
    sums = ", ".join(f"sum({name})" if name in _REAL else f"CAST(sum({name}) AS BIGINT)" for name in _SUMS)
    for name in ("key", "replica", "protocol", "error"):
        op.execute(
            f"INSERT INTO single SELECT '{name}', span, start, model, \"{name}\", {sums} FROM rollups"
            f" WHERE facet = '{'key' if name == 'key' else 'replica'}' AND span <> {_WEEK} GROUP BY 2, 3, 4, 5"
        )
    op.drop_table("rollups")
    op.rename_table("single", "rollups")
