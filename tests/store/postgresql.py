"""A private PostgreSQL of the distribution's packages, for the store's tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import reserve


class Cluster:
    """A PostgreSQL server of our own on a free port; its databases are made by `database`."""

    def __init__(self, where: Path, binaries: Path, user: str) -> None:
        self._where, self._binaries, self._user = where, binaries, user
        self._numbers = itertools.count(1)
        # Held while the server is stopped too.
        self.port = reserve()
        port = self.port.getsockname()[1]
        self.server = f"postgresql://{user}@127.0.0.1:{port}"
        self._run("initdb", "-D", str(where / "data"), "-A", "trust", "-U", user, "--no-sync")
        with (where / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n")

    def _run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        as_user = ["runuser", "-u", self._user, "--"] if os.getuid() == 0 else []
        command = [*as_user, str(self._binaries / program), *arguments]
        with (self._where / "output").open("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self._where, timeout=120, check=False)
            output.seek(0)
            assert done.returncode == 0, output.read()

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._where / "data"), "-w", "-l", str(self._where / "data" / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._where / "data"), "-w", "-m", "immediate", "stop")

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def database(self, template: str = "template1") -> str:
        """A new database's URL."""
        name = f"ledger_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"{self.server}/{name}"

    def freeze(self) -> None:
        """Stop all of its processes, so that they answer nothing and close nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        main = int((self._where / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in [main, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A server that runs; skips the test where there is none to run."""
    pytest.importorskip("psycopg", reason="needs the extra trunkcall[postgres]")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (installed[-1] if installed else None)
    if initdb is None:
        pytest.skip("needs PostgreSQL's server binaries (Debian: postgresql)")
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    # Not pytest's directory: the server's user may not enter it.
    where = Path(subprocess.check_output(["mktemp", "-d", "/tmp/trunkcall-postgres-XXXXXX"], text=True).strip())
    try:
        if os.getuid() == 0:
            shutil.chown(where, user)
        made = Cluster(where, Path(initdb).resolve().parent, user)
        with made.port:
            made.start()
            try:
                yield made
            finally:
                made.stop()
    finally:
        shutil.rmtree(where)
