"""A `trunkcall as` that serves an executor, and a call to it, for tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from running import eventually


@contextmanager
def started(home: Path, *arguments: str, cwd: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An executor of `trunkcall as` on a free port of loopback, and its URL."""
    log = home / "log"
    home.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "trunkcall", "as", *arguments, "--host", "127.0.0.1"],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, "TRUNKCALL_HOME": str(home)},
        )
    try:
        url = eventually(lambda: _url(process, log), 30)
        yield process, url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise


def _url(process: subprocess.Popen[str], log: Path) -> str:
    found = re.search(r"ready at (http://\S+)", log.read_text())
    assert found or process.poll() is None, log.read_text()
    return found[1] if found else ""


def ask(url: str, said: str = "hi", path: str = "/chat", **fields: str) -> tuple[int, str]:
    body = urlencode({"input": json.dumps([{"isbot": False, "msg": said}]), **fields})
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request("POST", path, body, {"content-type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
