"""The same ledger on a real PostgreSQL, also while it is stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store.noting import end, finished, meter

from trunkcall.core.errors import ServingError
from trunkcall.store.importer import Importer
from trunkcall.store.journal import FileJournal
from trunkcall.store.ledger import recent, usage

pytestmark = pytest.mark.slow


class Cluster:
    """A PostgreSQL server of our own on a free port."""

    def __init__(self, where: Path, binaries: Path, user: str) -> None:
        self._where, self._binaries, self._user = where, binaries, user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"postgresql://{user}@127.0.0.1:{port}/postgres"
        self._run("initdb", "-D", str(where / "data"), "-A", "trust", "-U", user, "--no-sync")
        with (where / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n")

    def _run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        as_user = ["runuser", "-u", self._user, "--"] if os.getuid() == 0 else []
        command = [*as_user, str(self._binaries / program), *arguments]
        with (self._where / "output").open("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self._where, timeout=60, check=False)
            output.seek(0)
            assert done.returncode == 0, output.read()

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._where / "data"), "-w", "-l", str(self._where / "data" / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._where / "data"), "-w", "-m", "immediate", "stop")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("psycopg", reason="needs the extra trunkcall[postgres]")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(installed[-1]) if installed else None)
    if initdb is None:
        pytest.skip("needs PostgreSQL's server binaries (Debian: postgresql)")
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    # Not pytest's directory: the server's user may not enter it.
    where = Path(subprocess.check_output(["mktemp", "-d", "/tmp/trunkcall-postgres-XXXXXX"], text=True).strip())
    try:
        if os.getuid() == 0:
            shutil.chown(where, user)
        made = Cluster(where, Path(initdb).parent, user)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(where)


def test_the_ledger_on_postgresql(cluster: Cluster, tmp_path: Path) -> None:
    importer = Importer(tmp_path, cluster.url)
    journal = FileJournal(tmp_path)
    live = meter("live\x00", opened_at=86400 * 20000.0)
    live.progress(3)
    journal.open(live)
    done = finished("done", 2**40)
    done.opened_at = 86400 * 20001 - 0.25
    journal.close(done)
    end(journal)

    assert importer.import_now() == 3
    assert importer.import_now() == 0
    rows = recent(cluster.url)
    assert [(row.id, row.error, row.completion_tokens, row.estimated, row.closed) for row in rows] == [
        ("done", "", 2**40, False, True),
        ("live\ufffd", "gateway_lost", 3, True, True),
    ]
    assert [(row.day, row.requests, row.completion_tokens) for row in usage(cluster.url, by=("day",))] == [
        ("2024-10-04", 2, 2**40 + 3)
    ]
    assert len(usage(cluster.url, by=("model", "key", "error"))) == 2


def test_a_database_that_is_away_delays_and_doubles_nothing(cluster: Cluster, tmp_path: Path) -> None:
    importer = Importer(tmp_path, cluster.url)
    journal = FileJournal(tmp_path, part_bytes=1000)
    for number in range(100):
        journal.close(finished(str(number)))
    end(journal)
    cluster.stop()
    with pytest.raises(ServingError) as raised:
        importer.import_now()
    assert raised.value.kind == "unreachable"
    with pytest.raises(ServingError):
        usage(cluster.url)
    cluster.start()
    assert importer.import_now() == 100
    (row,) = usage(cluster.url)
    assert row.requests == 100


def test_two_homes_may_begin_the_same_ledger_at_once(cluster: Cluster, tmp_path: Path) -> None:
    importers: list[Importer] = []
    for name in ("one", "two", "three"):
        journal = FileJournal(tmp_path / name)
        journal.close(finished(name))
        end(journal)
        importers.append(Importer(tmp_path / name, cluster.url))
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(Importer.import_now, importers)) == [1, 1, 1]
    assert sorted(row.id for row in recent(cluster.url)) == ["one", "three", "two"]
