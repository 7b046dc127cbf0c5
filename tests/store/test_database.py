"""The drivers: what both databases do alike, and how they fail."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.store import database as database_file
from trunkcall.store.database import connect, sqlite_path


def test_statements_and_parameters(url: str) -> None:
    with contextlib.closing(connect(url)) as database:
        database.run("INSERT INTO pruned (span, before) VALUES (?, ?)", [(1, 2**62), (2, -5)])
        assert database.query("SELECT span, before FROM pruned WHERE span = ? AND before > ?", (1, 0)) == [(1, 2**62)]
        assert database.query("SELECT floor(before / ?) FROM pruned WHERE span = 2", (2.0,)) == [(-3.0,)]
        with database.snapshot():
            blocks = list(database.blocks("SELECT span FROM pruned ORDER BY span", 1))
        assert blocks == [[(1,)], [(2,)]]


def test_a_transaction_is_all_or_nothing(url: str) -> None:
    with contextlib.closing(connect(url)) as database:
        for failure, said in ((KeyError("mine"), "mine"), (None, "does not answer")):
            with pytest.raises((KeyError, ServingError), match=said), database.transaction():
                database.run("INSERT INTO pruned (span, before) VALUES (?, ?)", [(1, 1)])
                if failure is not None:
                    raise failure
                database.run("INSERT INTO nothing VALUES (?)", [(1,)])
            assert database.query("SELECT * FROM pruned") == []
        with database.transaction():
            database.run("INSERT INTO pruned (span, before) VALUES (?, ?)", [(1, 1)])
        assert database.query("SELECT span FROM pruned") == [(1,)]


def test_a_snapshot_sees_one_moment(url: str) -> None:
    with contextlib.closing(connect(url)) as reader, contextlib.closing(connect(url)) as writer:
        with reader.snapshot():
            assert reader.query("SELECT count(*) FROM pruned") == [(0,)]
            writer.run("INSERT INTO pruned (span, before) VALUES (?, ?)", [(1, 1)])
            assert reader.query("SELECT count(*) FROM pruned") == [(0,)]
        assert reader.query("SELECT count(*) FROM pruned") == [(1,)]


def test_a_locked_database_is_waited_for_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_file, "PATIENCE", 0.1)
    url = f"sqlite:///{tmp_path / 'a' / 'ledger.db'}"
    with contextlib.closing(connect(url)) as database:
        holder = sqlite3.connect(tmp_path / "a" / "ledger.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServingError, match="locked") as raised, database.transaction():
            pass
        assert raised.value.kind == "unreachable"
        holder.close()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://nobody:hunter2@127.0.0.1:1/none", "unreachable"),
        ("postgresql://nobody:hun/hunter2@127.0.0.1/none", "bad_request"),
        ("postgresql://nobody:hun@hunter2@127.0.0.1/none", "bad_request"),
        ("postgresql://nobody:hunter2%zz@127.0.0.1/none", "bad_request"),
        ("sqlite:////proc/nowhere/ledger.db", "unreachable"),
        ("mysql://hunter2@x/y", "bad_request"),
        ("", "bad_request"),
    ],
)
def test_what_cannot_be_connected_to_is_told_without_its_password(url: str, kind: str) -> None:
    with pytest.raises(ServingError) as raised:
        connect(url)
    assert raised.value.kind == kind
    assert "hunter2" not in raised.value.message
    assert len(raised.value.message.splitlines()) == 1


def test_a_ledger_is_for_its_owner_alone(tmp_path: Path) -> None:
    with contextlib.closing(connect(f"sqlite:///{tmp_path}/ledger.db")) as database:
        database.run("CREATE TABLE t (a)", [()])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)


def test_paths_of_sqlite() -> None:
    assert sqlite_path("sqlite:////a/b") == Path("/a/b")
    assert sqlite_path("postgresql://a/b") is None
