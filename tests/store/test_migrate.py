"""Migrations: they end where the schema is, carry what was there, whole or not at all, and errors stay short."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
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
from trunkcall.store.rollups import DAY, HOUR
from trunkcall.store.schema import metadata


def run(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkcall.store.migrate"],
        input=url,
        capture_output=True,
        text=True,
        timeout=60,
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


def test_sums_of_what_retention_has_taken_are_carried_over(bare: str, tmp_path: Path) -> None:
    move(bare, "0002")
    store = Store(tmp_path, bare)
    midnight = int(NOON // DAY * DAY)
    taken, left = midnight - DAY, midnight + 5 * HOUR
    rows = [(facet, HOUR, start, "m", value, 2, 1, 3.5) for start in (taken, midnight, left) for facet, value in VALUES]
    rows += [(facet, DAY, taken, "m", value, 2, 1, 3.5) for facet, value in VALUES]
    rows += [(facet, DAY, midnight, "m", value, 4, 2, 7.0) for facet, value in VALUES]
    store.run_all("INSERT INTO rollups (facet, span, start, model, value, requests, failed, cost)", rows)
    store.run_all("INSERT INTO pruned (span, before)", [(0, left)])
    store.run_all(
        "INSERT INTO requests (writer, epoch, sequence, model, replica, protocol, key, error, opened_at, cost, closed)",
        [("w", "e", n, "m", "m-1", "openai", "k", "x" if n else "", left + n, 1.75, True) for n in range(2)],
    )
    migrate(bare)
    assert store.query("SELECT requests.epoch, writer, epochs.epoch FROM requests JOIN epochs ON number = requests.epoch") == [
        (1, "w", "e"), (1, "w", "e")
    ]  # fmt: skip
    for by in (("model",), ("key",), ("replica",), ("key", "replica")):
        total = usage(bare, by=by).total
        assert (total.requests, total.failed, total.cost) == (6, 3, 10.5)
    assert [(row.key, row.replica, row.requests) for row in usage(bare, by=("key", "replica")).rows] == [
        ("k", "", 4), ("k", "m-1", 2)
    ]  # fmt: skip
    assert [(row.day, row.key, row.error, row.requests) for row in usage(bare, by=("day", "key", "error")).rows] == [
        (day_of(taken), "k", "", 2), (day_of(midnight), "k", "", 3), (day_of(midnight), "k", "x", 1)
    ]  # fmt: skip
    assert [(row.hour, row.requests) for row in usage(bare, by=("hour",)).rows] == [
        (f"{datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:00Z}", 2) for start in (taken, midnight, left)
    ]
    move(bare, "0002", down=True)
    found = store.query(
        f"SELECT facet, start, sum(requests), sum(failed) FROM rollups WHERE span = {DAY} GROUP BY 1, 2"
    )
    assert {(str(facet), int(start)): (int(count), int(failed)) for facet, start, count, failed in found} == {
        (facet, start): counts for facet, _ in VALUES for start, counts in ((taken, (2, 1)), (midnight, (4, 2)))
    }
    assert store.query("SELECT writer, epoch, sequence FROM requests ORDER BY 3") == [("w", "e", 0), ("w", "e", 1)]


VALUES = (("key", "k"), ("replica", "m-1"), ("protocol", "openai"), ("error", "x"))


def day_of(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


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
