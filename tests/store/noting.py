"""What the store's tests share: meters, a journal in use, and the rows that came of it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.store.journal import FileJournal


def meter(name: str, **given: Any) -> Meter:
    made = Meter(name, model="pocket", protocol="openai", stream=True, key="alice")
    made.replica = "pocket-1"
    for key, value in given.items():
        setattr(made, key, value)
    return made


def finished(name: str, completion: int = 7) -> Meter:
    made = meter(name, usage=Usage(5, completion, 2), finish="stop", status=200, attempts=1)
    made.progress(3)
    return made


def eventually(true: Callable[[], Any], limit: float = 10.0) -> Any:
    give_up = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < give_up, "it did not come to be"
        time.sleep(0.005)
    return found


def ledger_rows(database: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(f"SELECT {columns} FROM requests ORDER BY writer, epoch, sequence").fetchall()
    finally:
        connection.close()


def end(journal: FileJournal) -> None:
    asyncio.run(journal.aclose())


STREAMING = """
import sys, time
from pathlib import Path
from store.noting import finished, meter
from trunkcall.store.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
one = meter("live"); journal.open(one)
for number in range(10):
    journal.close(finished(str(number)))
while True:
    one.progress(); print(one.chunks, flush=True); time.sleep(0.002)
"""


def start_streaming(directory: Path) -> subprocess.Popen[bytes]:
    """A process that notes ten whole requests and a stream, and prints the stream's count as it grows."""
    return subprocess.Popen(
        [sys.executable, "-c", STREAMING, str(directory)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
    )
