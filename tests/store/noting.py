"""What the store's tests share: meters, a journal in use, and the rows that came of it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.store.database import connect, sqlite_path
from trunkcall.store.importer import Importer
from trunkcall.store.journal import Close, FileJournal, Open, Row
from trunkcall.store.rollups import CELL, COUNTED, SUMS, Changes, Counted


def meter(name: str, **given: Any) -> Meter:
    made = Meter(name, model="pocket", protocol="openai", stream=True, key="alice")
    made.replica = "pocket-1"
    for key, value in given.items():
        setattr(made, key, value)
    return made


def finished(name: str, completion: int = 7, **given: Any) -> Meter:
    made = meter(name, **{"usage": Usage(5, completion, 2), "finish": "stop", "status": 200, "attempts": 1, **given})
    made.progress(3)
    return made


def written(journal: Path, kind: str = "") -> int:
    """How many whole rows there are in a journal's files, of one kind (open, progress, close) or of all."""
    lines = b"".join(path.read_bytes() for path in sorted(journal.glob("*.jsonl"))).split(b"\n")[:-1]
    return sum(line.startswith(b'["' + kind.encode()) for line in lines)


NOON = time.time() // 86400 * 86400 - 43200.0
"""Yesterday's, in UTC."""


class Store:
    """A journal directory and a ledger."""

    def __init__(self, journal: Path, url: str) -> None:
        self.journal = journal
        self.url = url
        self.importer = Importer(journal, url)

    @property
    def database(self) -> Path:
        found = sqlite_path(self.url)
        assert found is not None
        return found

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with contextlib.closing(connect(self.url)) as database:
            return database.query(statement, parameters)

    def rows(self, columns: str = "*") -> list[tuple[Any, ...]]:
        return self.query(f"SELECT {columns} FROM requests ORDER BY epoch, sequence")

    def run(self, statement: str) -> None:
        with contextlib.closing(connect(self.url)) as database:
            database.run(statement, [()])

    def run_all(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        with contextlib.closing(connect(self.url)) as database:
            database.run(f"{into} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    def write_part(self, part: int, rows: Sequence[Row], torn: bytes = b"", name: str = "w.e") -> Path:
        """A part of a writer that is gone (it has no lock)."""
        self.journal.mkdir(exist_ok=True)
        path = self.journal / f"{name}.{part:06d}.jsonl"
        path.write_bytes(msgspec.json.Encoder().encode_lines(rows) + torn)
        return path

    def check_rollups(self) -> None:
        """The sums are what the requests that have ended come to."""
        changes = Changes()
        changes.add(Counted(*row) for row in self.query(f"SELECT {', '.join(COUNTED)} FROM requests WHERE closed"))
        size = len(CELL)
        rows = self.query(f"SELECT {', '.join((*CELL, *SUMS))} FROM rollups ORDER BY {', '.join(CELL)}")
        found = {row[:size]: row[size:] for row in rows if any(row[size:])}
        expected = changes.cells()
        assert list(found) == list(expected)
        for cell, sums in expected.items():
            assert [float(number) for number in found[cell]] == pytest.approx([float(number) for number in sums]), cell


def a_close(sequence: int, **changed: Any) -> Close:
    row = Close(
        sequence=sequence, id=f"r{sequence}", model="a", replica="a-1", protocol="openai", key="alice", stream=True,
        opened_at=NOON + sequence, prompt_tokens=10, completion_tokens=20, cached_tokens=None, first_token_ms=5.0,
        total_ms=50.0, finish="stop", error="", status=200, dropped="", attempts=1, estimated=False,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changed)


def an_open(sequence: int, **changed: Any) -> Open:
    return msgspec.structs.replace(Open(sequence, f"r{sequence}", "a", "a-1", "openai", "alice", True, NOON), **changed)


@contextlib.contextmanager
def living(journal: Path, name: str = "w.e") -> Iterator[None]:
    """While it is held, that writer lives."""
    journal.mkdir(exist_ok=True)
    with (journal / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end(journal: FileJournal) -> None:
    asyncio.run(journal.aclose())


STREAMING = """
import sys, time
from pathlib import Path
from store.noting import finished, meter
from trunkcall.store.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
wait, windows = journal._ending.wait, []
def window(seconds):
    windows.append(seconds)
    return wait(seconds)
journal._ending.wait = window
one = meter("live"); journal.open(one)
for number in range(10):
    journal.close(finished(str(number)))
while True:
    one.progress(); print(one.chunks, len(windows), max(windows, default=0), flush=True); time.sleep(0.002)
"""


def start_streaming(directory: Path) -> subprocess.Popen[bytes]:
    """A process that notes ten whole requests and a stream.

    It prints the stream's count as it grows, how many windows had begun by then, and the longest that one was to last.
    """
    return subprocess.Popen(
        [sys.executable, "-c", STREAMING, str(directory)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
    )
