"""A backup: a ledger's rows, what waits in the journal and the home's own lists, in one file for either database."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from sqlalchemy import Table

from trunkcall import __version__
from trunkcall.core.errors import ServingError
from trunkcall.store.database import Database, connect
from trunkcall.store.importer import importing_alone
from trunkcall.store.journal_files import NAME
from trunkcall.store.revision import REVISION, bring_up_to_date, revision
from trunkcall.store.schema import metadata

_FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_ROWS: Final = 5000
"""Rows in one member of the archive."""
_LARGEST: Final = 256 * 2**20
"""Bytes that one member may have: what is read is held in memory."""
_MEMBER: Final = re.compile(r"rows/(\w+)/\d{6,}\.jsonl", re.ASCII)
_TABLES: Final[dict[str, Table]] = {str(table.name): table for table in metadata.sorted_tables}

Progress = Callable[[int, int], None]
"""Called with the rows that are done and the rows in all."""


class _Manifest(msgspec.Struct, frozen=True):
    """What an archive holds: the ledger's revision, the columns and the number of rows of each table."""

    format: int
    trunkcall: str
    revision: str
    made_at: float
    columns: dict[str, list[str]]
    rows: dict[str, int]


class Saved(msgspec.Struct, frozen=True):
    """What went into an archive, or came out of it: rows of the ledger, files of the journal, lists of the home."""

    rows: int
    journal: int
    lists: tuple[str, ...]


