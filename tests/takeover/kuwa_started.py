"""A `trunkcall as` that serves an executor, and a call to it, for tests."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from old_command import old_command


@contextmanager
def started(home: Path, *arguments: str, cwd: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An executor of `trunkcall as` on a free port of loopback, and its URL."""
    with old_command(home, *arguments, "--host", "127.0.0.1", cwd=cwd) as child:
        yield child.process, child.ready()


def ask(url: str, said: str = "hi", path: str = "/chat", **fields: str) -> tuple[int, str]:
    body = urlencode({"input": json.dumps([{"isbot": False, "msg": said}]), **fields})
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.request("POST", path, body, {"content-type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
