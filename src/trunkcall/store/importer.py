"""The importer: moves what the journal holds into the ledger's database, each row exactly once.

A server runs it as a child process (`python -m trunkcall.store.importer`): in a thread, its CPU time would come out of
the event loop's share of the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health
from trunkcall.store.database import Database, connect
from trunkcall.store.entering import Entry, epoch_number
from trunkcall.store.journal_files import NAME, Epoch, find_epochs, read_blocks
from trunkcall.store.retention import prune
from trunkcall.store.revision import REVISION, bring_up_to_date, revision

_log = logging.getLogger("trunkcall.importer")

EVERY: Final = 1.0
"""Seconds between looks at the journal."""
_LINGER: Final = 30
"""Looks without news after which the child process ends, and gives its memory back."""
_SILENCE: Final = 30.0
"""Seconds without a word after which the child is taken to hang on its database, and is started again."""
_PRUNE_EVERY: Final = 3600.0
"""Seconds between looks for what is older than the retention."""
_FOREVER: Final = float("inf")
_BLOCKS: Final = 32
"""Blocks of a file in one transaction: each cell of the sums is written once in it."""

_POSITION: Final = (
    "INSERT INTO journal_positions (writer, epoch, part, position) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (writer, epoch, part) DO UPDATE SET position = excluded.position"
)
_LOCK: Final = "UPDATE journal_positions SET position = position WHERE writer = ? AND epoch = ?"
_FORGET: Final = "DELETE FROM journal_positions WHERE writer = ? AND epoch = ? AND part = ?"

_Alive = Callable[[], None]


def _import_part(database: Database, epoch: Epoch, number: int, part: int, position: int, alive: _Alive) -> int:
    """Import one file from a position to its last whole line; returns the number of rows."""
    count = 0
    blocks = read_blocks(epoch.parts[part], position)
    for block in blocks:
        with database.transaction():
            # First of all, as it locks: the transaction of a killed importer may still be about to end.
            database.run(_POSITION, [(epoch.writer, epoch.epoch, part, block[1])])
            entry = Entry(database, number)
            for rows, end in itertools.chain((block,), itertools.islice(blocks, _BLOCKS - 1)):
                entry.enter(rows)
                database.run(_POSITION, [(epoch.writer, epoch.epoch, part, end)])
                count += len(rows)
            entry.finish()
        alive()
    return count


def _import_all(database: Database, directory: Path, alive: _Alive) -> int:
    """One pass over the directory; returns the number of rows."""
    positions = {
        (writer, epoch, part): position
        for writer, epoch, part, position in database.query(
            "SELECT writer, epoch, part, position FROM journal_positions"
        )
    }
    count = 0
    for epoch in find_epochs(directory):
        parts = list(epoch.parts)
        number = epoch_number(database, epoch.writer, epoch.epoch)
        for part in parts:
            position = positions.get((epoch.writer, epoch.epoch, part), 0)
            count += _import_part(database, epoch, number, part, position, alive)
        # The last part of a living writer grows; the others will not.
        done = parts if epoch.ended else parts[:-1]
        if not done:
            continue
        if epoch.ended:
            with database.transaction():
                database.run(_LOCK, [(epoch.writer, epoch.epoch)])
                entry = Entry(database, number)
                entry.close_orphans()
                entry.finish()
            epoch.lock.unlink(missing_ok=True)
        for part in done:
            epoch.parts[part].unlink(missing_ok=True)
        _sync(directory)
        # Positions go last: while a file can come back, it is known how much of it is entered. Its rows alone could
        # not tell: retention may have taken them.
        database.run(_FORGET, [(epoch.writer, epoch.epoch, part) for part in done])
    return count


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def importing_alone(directory: Path, wait: float = 10.0) -> Generator[None]:
    """Hold the directory's importer lock, among processes and threads alike; nothing is imported meanwhile.

    Raises ServingError: overloaded when another held it for `wait` seconds, bug for errors of the journal's files.
    """
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
    While it runs, single requests older than `retention` seconds are deleted from the ledger.
    """

    def __init__(self, directory: Path, url: str, retention: float = _FOREVER) -> None:
        self._directory = directory
        self._url = url
        self._retention = retention
        self._trouble = ""
        self._running = False
        self._wake = asyncio.Event()
        self._child: asyncio.StreamWriter | None = None
        self._asked = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def health(self) -> Health:
        """Not ok while `run` cannot reach the database; rows wait in the journal then."""
        return Health(not self._trouble, self._trouble)

    @property
    def waiting(self) -> int:
        """Bytes of the journal's files, which go when the ledger has them."""
        return sum(size for _, size in self._sizes())

    def keep(self, retention: float) -> None:
        """Have another retention from now on, in seconds."""
        self._retention = retention
        self._order()

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
        with importing_alone(self._directory, wait), contextlib.closing(connect(self._url)) as database:
            if upgrade:
                bring_up_to_date(database, self._url)
            elif revision(database) != REVISION:
                return 0
            return _import_all(database, self._directory, lambda: None)

    async def catch_up(self, limit: float = 10.0) -> None:
        """Wait until what the journal's files hold now has been imported, or could not be; `limit` seconds at most."""
        if not self._running:
            return
        self._asked += 1
        imported: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = self._asked, imported
        self._waiting.append(asked)
        self._order()
        self._wake.set()
        try:
            async with asyncio.timeout(limit):
                await imported
        except TimeoutError:
            _log.warning("the ledger's importer is behind by more than %.0f s", limit)
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(asked)

    async def run(self) -> None:
        """Import once a second while there is news, in a child process that lives only then; ends when cancelled.

        Cancel it after the journal's `aclose`: the child makes a last pass before it ends.
        """
        self._running = True
        try:
            await self._watch()
        finally:
            self._running = False
            self._passed(self._asked)

    async def _watch(self) -> None:
        seen: tuple[tuple[str, int], ...] | None = ()
        pause = EVERY
        prune_at = time.monotonic() + _PRUNE_EVERY
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            old = time.monotonic() >= prune_at and self._directory.is_dir()
            if self._sizes() == seen and not old:
                self._passed(self._asked)
                continue
            try:
                seen = await self._attend()
            except OSError as error:
                self._tell(f"the ledger's importer could not be started: {error.strerror}")
                seen = None
            if seen is not None:
                pause, prune_at = EVERY, time.monotonic() + _PRUNE_EVERY
            else:
                pause = min(pause * 2, 30.0)

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes of the journal's files: the importer has news when they have changed."""
        try:
            with os.scandir(self._directory) as entries:
                return tuple(sorted((entry.name, entry.stat().st_size) for entry in entries if NAME.match(entry.name)))
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
            self._child = child.stdin
            self._order()
            sizes, quiet = self._sizes(), 0
            async with asyncio.timeout(_SILENCE) as silence:
                while line := await child.stdout.readline():
                    silence.reschedule(asyncio.get_running_loop().time() + _SILENCE)
                    answered, space, trouble = line.decode(errors="replace").strip("\n").partition(" ")
                    if not space:
                        continue
                    self._tell(trouble)
                    self._passed(int(answered))
                    before, sizes = sizes, self._sizes()
                    quiet = quiet + 1 if sizes == before and not trouble else 0
                    if quiet >= _LINGER:
                        return sizes
            _log.error("the ledger's importer ended unasked; it is started again")
            return None
        except TimeoutError:
            self._tell(f"the ledger's database does not answer: nothing came of it for {_SILENCE:.0f} s")
            child.kill()
            return None
        finally:
            self._child = None
            child.stdin.close()
            try:
                async with asyncio.timeout(10.0):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()

    def _order(self) -> None:
        if self._child is not None and not self._child.is_closing():
            self._child.write(f"{self._asked} {self._retention!r}\n".encode())

    def _passed(self, answered: int) -> None:
        for asked, imported in self._waiting:
            if asked <= answered and not imported.done():
                imported.set_result(None)

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            _log.error("%s; rows wait in the journal", trouble)
        elif self._trouble and not trouble:
            _log.warning("the ledger's database answers again")
        self._trouble = trouble