def save(file: Path, url: str, home: Path, lists: Sequence[str], told: Progress) -> Saved:
    """Write a backup of one moment to a new file, readable for its owner alone; a server may run meanwhile.

    url: the ledger's; lists: names of files in `home` that belong to it where they are there.

    Raises ServingError: conflict for a file that is there or a ledger of another revision, unreachable for a database
    or a disk that fails.
    """
    if file.exists():
        raise ServingError("conflict", f"{file} exists; name another file")
    partial = file.with_name(f"{file.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
                saved = _save(archive, url, home, lists, told)
            out.flush()
            os.fsync(out.fileno())
        partial.rename(file)
    except OSError as error:
        raise ServingError("unreachable", f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return saved


def _save(archive: tarfile.TarFile, url: str, home: Path, lists: Sequence[str], told: Progress) -> Saved:
    journal = home / "journal"
    journal.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(connect(url)) as database, contextlib.ExitStack() as reading:
        with importing_alone(journal, wait=60.0):
            found = revision(database)
            if found not in ("", REVISION):
                raise ServingError(
                    "conflict",
                    f"the ledger is at revision {found} and this Trunkcall's is {REVISION}; start its server",
                )
            bring_up_to_date(database, url)
            reading.enter_context(database.snapshot())
            # The first read begins the moment; until then rows may not move out of the journal.
            counts = {name: int(database.query(f"SELECT count(*) FROM {name}")[0][0]) for name in _TABLES}
            columns = {name: [str(column.name) for column in table.columns] for name, table in _TABLES.items()}
            manifest = _Manifest(_FORMAT, __version__, REVISION, time.time(), columns, counts)
            _add(archive, _MANIFEST, msgspec.json.encode(manifest))
            found = [name for name in lists if (home / name).exists()]
            for name in found:
                _add(archive, name, (home / name).read_bytes())
            parts = [path for path in sorted(journal.iterdir()) if NAME.fullmatch(path.name)]
            for path in parts:
                data = path.read_bytes()
                _add(archive, f"journal/{path.name}", data[: data.rfind(b"\n") + 1])
        total, done = sum(counts.values()), 0
        encoder = msgspec.json.Encoder()
        for name in _TABLES:
            for number, rows in enumerate(database.blocks(f"SELECT {', '.join(columns[name])} FROM {name}", _ROWS)):
                _add(archive, f"rows/{name}/{number:06d}.jsonl", encoder.encode_lines(rows))
                done += len(rows)
                told(done, total)
    return Saved(done, len(parts), tuple(found))


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(data))


def restore(file: Path, url: str, home: Path, lists: Sequence[str], told: Progress, *, force: bool) -> Saved:
    """Put a backup in the place of what is there; no server may run on the home, whose lock the caller holds.

    force: what is there may be lost. A restore that fails changes nothing.

    Raises ServingError: conflict for something that would be overwritten, or a backup of another revision; bad_request
    for a file that is no backup, or a damaged one; unreachable for a database or a disk that fails.
    """
    try:
        with tarfile.open(file, mode="r:gz") as archive:
            manifest = _read_manifest(archive, file)
            with contextlib.closing(connect(url)) as database, tempfile.TemporaryDirectory(dir=home) as aside:
                bring_up_to_date(database, url)
                if not force:
                    _check_empty(database, home, lists)
                saved = _restore(archive, manifest, database, Path(aside), lists, told)
                _put_in_place(Path(aside), home, lists)
    except (tarfile.TarError, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(file, str(error)) from error
    except OSError as error:
        if error.filename is None and error.errno is None:  # gzip's BadGzipFile
            raise _damaged(file, str(error)) from error
        raise ServingError("unreachable", f"{error.filename or file}: {error.strerror or error}") from error
    return saved


def _damaged(file: Path, reason: str) -> ServingError:
    return ServingError("bad_request", f"{file} is no backup made by `trunkcall backup`, or a damaged one: {reason}")


def _members(archive: tarfile.TarFile) -> Generator[tuple[str, IO[bytes]]]:
    """Files by name; nothing is taken from the archive but names that are known and bytes."""
    seen: set[str] = set()
    while (member := archive.next()) is not None:
        content = archive.extractfile(member) if member.isreg() else None
        if content is None or member.size > _LARGEST or member.name in seen:
            raise tarfile.TarError(f"{member.name!r} does not belong there")
        seen.add(member.name)
        yield member.name, content


def _read_manifest(archive: tarfile.TarFile, file: Path) -> _Manifest:
    name, content = next(_members(archive), ("", io.BytesIO()))
    if name != _MANIFEST:
        raise _damaged(file, f"it does not begin with {_MANIFEST}")
    manifest = msgspec.json.decode(content.read(), type=_Manifest)
    if manifest.format != _FORMAT or manifest.revision != REVISION:
        raise ServingError(
            "conflict",
            f"{file} was made by Trunkcall {manifest.trunkcall} (ledger {manifest.revision}, this is {REVISION});"
            " restore it with that version, then start this one",
        )
    return manifest


def _check_empty(database: Database, home: Path, lists: Sequence[str]) -> None:
    there = [name for name in lists if (home / name).exists()]
    there += [path.name for path in sorted((home / "journal").glob("*.jsonl"))]
    there += [f"table {name}" for name in _TABLES if database.query(f"SELECT 1 FROM {name} LIMIT 1")]
    if there:
        raise ServingError(
            "conflict", f"{home} and its ledger are not empty ({', '.join(there[:5])}); --force replaces what is there"
        )


def _restore(
    archive: tarfile.TarFile, manifest: _Manifest, database: Database, aside: Path, lists: Sequence[str], told: Progress
) -> Saved:
    """Rows go into the database, all or none; files into `aside`."""
    total, done, journal = sum(manifest.rows.values()), 0, 0
    left = dict(manifest.rows)
    with database.transaction():
        for name in _TABLES:
            database.run(f"DELETE FROM {name}", [()])
        for name, content in _members(archive):
            folder, _, base = name.rpartition("/")
            rows_of = _MEMBER.fullmatch(name)
            if rows_of is not None and rows_of[1] in _TABLES:
                rows = _insert(database, rows_of[1], manifest, content.read())
                left[rows_of[1]] = left.get(rows_of[1], 0) - rows
                done += rows
                told(done, total)
            elif (folder == "journal" and NAME.fullmatch(base)) or (not folder and base in lists):
                journal += folder == "journal"
                (aside / base).write_bytes(content.read())
            else:
                raise tarfile.TarError(f"{name!r} does not belong there")
        if any(left.values()):
            raise tarfile.TarError("it is not whole: rows are missing")
    return Saved(done, journal, tuple(name for name in lists if (aside / name).exists()))


def _insert(database: Database, name: str, manifest: _Manifest, data: bytes) -> int:
    table = _TABLES[name]
    columns = manifest.columns.get(name, [])
    if set(columns) != {column.name for column in table.columns}:
        raise tarfile.TarError(f"its table {name} has other columns")
    shape: list[Any] = []
    for column in columns:
        kind: Any = table.columns[column].type.python_type
        shape.append(kind | None if table.columns[column].nullable else kind)
    # Not strict, as SQLite has numbers for booleans.
    decoder = msgspec.json.Decoder(tuple.__class_getitem__(tuple(shape)), strict=False)
    rows: list[tuple[Any, ...]] = decoder.decode_lines(data)
    database.run(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows)
    return len(rows)


def _put_in_place(aside: Path, home: Path, lists: Sequence[str]) -> None:
    journal = home / "journal"
    journal.mkdir(exist_ok=True)
    for path in _old(home, journal, lists):
        path.unlink()
    for path in sorted(aside.iterdir()):
        shutil.move(path, (home if path.name in lists else journal) / path.name)


def _old(home: Path, journal: Path, lists: Sequence[str]) -> Iterator[Path]:
    yield from (home / name for name in lists if (home / name).exists())
    yield from (path for path in list(journal.iterdir()) if NAME.fullmatch(path.name) or path.suffix == ".lock")
