"""Backups: what is restored is what was saved, on either database, and hostile archives change nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from running import eventually
from store.conftest import DATABASES, new_ledger
from store.noting import NOON, Store, a_close, an_open, end, finished, living

from trunkcall.core.errors import ServingError
from trunkcall.store.archive import Saved, restore, save
from trunkcall.store.journal import FileJournal
from trunkcall.store.ledger import usage
from trunkcall.store.schema import metadata

LISTS = ("models.json", "workers.json")
KEY = (
    "INSERT INTO keys (name, digest, role, models, tokens_per_day, money_per_day, created_at, disabled)"
    " VALUES ('alice', 'd1', 'user', '[\"a\"]', 9223372036854775807, 0.1, 1.5, TRUE)"
)


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def fill(store: Store) -> None:
    """A ledger with rows of every table, a journal that waits, and a list."""
    store.write_part(1, [a_close(n, key=f"k{n % 3}", cached_tokens=n % 2 or None, cost=0.1) for n in range(12_000)])
    store.write_part(1, [an_open(7, opened_at=NOON)], name="v.e")
    with living(store.journal, "v.e"):
        store.importer.import_now()
        store.run(KEY)
        store.run("INSERT INTO pruned (span, before) VALUES (0, 3600)")
        store.write_part(2, [a_close(7, completion_tokens=99)], torn=b'["close",8', name="v.e")
    (store.journal.parent / "models.json").write_text('{"m": "pocket"}')


def contents(store: Store) -> dict[str, list[tuple[object, ...]]]:
    found: dict[str, list[tuple[object, ...]]] = {}
    for table in metadata.sorted_tables:
        columns = ", ".join(column.name for column in table.columns)
        keys = ", ".join(column.name for column in table.primary_key)
        found[table.name] = store.query(f"SELECT {columns} FROM {table.name} ORDER BY {keys}")
    return found


@pytest.fixture(params=DATABASES)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A second home with a ledger of its own."""
    (tmp_path / "other").mkdir()
    return Store(tmp_path / "other" / "journal", new_ledger(request, tmp_path / "other"))


def test_what_is_restored_is_what_was_saved(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store)
    file = tmp_path / "saved.tar.gz"
    saved = save(file, store.url, tmp_path, LISTS, quiet)
    assert (saved.journal, saved.lists, file.stat().st_mode & 0o777) == (2, ("models.json",), 0o600)
    assert not list(tmp_path.glob("*.partial"))
    before = contents(store)
    other_home = other.journal.parent
    assert restore(file, other.url, other_home, LISTS, quiet, force=False) == saved
    after = contents(other)
    for name, rows in before.items():
        assert {tuple(map(str, map(float_of, row))) for row in after[name]} == {
            tuple(map(str, map(float_of, row))) for row in rows
        }, name
    assert (other_home / "models.json").read_text() == '{"m": "pocket"}'
    for one in (store, other):
        one.importer.import_now()
        assert usage(one.url).total.completion_tokens == 12_000 * 20 + 99
    other.check_rollups()


def float_of(value: object) -> object:
    """SQLite has numbers for booleans."""
    return int(value) if isinstance(value, bool) else value


@pytest.mark.timeout(180)
def test_a_backup_while_requests_come_is_of_one_moment(store: Store, other: Store, tmp_path: Path) -> None:
    """Whatever moves from the journal into the ledger meanwhile is in it once."""
    journal = FileJournal(store.journal, part_bytes=20_000)
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(0.001):
            journal.close(finished(str(number)))
            number += 1
            if number % 100 == 0:
                store.importer.import_now()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        eventually(lambda: store.query("SELECT count(*) FROM requests") != [(0,)])
        for number in range(4):
            stop.wait(0.4)
            save(tmp_path / f"{number}.gz", store.url, tmp_path, LISTS, quiet)
    finally:
        stop.set()
        worker.join(60)
        end(journal)
    for number in range(4):
        restore(tmp_path / f"{number}.gz", other.url, other.journal.parent, LISTS, quiet, force=True)
        other.importer.import_now()
        (row,) = other.query("SELECT count(*), max(sequence), count(DISTINCT sequence) FROM requests")
        assert row[0] == row[1] == row[2] > 0
        other.check_rollups()


def test_nothing_is_overwritten_unasked(store: Store, tmp_path: Path) -> None:
    fill(store)
    file = tmp_path / "saved.tar.gz"
    save(file, store.url, tmp_path, LISTS, quiet)
    before = contents(store)
    with pytest.raises(ServingError, match="exists") as raised:
        save(file, store.url, tmp_path, LISTS, quiet)
    assert raised.value.kind == "conflict"
    with pytest.raises(ServingError, match=r"not empty .*--force") as raised:
        restore(file, store.url, tmp_path, LISTS, quiet, force=False)
    assert raised.value.kind == "conflict"
    store.write_part(1, [a_close(1)], name="new.er")
    store.importer.import_now()
    restore(file, store.url, tmp_path, LISTS, quiet, force=True)
    assert contents(store) == before
    assert sorted(path.name for path in store.journal.glob("*.jsonl")) == ["v.e.000001.jsonl", "v.e.000002.jsonl"]


