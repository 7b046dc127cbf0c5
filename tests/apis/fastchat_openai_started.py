"""A `trunkcall as` of FastChat's OpenAI server, or a web server, in a child process, and plain HTTP to it, for tests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from old_command import old_command


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
    words = (f"fastchat.serve.{command}", "--host", "127.0.0.1", "--port", "0", *arguments)
    with old_command(home, *words, env=env) as child:
        yield Api(child.ready())
    assert "Traceback" not in child.said, child.said