class _Orders:
    """What the server says on stdin: the URL, then `NUMBER RETENTION` whenever it wants a pass at once."""

    def __init__(self) -> None:
        self._data = b""
        self.ended = False
        self.number = "0"
        self.retention = _FOREVER

    def line(self) -> str:
        """The next line, however long it takes; empty at the end."""
        while b"\n" not in self._data and not self.ended:
            self._read()
        line, _, self._data = self._data.partition(b"\n")
        return line.decode()

    def wait(self, limit: float) -> None:
        """Take in the orders that are there, or the first that comes within `limit` seconds."""
        # The first order may have come with the URL.
        if b"\n" not in self._data and select.select([0], [], [], limit)[0]:
            self._read()
        while b"\n" in self._data:
            self.number, _, retention = self.line().partition(" ")
            self.retention = float(retention)

    def _read(self) -> None:
        data = os.read(0, 65536)
        self._data += data
        self.ended = not data


def _main(directory: Path) -> None:
    """The child: a pass per EVERY seconds and `NUMBER TROUBLE` about each, until stdin ends; empty lines meanwhile."""
    # A service manager that ends all processes at once must not cost the last pass.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Answers come first: the journal holds the rows as long as it takes.
    os.nice(5)
    orders = _Orders()
    url = orders.line()
    orders.wait(EVERY)
    logging.basicConfig(format="%(name)s: %(message)s")
    database: Database | None = None
    ending = False
    prune_at = time.monotonic()
    while True:
        trouble = ""
        try:
            with importing_alone(directory):
                if database is None:
                    database = connect(url)
                    bring_up_to_date(database, url, lambda: _say(""))
                _import_all(database, directory, lambda: _say(""))
            if time.monotonic() >= prune_at and not ending and prune(database, time.time(), orders.retention):
                prune_at = time.monotonic() + _PRUNE_EVERY
        except ServingError as error:
            trouble = error.message
            if database is not None:
                database.close()
                database = None
        if ending:
            break
        _say(f"{orders.number} {trouble}")
        orders.wait(EVERY)
        ending = orders.ended
        if ending:
            # A killed server's pipe may close a moment before its journal's lock.
            time.sleep(0.1)
    if database is not None:
        database.close()


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
