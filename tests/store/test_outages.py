"""A store that is away while a server serves: answers go on, nothing is lost, and it is said."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Server, eventually
from store.noting import Store
from store.postgresql import Cluster

from trunkcall.store.ledger import usage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

AWAY = float(os.environ.get("TRUNKCALL_TEST_OUTAGE", "10"))
"""Seconds that the store is away."""


class Asking:
    """Clients that ask until they are told to stop, and count their answers."""

    def __init__(self, server: Server) -> None:
        self.answers = 0
        self.slowest = 0.0
        self.failures: list[Any] = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            began = time.monotonic()
            try:
                status, _, answer = self._server.chat("quick", "one two three")
            except OSError as error:
                self.failures.append(error)
                return
            if status != 200:
                self.failures.append(answer)
            self.answers += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


def trouble(server: Server) -> str:
    ready = server.get("/ready")
    return "" if ready["status"] == "ready" else str(ready["reasons"])


def go_through(
    server: Server, store: Store, away: Callable[[], contextlib.AbstractContextManager[None]], said: str
) -> None:
    """Ask before, during and after an outage; each answer is in the ledger once."""
    with Asking(server) as clients:
        eventually(lambda: clients.answers > 50, 60)
        eventually(lambda: usage(store.url).total.requests, 60, 0.1)
        assert trouble(server) == ""
        with away():
            before = clients.answers
            began = time.monotonic()
            eventually(lambda: said in trouble(server), 60)
            time.sleep(max(AWAY - (time.monotonic() - began), 0))
            during = clients.answers - before
        eventually(lambda: trouble(server) == "", 60, 0.1)
    assert clients.failures == []
    # Nor has anybody waited for the 5 s that SQLite waits for a lock.
    assert during > AWAY * 3
    assert clients.slowest < 5
    eventually(lambda: store.query("SELECT count(*) FROM requests") == [(clients.answers,)], 60, 0.1)
    assert store.query("SELECT count(DISTINCT id), sum(completion_tokens) FROM requests") == [
        (clients.answers, clients.answers * 3)
    ]
    store.check_rollups()
    assert server.stop() == 0


def test_postgresql_is_stopped(cluster: Cluster, migrated: str, serve: Callable[..., Server]) -> None:
    url = cluster.database(migrated)
    server = serve("--no-pocket", "--model", "quick=debug", env={"TRUNKCALL_STORE": url})

    @contextlib.contextmanager
    def stopped() -> Iterator[None]:
        cluster.stop()
        try:
            yield
        finally:
            cluster.start()

    go_through(server, Store(server.home / "journal", url), stopped, "ledger")


def test_sqlite_is_locked_by_another_process(serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "quick=debug")
    path = server.home / "ledger.db"

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        holder = sqlite3.connect(path, isolation_level=None, timeout=10)
        holder.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            holder.execute("ROLLBACK")
            holder.close()

    go_through(server, Store(server.home / "journal", f"sqlite:///{path}"), locked, "locked")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(where)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_the_disk_is_full(small_disk: Path, serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "quick=debug", home=small_disk / "home")

    @contextlib.contextmanager
    def full() -> Iterator[None]:
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        try:
            yield
        finally:
            filler.unlink()

    go_through(server, Store(server.home / "journal", f"sqlite:///{server.home / 'ledger.db'}"), full, "journal")