def repack(file: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(file, "w:gz") as archive:
        for member, data in members:
            changed = change(member, data)
            if changed is not None:
                changed[0].size = len(changed[1])
                archive.addfile(changed[0], io.BytesIO(changed[1]))


def renamed(name: str, **more: object) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name == "models.json":
            member.name = name
            for key, value in more.items():
                setattr(member, key, value)
            data = b"" if more else data
        return member, data

    return change


def without_rows(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
    return None if member.name == "rows/requests/000001.jsonl" else (member, data)


def manifest(**more: object) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name == "manifest.json":
            data = msgspec.json.encode({**msgspec.json.decode(data), **more})
        return member, data

    return change


def row(text: bytes) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    return lambda member, data: (member, text if member.name == "rows/keys/000000.jsonl" else data)


HOSTILE = [
    (renamed("../models.json"), "bad_request", "does not belong"),
    (renamed("/etc/models.json"), "bad_request", "does not belong"),
    (renamed("journal/../../x.y.000001.jsonl"), "bad_request", "does not belong"),
    (renamed("trunkcall.yaml"), "bad_request", "does not belong"),
    (renamed("models.json", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "bad_request", "does not belong"),
    (renamed("workers.json", type=tarfile.LNKTYPE, linkname="manifest.json"), "bad_request", "does not belong"),
    (renamed("models.json", type=tarfile.FIFOTYPE), "bad_request", "does not belong"),
    (renamed("rows/sqlite_master/000000.jsonl"), "bad_request", "does not belong"),
    (without_rows, "bad_request", "not whole"),
    (manifest(revision="9999"), "conflict", "9999"),
    (manifest(format=2), "conflict", "restore it with that version"),
    (manifest(columns={"keys": ["name", "digest); DROP TABLE keys; --"]}), "bad_request", "other columns"),
    (manifest(rows="many"), "bad_request", "damaged"),
    (row(b'["a"]\n'), "bad_request", "damaged"),
    (row(b'["bob","d2","user","[]",null,null,null,null,"x",null,null,1.5,false]\n'), "bad_request", "damaged"),
    (row(b"\xff\xfe\n"), "bad_request", "damaged"),
]


@pytest.mark.parametrize(("change", "kind", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_archive_changes_nothing(
    sqlite_store: Store, tmp_path: Path, change: Callable[..., object], kind: str, said: str
) -> None:
    fill(sqlite_store)
    file = tmp_path / "saved.tar.gz"
    save(file, sqlite_store.url, tmp_path, LISTS, quiet)
    repack(file, change)  # type: ignore[arg-type]
    before, files = contents(sqlite_store), sorted(tmp_path.rglob("*"))
    with pytest.raises(ServingError, match=said) as raised:
        restore(file, sqlite_store.url, tmp_path, LISTS, quiet, force=True)
    assert raised.value.kind == kind
    assert contents(sqlite_store) == before
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive at all" * 100, gzip.compress(b"no tar" * 1000), gzip.compress(b"x" * 4096)[:40]],
    ids=["empty", "text", "no tar", "torn"],
)
def test_what_is_no_archive_is_told(sqlite_store: Store, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ServingError, match="is no backup") as raised:
        restore(tmp_path / "file", sqlite_store.url, tmp_path, LISTS, quiet, force=True)
    assert raised.value.kind == "bad_request"


def test_a_backup_cut_short_changes_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    fill(sqlite_store)
    file = tmp_path / "saved.tar.gz"
    save(file, sqlite_store.url, tmp_path, LISTS, quiet)
    before = contents(sqlite_store)
    whole = file.read_bytes()
    for part in (0.1, 0.5, 0.95):
        file.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ServingError, match="damaged"):
            restore(file, sqlite_store.url, tmp_path, LISTS, quiet, force=True)
        assert contents(sqlite_store) == before


def test_files_that_cannot_be_read_or_written_are_told(sqlite_store: Store, tmp_path: Path) -> None:
    for act in (
        lambda: restore(tmp_path / "none.gz", sqlite_store.url, tmp_path, LISTS, quiet, force=True),
        lambda: save(tmp_path / "none" / "file.gz", sqlite_store.url, tmp_path, LISTS, quiet),
    ):
        with pytest.raises(ServingError, match="No such file") as raised:
            act()
        assert raised.value.kind == "unreachable"


def test_a_ledger_of_another_version_is_not_touched(sqlite_store: Store, tmp_path: Path) -> None:
    sqlite_store.run("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(ServingError, match="at revision 0001") as raised:
        save(tmp_path / "saved", sqlite_store.url, tmp_path, LISTS, quiet)
    assert raised.value.kind == "conflict"
    assert not list(tmp_path.glob("saved*"))


def test_an_empty_home_can_be_saved(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert save(tmp_path / "saved", url, tmp_path, LISTS, quiet) == Saved(0, 0, ())
    assert restore(tmp_path / "saved", url, tmp_path, LISTS, quiet, force=False) == Saved(0, 0, ())
