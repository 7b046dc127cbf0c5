"""A `trunkcall as` of FastChat's OpenAI server, or a web server, in a child process, and plain HTTP to it, for tests."""

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
from typing import Any
from urllib.parse import urlsplit

from running import eventually


class Api:
    """Plain HTTP to a listener."""

    def __init__(self, url: str) -> None:
        self.url = url

    def raw(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        split = urlsplit(self.url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        status, _, data = self.raw("POST", path, body, headers)
        return status, json.loads(data)

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        status, _, data = self.raw("GET", path, headers=headers)
        return status, json.loads(data)

    def chat(self, model: str, **fields: Any) -> tuple[int, Any]:
        return self.post(
            "/v1/chat/completions",
            {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], **fields},
        )

    def frames(self, path: str, body: Any) -> list[str]:
        status, headers, data = self.raw("POST", path, body)
        assert status == 200, data
        assert headers["content-type"] == "text/event-stream"
        return [frame.removeprefix("data: ") for frame in data.decode().split("\n\n") if frame.startswith("data: ")]

    def ids(self) -> list[str]:
        return [card["id"] for card in self.get("/v1/models")[1]["data"]]


@contextmanager
def started(
    home: Path, *arguments: str, env: dict[str, str] | None = None, command: str = "openai_api_server"
) -> Iterator[Api]:
    log = home / "log"
    home.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "trunkcall", "as", f"fastchat.serve.{command}", "--host", "127.0.0.1", "--port", "0", *arguments],
            stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "TRUNKCALL_HOME": str(home), **(env or {})},
        )  # fmt: skip
    try:
        found = eventually(lambda: _url(process, log), 30)
        yield Api(found)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise
        assert "Traceback" not in log.read_text(), log.read_text()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    found = re.search(r"(?:ready at|Open) +(https?://\S+)", log.read_text())
    assert found or process.poll() is None, log.read_text()
    return found[1] if found else ""
