"""The ledger's database as its driver sees it, SQLite or PostgreSQL.

It costs 1 MB of memory and 0.02 s of start; SQLAlchemy, which the migrations use, 18 and 0.3.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from trunkcall.core.errors import ServingError

PATIENCE: Final = 5.0
"""Seconds to wait for a locked database, or for one that does not accept connections."""
_LOST: Final = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""libpq's: a PostgreSQL whose machine is gone fails after 20 s instead of hours."""


class Database(Protocol):
    """A connection in the driver's own terms; statements mark their parameters with `?` and suit both databases.

    Use it from the thread that connected. Every method raises ServingError (unreachable) when the database is away,
    locked for longer than PATIENCE or full; the connection may be useless after that: close it and connect anew.
    `floor(double)` can be called in statements on both.
    """

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        ...

    def run(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement that gives nothing, once for each row of parameters."""
        ...

    def blocks(self, statement: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows that a statement gives, `size` at a time; within `snapshot` only."""
        ...

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """All that is run in the block, or nothing of it; not nested."""
        ...

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """What is read in the block is of one moment; not nested."""
        ...

    def close(self) -> None:
        """Give the connection up; never fails."""
        ...


class _Driver:
    """A DB-API connection in autocommit mode, seen as a Database."""

    def __init__(
        self, connection: Any, failure: type[Exception], *, write: str, read: str, mark: str, named: bool
    ) -> None:
        self._connection = connection
        self._failure = failure
        self._write = write
        self._read = read
        self._mark = mark
        self._named = named

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except self._failure as error:
            raise away(error) from error

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return self._connection.execute(statement.replace("?", self._mark), parameters).fetchall()

    def run(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._told(), contextlib.closing(self._connection.cursor()) as cursor:
            cursor.executemany(statement.replace("?", self._mark), rows)

    def blocks(self, statement: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        # A cursor without a name would bring the whole result here at once.
        made = self._connection.cursor("blocks") if self._named else self._connection.cursor()
        with self._told(), contextlib.closing(made) as cursor:
            cursor.execute(statement)
            while rows := cursor.fetchmany(size):
                yield rows

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        return self._between(self._write)

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        return self._between(self._read)

    @contextlib.contextmanager
    def _between(self, begin: str) -> Generator[None]:
        with self._told():
            self._connection.execute(begin)
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


def away(error: Exception) -> ServingError:
    """The error that is told for a driver's."""
    lines = str(error).splitlines() or [type(error).__name__]
    return ServingError("unreachable", f"the ledger's database does not answer: {lines[0]}")


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///PATH` URL; None for another database."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def connect(url: str) -> Database:
    """A connection to a `sqlite:///PATH` (made when it is not there) or `postgresql://` database, of any revision.

    Raises ServingError: unreachable, and bad_request for another URL or a driver that is not installed.
    """
    path = sqlite_path(url)
    if path is not None:
        return _connect_sqlite(path)
    if not url.startswith(("postgresql://", "postgresql+psycopg://")):
        raise ServingError("bad_request", "store must be a sqlite:///PATH or postgresql:// URL")
    try:
        import psycopg
    except ImportError as error:
        raise ServingError("bad_request", "a PostgreSQL store needs `pip install 'trunkcall[postgres]'`") from error
    place, _, path = url.partition("://")[2].partition("/")
    if place.count("@") > 1 or "@" in path:
        raise _not_encoded()
    limits: dict[str, Any] = {"connect_timeout": int(PATIENCE), **_LOST}
    try:
        connection = psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True, **limits)
    except psycopg.ProgrammingError as error:
        raise _not_encoded() from error
    except psycopg.Error as error:
        raise away(error) from error
    read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    return _Driver(connection, psycopg.Error, write="BEGIN", read=read, mark="%s", named=True)


def _not_encoded() -> ServingError:
    """What the driver would say quotes the URL, and with it parts of the password."""
    return ServingError("bad_request", "store is no valid URL; what is special in its password must be percent-encoded")


def _connect_sqlite(path: Path) -> Database:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # SQLite would make it readable for everybody; what it puts beside it gets the same mode.
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    except (sqlite3.Error, OSError) as error:
        raise away(error) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit must be on the disk before the journal file that it came from is deleted.
        connection.execute("PRAGMA synchronous = FULL")
        # SQLite has it only where it was built with its mathematical functions.
        connection.create_function("floor", 1, math.floor, deterministic=True)
    except sqlite3.Error as error:
        connection.close()
        raise away(error) from error
    return _Driver(connection, sqlite3.Error, write="BEGIN IMMEDIATE", read="BEGIN", mark="?", named=False)
