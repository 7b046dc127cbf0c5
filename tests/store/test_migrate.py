"""Migrations: they end where the schema is, in both directions, and errors stay short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from trunkcall.store.migrate import migrate
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


def test_the_revisions_end_where_the_schema_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(url)
    migrate(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_program_migrates_the_url_on_stdin(tmp_path: Path) -> None:
    done = run(f"sqlite:///{tmp_path / 'ledger.db'}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "ledger.db").stat().st_size > 0


def test_the_program_tells_an_error_in_one_line(tmp_path: Path) -> None:
    done = run(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "unable to open database file" in done.stderr
