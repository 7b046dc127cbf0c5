"""Migrations: they end where the schema is, carry what was there, whole or not at all, and errors stay short."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from store.conftest import DATABASES
from store.noting import NOON, Store

from trunkcall.store import migrate as migrate_file
from trunkcall.store.database import connect
from trunkcall.store.ledger import usage
from trunkcall.store.migrate import migrate
from trunkcall.store.revision import bring_up_to_date, revision
from trunkcall.store.schema import metadata


def run(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkcall.store.migrate"],
        input=url,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture(params=DATABASES)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "postgresql":
        return request.getfixturevalue("cluster").database()
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def move(url: str, where: str, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate_file.__file__).with_name("migrations")))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, where)
    engine.dispose()


def test_the_revisions_end_where_the_schema_is(bare: str) -> None:
    for _ in range(2):
        migrate(bare)
    engine = create_engine(bare)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_what_an_earlier_version_noted_is_summed_up(bare: str, tmp_path: Path) -> None:
    move(bare, "0001")
    fields = (
        "writer, epoch, sequence, id, model, replica, protocol, key, stream, opened_at, prompt_tokens,"
        " completion_tokens, cached_tokens, first_token_ms, total_ms, finish, error, estimated, closed"
    )
    rows: list[tuple[Any, ...]] = [
        ("w", "e", n, f"r{n}", "m", "m-1", "openai", f"k{n % 2}", True, NOON + n * 1000.5, 2**63 - 1 if n == 3 else 7,
         n, None if n % 3 else 1, None, 2.5, "stop", "" if n % 4 else "gateway_lost", n % 5 == 0, n < 18)
        for n in range(20)
    ]  # fmt: skip
    with contextlib.closing(connect(bare)) as database:
        database.run(f"INSERT INTO requests ({fields}) VALUES ({', '.join('?' * 19)})", rows)
        assert revision(database) == "0001"
        bring_up_to_date(database, bare)
    store = Store(tmp_path, bare)
    store.check_rollups()
    assert usage(bare).total.requests == 20
    assert store.query("SELECT asked, why, resumes, resumed, cost, queue_ms FROM requests WHERE sequence = 3") == [
        ("", "", 0, "", 0.0, None)
    ]


def test_there_is_a_way_back(bare: str) -> None:
    migrate(bare)
    move(bare, "base", down=True)
    migrate(bare)
    with contextlib.closing(connect(bare)) as database:
        assert database.query("SELECT count(*) FROM keys") == [(0,)]


def test_a_migration_that_fails_leaves_what_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    move(url, "0001")
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("CREATE TABLE keys (in_the_way TEXT)")
    connection.commit()
    assert run(url).returncode == 1
    columns = [row[1] for row in connection.execute("PRAGMA table_info(requests)")]
    assert "cost" not in columns
    connection.execute("DROP TABLE keys")
    connection.commit()
    connection.close()
    assert run(url).returncode == 0


def test_the_program_migrates_the_url_on_stdin(tmp_path: Path) -> None:
    done = run(f"sqlite:///{tmp_path / 'ledger.db'}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "ledger.db").stat().st_size > 0


def test_the_program_tells_an_error_in_one_line(tmp_path: Path) -> None:
    done = run(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "unable to open database file" in done.stderr
