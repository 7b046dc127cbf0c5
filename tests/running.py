"""A `trunkcall up` in a child process, and plain HTTP to it, for tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Server:
    """The child; `url` is known after wait_ready. As a context it is ready, and ended behind it."""

    def __init__(self, *arguments: str, home: Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.home = home
        self.url = ""
        self.lines: list[str] = []
        command = [sys.executable, "-m", "trunkcall", "up", "--port", "0", "--home", str(home), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_ready(self, limit: float = 50.0) -> None:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            match = re.search(r"(?:Open\s+|is ready at )(https?://\S+)", self.output)
            if match:
                self.url = match[1]
                return
            if self.process.poll() is not None:
                self._reader.join(5)
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output}")
            time.sleep(0.01)
        raise AssertionError(f"not ready after {limit} s:\n{self.output}")

    def __enter__(self) -> Server:
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM, limit: float = 30.0) -> int:
        """Send a signal and wait; gives the exit code."""
        late = False
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                late = True
                self.process.kill()
                self.process.wait(15)
        # Its importer, which makes a last pass after a kill, has the same stdout.
        self._reader.join(limit)
        if self.process.stdout is not None and not self._reader.is_alive():
            self.process.stdout.close()
        if late:
            raise AssertionError(f"did not end within {limit} s:\n{self.output}")
        return self.process.returncode

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with lower-case names, body."""
        split = urlsplit(self.url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Like `request` with JSON decoded."""
        status, found, data = self.request("POST", path, body, headers)
        return status, found, json.loads(data)

    def get(self, path: str) -> Any:
        """The JSON at a path; the status must be 200."""
        status, _, data = self.request("GET", path)
        assert status == 200, data
        return json.loads(data)

    def chat(self, model: str, text: str, **more: Any) -> tuple[int, dict[str, str], Any]:
        """One chat question."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", body)


def eventually(check: Any, limit: float = 30.0, pause: float = 0.01) -> Any:
    """The first true value that `check()` gives within `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError(f"not so within {limit} s")


def reserved_port() -> int:
    """A port of loopback that nobody listens on, and that only who names it gets, as long as this process lives."""
    _reserved.append(reserve())
    return int(_reserved[-1].getsockname()[1])


def reserve() -> socket.socket:
    """Holds a port of loopback until it is closed: the system gives it to nobody else, who names it can listen there."""
    held = socket.socket()
    # Programs that set either of the two can bind it beside.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


_reserved: list[socket.socket] = []


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
