"""A worker of ours in a child process, as its parent and its callers see it, for tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from typing import Any
from urllib.parse import urlsplit

from trunkcall.core.models import LaunchSpec
from trunkcall.net.link import VARIABLE


class WorkerChild:
    """A worker that has reported; its output goes to the test's own stderr. always: fields of each request."""

    def __init__(
        self, spec: LaunchSpec, *, env: dict[str, str] | None = None, limit: float = 50, **always: Any
    ) -> None:
        self.spec = spec
        self.always = always
        self.link, theirs = socket.socketpair()
        environment = {**os.environ, **spec.env, **(env or {}), VARIABLE: str(theirs.fileno())}
        self.process = subprocess.Popen(spec.command, pass_fds=(theirs.fileno(),), env=environment)
        theirs.close()
        self.link.settimeout(limit)
        with self.link.makefile("rb") as reports:
            self.report: dict[str, Any] = json.loads(reports.readline() or b"{}")
        self.where = urlsplit(self.report.get("address", ""))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.where.hostname or "", self.where.port, timeout=60)

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
        status, _, body = self.call(path, {**self.always, **fields})
        assert status == 200, body[:300]
        return json.loads(body)

    def chat(self, text: str = "What is the capital of France?", **fields: Any) -> dict[str, Any]:
        return self.ask("/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)

    def stream(self, path: str, **fields: Any) -> list[dict[str, Any]]:
        """The events' data; the last one must be the terminator."""
        status, headers, body = self.call(path, {**self.always, **fields, "stream": True})
        assert status == 200, body[:300]
        assert headers["content-type"].startswith("text/event-stream")
        events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]

    def refusal(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """The error object of a call, of this body or these fields, that must fail; `status` is added."""
        status, _, answer = self.call(path, {**self.always, **fields} if body is None else body, headers)
        assert status >= 400, answer[:300]
        return {**json.loads(answer)["error"], "status": status}

    def send(self, path: str, **fields: Any) -> socket.socket:
        """Send a request and do not wait for the answer."""
        body = json.dumps({**self.always, **fields}).encode()
        sock = socket.create_connection((self.where.hostname, self.where.port), timeout=60)
        sock.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body))
        return sock

    def busy(self) -> int:
        """How many slots are at work."""
        return sum(slot["is_processing"] for slot in json.loads(self.call("/slots")[2]))

    def wait_busy(self, count: int, limit: float = 15.0) -> float:
        """Wait until so many slots are at work; gives the seconds that took."""
        began = time.monotonic()
        while self.busy() != count:
            assert time.monotonic() - began < limit, f"not {count} busy slots after {limit} s"
            time.sleep(0.002)
        return time.monotonic() - began

    def stop(self, number: int = signal.SIGTERM, limit: float = 40.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(limit)
        finally:
            self.process.kill()
            self.process.wait()
            self.link.close()
