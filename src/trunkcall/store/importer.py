"""The importer: moves what the journal holds into the ledger's database, each row exactly once.

It speaks to the database's driver rather than through SQLAlchemy: 1 MB of memory against 18,
0.02 s of start against 0.3. A server runs it as a child process (`python -m trunkcall.store.importer`):
in a thread, its CPU time would come out of the event loop's share of the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health
from trunkcall.store.journal import Close, Open, Progress, Row

_log = logging.getLogger("trunkcall.importer")

REVISION: Final = "0001"
"""The newest of store/migrations/versions; revisions sort by name."""
EVERY: Final = 1.0
"""Seconds between looks at the journal."""
_LINGER: Final = 30
"""Looks without news after which the child process ends, and gives its memory back."""
_PATIENCE: Final = 5.0
"""Seconds to wait for a locked database, or for one that does not accept connections."""
_BLOCK: Final = 1024 * 1024
"""Bytes of journal per transaction."""

_KEY: Final = ("writer", "epoch", "sequence")
_NAME: Final = re.compile(r"([\w-]+\.[\w-]+)\.(\d+)\.jsonl", re.ASCII)
"""WRITER.EPOCH.PART.jsonl, as FileJournal names its files."""


def _insert(fields: Sequence[str], more: str) -> str:
    names = ("writer", "epoch", *fields)
    return f"INSERT INTO requests ({', '.join(names)}, closed) VALUES ({', '.join('?' * len(names))}, {more}"


_OPEN: Final = _insert(Open.__struct_fields__, "FALSE) ON CONFLICT DO NOTHING")
# A close also overrides a close: what the writer said last is the truth, and a second import says the same.
_CLOSE: Final = _insert(
    Close.__struct_fields__,
    "TRUE) ON CONFLICT (writer, epoch, sequence) DO UPDATE SET closed = TRUE, "
    + ", ".join(f"{name} = excluded.{name}" for name in Close.__struct_fields__ if name not in _KEY),
)
_PROGRESS: Final = (
    "UPDATE requests SET completion_tokens = ? WHERE writer = ? AND epoch = ? AND sequence = ? AND NOT closed"
)
_ORPHANS: Final = (
    "UPDATE requests SET closed = TRUE, estimated = TRUE, error = 'gateway_lost'"
    " WHERE writer = ? AND epoch = ? AND NOT closed"
)
_POSITION: Final = (
    "INSERT INTO journal_positions (writer, epoch, part, position) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (writer, epoch, part) DO UPDATE SET position = excluded.position"
)
_FORGET: Final = "DELETE FROM journal_positions WHERE writer = ? AND epoch = ? AND part = ?"


class _Database(Protocol):
    """A connection in the driver's own terms; statements mark their parameters with `?`.

    Every method raises ServingError (unreachable) when the database is away or locked.
    """

    def query(self, statement: str) -> list[tuple[Any, ...]]: ...

    def run(self, statement: str, rows: Iterable[Sequence[Any]]) -> None: ...

    def transaction(self) -> contextlib.AbstractContextManager[None]: ...

    def close(self) -> None: ...


class _Driver:
    """A DB-API connection in autocommit mode, seen as a _Database."""

    def __init__(self, connection: Any, failure: type[Exception], *, begin: str, mark: str) -> None:
        self._connection = connection
        self._failure = failure
        self._begin = begin
        self._mark = mark

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except self._failure as error:
            raise _away(error) from error

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._told():
            return self._connection.execute(statement).fetchall()

    def run(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._told(), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.executemany(statement.replace("?", self._mark), rows)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        with self._told():
            self._connection.execute(self._begin)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A rollback that fails too has nothing to add: the first error is the one to tell.
                with contextlib.suppress(self._failure):
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with contextlib.suppress(self._failure):
            self._connection.close()


def _away(error: Exception) -> ServingError:
    lines = str(error).splitlines() or [type(error).__name__]
    return ServingError("unreachable", f"the ledger's database does not answer: {lines[0]}")


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///PATH` URL; None for another database."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _connect(url: str) -> _Database:
    path = sqlite_path(url)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            # A commit must be on the disk before the journal file that it came from is deleted.
            connection.execute("PRAGMA synchronous = FULL")
        except (sqlite3.Error, OSError) as error:
            raise _away(error) from error
        return _Driver(connection, sqlite3.Error, begin="BEGIN IMMEDIATE", mark="?")
    if not url.startswith(("postgresql://", "postgresql+psycopg://")):
        raise ServingError("bad_request", "store must be a sqlite:///PATH or postgresql:// URL")
    try:
        import psycopg
    except ImportError as error:
        raise ServingError("bad_request", "a PostgreSQL store needs `pip install 'trunkcall[postgres]'`") from error
    try:
        return _Driver(
            psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True, connect_timeout=int(_PATIENCE)),
            psycopg.Error,
            begin="BEGIN",
            mark="%s",
        )
    except psycopg.Error as error:
        raise _away(error) from error


def _revision(database: _Database) -> str:
    try:
        found = database.query("SELECT version_num FROM alembic_version")
    except ServingError:
        return ""
    return found[0][0] if found else ""


def _bring_up_to_date(database: _Database, url: str) -> None:
    """Make or upgrade the tables in a short child process; raises ServingError."""
    revision = _revision(database)
    if revision == REVISION:
        return
    if revision > REVISION:
        raise ServingError(
            "conflict", f"the ledger is at revision {revision}, written by a newer Trunkcall than this ({REVISION})"
        )
    command = [sys.executable, "-m", "trunkcall.store.migrate"]
    try:
        done = subprocess.run(command, input=url, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _away(error) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ServingError("unreachable", f"the ledger's schema could not be brought up to date: {lines[-1]}")


class _Epoch:
    """The journal files of one writer's life: parts by number, and whether it has ended."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.writer, self.epoch = name.split(".")
        self.lock = directory / f"{name}.lock"
        self.parts: dict[int, Path] = {}
        self.ended = _ended(self.lock)


