"""A `trunkcall as text-generation-launcher` in a child process, and plain HTTP to it, for tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from running import eventually

MOUNTED = [
    {"port": 0, "apis": ["openai", "landing", "tgi"], "options": {"tgi": {"prefix": "/tgi/{model*}", "prefill": True}}}
]
"""For `listen`: TGI's API for each model, beside others."""


class Launched:
    """A `trunkcall as text-generation-launcher` on a port of its own, once it can be asked."""

    def __init__(self, home: Path, port: int, *flags: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "log"
        home.mkdir(parents=True, exist_ok=True)
        words = ["as", "text-generation-launcher", "--hostname", "127.0.0.1", "--port", str(port), *flags]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trunkcall", *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TRUNKCALL_HOME": str(home)},
            )
        try:
            eventually(self._well, 60, 0.05)
        except BaseException:
            self.stop()
            raise

    def _well(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            return ask(self.url, "GET", "/health")[0] == 200
        return False

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise


def ask(
    url: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    split = urlsplit(url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=120)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, split.path + path, sent, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
