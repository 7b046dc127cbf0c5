"""A `trunkcall as` in a child process, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running import eventually


class OldCommand:
    """The child, and the log of what it says."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text()

    def ready(self, limit: float = 50) -> str:
        """The URL at which it says that it is ready."""

        def url() -> str:
            found = re.search(r"(?:ready at|Open) +(https?://\S+)", self.said)
            assert found or self.process.poll() is None, self.said
            return found[1] if found else ""

        return eventually(url, limit)


@contextmanager
def old_command(
    home: Path, *words: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> Iterator[OldCommand]:
    """The child with a home of its own, perhaps not ready yet; ended at the end."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "trunkcall", "as", *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, "TRUNKCALL_HOME": str(home), **(env or {})},
        )
    try:
        yield OldCommand(process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
            raise