def _ended(lock: Path) -> bool:
    """Whether the writer is gone: the system takes its lock away however it ends."""
    try:
        file = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _epochs(directory: Path) -> list[_Epoch]:
    """What lies in the directory, oldest first. Locks are looked at before files: an ended epoch is complete."""
    epochs = {match[1]: _Epoch(directory, match[1]) for _, match in _parts(directory)}
    for path, match in _parts(directory):
        if match[1] in epochs:
            epochs[match[1]].parts[int(match[2])] = path
    return list(epochs.values())


def _parts(directory: Path) -> list[tuple[Path, re.Match[str]]]:
    found = ((path, _NAME.fullmatch(path.name)) for path in sorted(directory.iterdir()))
    return [(path, match) for path, match in found if match is not None]


_decoder: Final = msgspec.json.Decoder(Row)


def _rows(data: bytes) -> list[Row]:
    """Whole lines as rows; lines that are none (torn by a full disk, or not ours) are left out."""
    # PostgreSQL's text cannot hold a NUL.
    data = data.replace(b"\\u0000", b"\\ufffd")
    try:
        return _decoder.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        rows: list[Row] = []
        for line in data.splitlines():
            try:
                rows.append(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                _log.warning("a line of the journal is not readable: %s", error)
        return rows


def _store(database: _Database, writer: str, epoch: str, rows: list[Row]) -> None:
    """Put rows, in the order they were noted, into `requests`; doing it again changes nothing in the end."""
    opens: dict[int, tuple[Any, ...]] = {}
    chunks: dict[int, int] = {}
    closes: list[tuple[Any, ...]] = []
    astuple = msgspec.structs.astuple
    for row in rows:
        if isinstance(row, Close):
            closes.append((writer, epoch, *astuple(row)))
        elif isinstance(row, Progress):
            chunks[row.sequence] = row.chunks
        else:
            opens[row.sequence] = (writer, epoch, *astuple(row))
    for close in closes:
        opens.pop(close[2], None)
        chunks.pop(close[2], None)
    if opens:
        database.run(_OPEN, opens.values())
    if chunks:
        database.run(_PROGRESS, [(count, writer, epoch, sequence) for sequence, count in chunks.items()])
    if closes:
        database.run(_CLOSE, closes)


def _import_part(database: _Database, epoch: _Epoch, part: int, position: int) -> int:
    """Import one file from a position to its last whole line; returns the number of rows."""
    count = 0
    with epoch.parts[part].open("rb") as file:
        while True:
            file.seek(position)
            data = file.read(_BLOCK) + file.readline()
            data = data[: data.rfind(b"\n") + 1]
            if not data:
                return count
            rows = _rows(data)
            position += len(data)
            with database.transaction():
                _store(database, epoch.writer, epoch.epoch, rows)
                database.run(_POSITION, [(epoch.writer, epoch.epoch, part, position)])
            count += len(rows)


def _import_all(database: _Database, directory: Path) -> int:
    """One pass over the directory; returns the number of rows."""
    positions = {
        (writer, epoch, part): position
        for writer, epoch, part, position in database.query(
            "SELECT writer, epoch, part, position FROM journal_positions"
        )
    }
    count = 0
    for epoch in _epochs(directory):
        parts = list(epoch.parts)
        for part in parts:
            count += _import_part(database, epoch, part, positions.get((epoch.writer, epoch.epoch, part), 0))
        # The last part of a living writer grows; the others will not.
        done = parts if epoch.ended else parts[:-1]
        if not done:
            continue
        with database.transaction():
            if epoch.ended:
                database.run(_ORPHANS, [(epoch.writer, epoch.epoch)])
            database.run(_FORGET, [(epoch.writer, epoch.epoch, part) for part in done])
        # Positions go before files: should we end between the two, a second import of a file changes nothing.
        if epoch.ended:
            epoch.lock.unlink(missing_ok=True)
        for part in done:
            epoch.parts[part].unlink(missing_ok=True)
    return count


@contextlib.contextmanager
def _alone(directory: Path, wait: float) -> Generator[None]:
    """Hold the directory's importer lock, among processes and threads alike; files' errors become ServingError."""
    try:
        file = os.open(directory / "importer.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unreadable(directory, error) from error
    try:
        give_up = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise ServingError("overloaded", "another import of the journal is still under way") from None
                time.sleep(0.01)
        yield
    except OSError as error:
        raise _unreadable(directory, error) from error
    finally:
        os.close(file)


def _unreadable(directory: Path, error: OSError) -> ServingError:
    return ServingError("bug", f"the journal in {directory} cannot be imported: {error.strerror}")


class Importer:
    """Imports the journal in `directory` into the ledger at `url` (sqlite:///PATH or postgresql://...).

    Rows are keyed by (writer, epoch, sequence) and positions are stored in the rows' own
    transaction, so nothing is entered twice and a database that is away only delays. What an
    ended writer left open is closed as `gateway_lost`; files imported to their end are deleted.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._url = url
        self._trouble = ""

    def health(self) -> Health:
        """Not ok while `run` cannot reach the database."""
        return Health(not self._trouble, self._trouble)

    def import_now(self, wait: float = 10.0, upgrade: bool = True) -> int:
        """Import what is there and return the number of rows; safe beside a running server and other threads.

        upgrade: make or upgrade the tables where that is needed, in a child process, which takes a while; without
        it the rows then stay in the journal.

        Raises ServingError: unreachable (database away), overloaded (another import ran
        longer than `wait` seconds), conflict (ledger of a newer version), bad_request (URL),
        bug (the journal's files cannot be read).
        """
        if not self._directory.is_dir():
            return 0
        with _alone(self._directory, wait), contextlib.closing(_connect(self._url)) as database:
            if upgrade:
                _bring_up_to_date(database, self._url)
            elif _revision(database) != REVISION:
                return 0
            return _import_all(database, self._directory)

    async def run(self) -> None:
        """Import once a second while there is news, in a child process that lives only then; ends when cancelled.

        Cancel it after the journal's `aclose`: the child makes a last pass before it ends.
        """
        seen: tuple[tuple[str, int], ...] | None = ()
        pause = EVERY
        while True:
            await asyncio.sleep(pause)
            if self._sizes() == seen:
                continue
            try:
                seen = await self._attend()
            except OSError as error:
                _log.error("the ledger's importer could not be started: %s", error.strerror)
                seen = None
            pause = EVERY if seen is not None else min(pause * 2, 30.0)

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes of the journal's files: the importer has news when they have changed."""
        try:
            with os.scandir(self._directory) as entries:
                return tuple(sorted((entry.name, entry.stat().st_size) for entry in entries if _NAME.match(entry.name)))
        except FileNotFoundError:  # no journal yet, or a file deleted between its listing and its stat
            return ()

    async def _attend(self) -> tuple[tuple[str, int], ...] | None:
        """Run the child until there is no more news; returns the sizes then, or None if it ended by itself."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trunkcall.store.importer",
            str(self._directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the server; this child ends after it
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            # On stdin, as a command line shows a URL's password to everyone; its end tells the child to end.
            child.stdin.write(self._url.encode() + b"\n")
            sizes, quiet = self._sizes(), 0
            while line := await child.stdout.readline():
                self._tell(line.decode(errors="replace").strip())
                before, sizes = sizes, self._sizes()
                quiet = quiet + 1 if sizes == before and not self._trouble else 0
                if quiet >= _LINGER:
                    return sizes
            _log.error("the ledger's importer ended unasked; it is started again")
            return None
        finally:
            child.stdin.close()
            try:
                async with asyncio.timeout(10.0):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            _log.error("%s; rows wait in the journal", trouble)
        elif self._trouble and not trouble:
            _log.warning("the ledger's database answers again")
        self._trouble = trouble


def _main(directory: Path) -> None:
    """The child: a pass per EVERY seconds and a line about each (empty, or the trouble), until stdin ends."""
    # A service manager that ends all processes at once must not cost the last pass.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Answers come first: the journal holds the rows as long as it takes.
    os.nice(5)
    url = sys.stdin.readline().strip()
    logging.basicConfig(format="%(name)s: %(message)s")
    database: _Database | None = None
    ending = False
    while True:
        trouble = ""
        try:
            with _alone(directory, 10.0):
                if database is None:
                    database = _connect(url)
                    _bring_up_to_date(database, url)
                _import_all(database, directory)
        except ServingError as error:
            trouble = error.message
            if database is not None:
                database.close()
                database = None
        if ending:
            break
        with contextlib.suppress(BrokenPipeError):
            print(trouble, flush=True)
        ending = bool(select.select([sys.stdin], [], [], EVERY)[0])
        if ending:
            # A killed server's pipe may close a moment before its journal's lock.
            time.sleep(0.1)
    if database is not None:
        database.close()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
