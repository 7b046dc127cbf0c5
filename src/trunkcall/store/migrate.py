"""Bring a ledger's schema to the newest revision: `echo URL | python -m trunkcall.store.migrate`.

A program of its own, so that no serving process imports Alembic; the URL comes by stdin
because a command line shows its password to every user of the machine.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

_LOCK = 7238001
"""Names our advisory lock in PostgreSQL: two servers may start at once."""


def migrate(url: str) -> None:
    """Create or upgrade the ledger at a SQLAlchemy URL; raises sqlalchemy.exc.SQLAlchemyError."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _begin_at_once(engine)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def _begin_at_once(engine: Engine) -> None:
    """All of a migration or nothing: by itself Python's driver commits before each change of a table."""

    def manual(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 60000")

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", manual)
    event.listen(engine, "begin", begin)


if __name__ == "__main__":
    try:
        migrate(sys.stdin.readline().strip())
    except (SQLAlchemyError, ImportError) as error:
        sys.exit(str(error).splitlines()[0])
