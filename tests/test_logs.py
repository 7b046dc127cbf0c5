"""What lines of log look like, and that the file of a server in the background stays small."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trunkcall import logs
from trunkcall.core.log import REQUEST


class Asked:
    id = "r1"

    def __init__(self, complete: bool = False) -> None:
        self.complete = complete


def record(message: str, fields: dict[str, Any] | None = None) -> logging.LogRecord:
    found = logging.LogRecord("trunkcall", logging.WARNING, "", 0, message, (), None)
    if fields is not None:
        found.fields = fields
    return found


@pytest.mark.parametrize(
    ("message", "fields", "text", "told"),
    [
        ("plain", None, "plain", {"message": "plain"}),
        ("two\nlines\x1b[31m", None, "two\n    lines\\x1b[31m", {"message": "two\nlines\x1b[31m"}),
        ("half \ud800", None, "half \ud800", {"message": "half \\ud800"}),
        ("request", {"a": "x", "b": "", "n": 1.5, "c": 'q" =\n'}, r'a=x b=- n=1.5 c="q\" =\n"', {"a": "x", "b": "", "n": 1.5}),
    ],
)  # fmt: skip
def test_both_forms(message: str, fields: dict[str, Any] | None, text: str, told: dict[str, Any]) -> None:
    line = logs.TextLines().format(record(message, fields))
    assert line.partition(" WARNING ")[2] == text
    found = json.loads(logs.JsonLines().format(record(message, fields)))
    assert found["level"] == "warning"
    assert "request" not in found
    assert told.items() <= found.items()


def test_a_line_within_a_request_names_it_until_it_is_answered() -> None:
    token = REQUEST.set(Asked())
    try:
        assert json.loads(logs.JsonLines().format(record("x")))["request"] == "r1"
        assert logs.TextLines().format(record("x")).endswith("x (request r1)")
        REQUEST.set(Asked(complete=True))
        assert logs.TextLines().format(record("x")).endswith(" x")
    finally:
        REQUEST.reset(token)


WRITER = """
import sys
from pathlib import Path
from trunkcall import logs
from trunkcall.core.log import log
logs.LARGEST = 5000
logs.start("info", False, Path(sys.argv[1]))
for number in range(1000):
    log.info("line %d", number)
print("printed last")
"""


def write(path: Path) -> list[str]:
    with path.open("ab") as file:
        subprocess.run([sys.executable, "-c", WRITER, str(path)], stdout=file, stderr=file, check=True, timeout=30)
    return sorted(found.name for found in path.parent.iterdir())


def test_a_large_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    assert write(path) == ["server.log", *(f"server.log.{number}" for number in range(1, logs.KEPT + 1))]
    assert all(found.stat().st_size < 5200 for found in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text() for name in ("server.log.2", "server.log.1", "server.log"))
    assert kept.endswith("printed last\n")
    assert os.stat(path).st_mode & 0o077 == 0
    numbers = [int(line.rsplit(" ", 1)[1]) for line in kept.splitlines() if "line" in line]
    assert numbers == list(range(numbers[0], 1000)), "nothing is lost between two files"


def test_a_file_that_cannot_be_put_aside_goes_on(tmp_path: Path) -> None:
    (tmp_path / "server.log.4" / "in the way").mkdir(parents=True)
    assert write(tmp_path / "server.log") == ["server.log", *(f"server.log.{number}" for number in range(1, 5))]
    text = "".join(found.read_text() for found in tmp_path.iterdir() if found.is_file())
    assert text.count("cannot be put aside") == 1
    assert text.count("INFO line ") == 1000
