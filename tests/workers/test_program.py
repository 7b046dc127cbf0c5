"""The frame of a worker's program: a real child without a link, which reports on stdout."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import msgspec
from trunkcall.core.errors import ServingError
from trunkcall.workers.program import run

class Settings(msgspec.Struct):
    do: str

def work(settings, link):
    exec(settings.do)

run("the.program", Settings, work)
"""


@pytest.mark.parametrize(
    ("settings", "code", "reported", "logged"),
    [
        ({"do": "pass"}, 0, "", ""),
        ({"do": "raise ServingError('unsupported', 'take another', detail='in full')"}, 1, "take another", "in full\n"),
        ({"do": "1 / 0"}, 1, "ZeroDivisionError: division by zero", "Traceback"),
        ({"do": "msgspec.json.decode(b'{')"}, 1, "DecodeError: Input data was truncated", "Traceback"),
        ({"od": ""}, 1, "the.program needs its settings as JSON: Object missing required field `do`", ""),
        (None, 1, "the.program needs its settings as JSON: list index out of range", ""),
        # A thread that never ends would hold up an interpreter that ends in order.
        ({"do": "import threading; threading.Thread(target=threading.Event().wait).start()"}, 0, "", ""),
    ],
)
def test_the_parent_is_told_what_went_wrong(
    settings: dict[str, str] | None, code: int, reported: str, logged: str
) -> None:
    words = [] if settings is None else [json.dumps(settings)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert (json.loads(done.stdout)["error"] if reported else done.stdout) == reported
    assert done.stderr.startswith(logged) if logged else not done.stderr
