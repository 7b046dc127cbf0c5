"""Real llama.cpp hosts in child processes, with the pocket model or one made from it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from trunkcall.core.models import Machine, ModelSettings, Source
from trunkcall.engines.llamacpp import LlamaCpp
from trunkcall.net.link import VARIABLE
from trunkcall.pocket import gguf_path

MACHINE = Machine(2, 8 * 2**30)


class Host:
    """A host that has reported; its output goes to the test's own stderr."""

    def __init__(self, path: Path, **options: Any) -> None:
        settings = ModelSettings(name="tiny", sources=(Source("llamacpp", str(path)),), options=options)
        self.spec = LlamaCpp().plan(settings, MACHINE)
        self.link, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            self.spec.command, pass_fds=(theirs.fileno(),), env={**os.environ, VARIABLE: str(theirs.fileno())}
        )
        theirs.close()
        self.link.settimeout(30)
        with self.link.makefile("rb") as reports:
            self.report: dict[str, str] = json.loads(reports.readline() or b"{}")
        self.where = urlsplit(self.report.get("address", ""))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.where.hostname or "", self.where.port, timeout=20)

    def call(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """POST when there is a body; gives status, lower-case headers and the body."""
        connection = self.connect()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, **fields: Any) -> dict[str, Any]:
        """The answer as an object, which must be 200."""
        status, _, body = self.call(path, fields)
        assert status == 200, body
        return json.loads(body)

    def chat(self, text: str = "What is the capital of France?", **fields: Any) -> dict[str, Any]:
        return self.ask("/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)

    def stream(self, path: str, **fields: Any) -> list[dict[str, Any]]:
        """The events' data; the last one must be the terminator."""
        status, headers, body = self.call(path, {**fields, "stream": True})
        assert status == 200, body
        assert headers["content-type"].startswith("text/event-stream")
        events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]

    def stream_chat(self, text: str = "What is the capital of France?", **fields: Any) -> list[dict[str, Any]]:
        return self.stream("/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)

    def refusal(self, path: str, body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """The error object of a call that must fail; `status` is added."""
        status, _, answer = self.call(path, body, headers)
        assert status >= 400, answer
        return {**json.loads(answer)["error"], "status": status}

    def send(self, path: str, **fields: Any) -> socket.socket:
        """Send a request and do not wait for the answer."""
        body = json.dumps(fields).encode()
        sock = socket.create_connection((self.where.hostname, self.where.port), timeout=20)
        sock.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body))
        return sock

    def busy(self) -> int:
        """How many slots the engine itself says are at work."""
        _, _, body = self.call("/slots")
        return sum(slot["is_processing"] for slot in json.loads(body))

    def wait_busy(self, count: int, limit: float = 10.0) -> float:
        """Wait until so many slots are at work; gives the seconds that took."""
        began = time.monotonic()
        while self.busy() != count:
            assert time.monotonic() - began < limit, f"not {count} busy slots after {limit} s"
        return time.monotonic() - began

    def stop(self, number: int = signal.SIGTERM, limit: float = 10.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(limit)
        finally:
            self.process.kill()
            self.process.wait()
            self.link.close()


@pytest.fixture(scope="session")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model, told that it was made for 32768 tokens: its answers are no use, but they take their time."""
    data = bytearray(gguf_path().read_bytes())
    key = b"llama.context_length"
    at = data.index(key) + len(key) + 4
    struct.pack_into("<I", data, at, 32768)
    path = tmp_path_factory.mktemp("long") / "long.gguf"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def hosts() -> Iterator[Callable[..., Host]]:
    """Starts hosts, one per file and options; all end with the session."""
    running: dict[str, Host] = {}

    def start(path: Path | None = None, **options: Any) -> Host:
        path = path or gguf_path()
        name = f"{path} {options}"
        if name not in running:
            running[name] = Host(path, **options)
            assert running[name].report.get("address"), running[name].report
        return running[name]

    yield start
    for host in running.values():
        host.stop()


@pytest.fixture
def pocket(hosts: Callable[..., Host]) -> Host:
    return hosts(slots=4)


@pytest.fixture
def long(hosts: Callable[..., Host], long_model: Path) -> Host:
    return hosts(long_model, slots=2, context=16384)


@pytest.fixture
def new_host() -> Iterator[Callable[..., Host]]:
    """Starts a host for one test alone."""
    running: list[Host] = []

    def start(path: Path | None = None, **options: Any) -> Host:
        running.append(Host(path or gguf_path(), **options))
        return running[-1]

    yield start
    for host in running:
        host.stop(signal.SIGKILL)
