"""The command line as a child process, and a small server that speaks the shapes which it calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trunkcall.home import Home

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The child's environment: a home of its own and no settings of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKCALL_")}
    return {**kept, "TRUNKCALL_HOME": str(tmp_path / "home"), "TERM": "dumb", "COLUMNS": "100"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The child's working directory."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def cli(environ: dict[str, str], work: Path) -> Run:
    """Run `trunkcall` with these arguments to its end; more environment by name."""

    def run(*arguments: str, input: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [sys.executable, "-m", "trunkcall", *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=work,
            env={**environ, **more},
        )
        assert "Traceback" not in found.stderr, found.stderr
        return found

    return run


class Admin(BaseHTTPRequestHandler):
    """Models, usage and chat as Trunkcall's HTTP API has them, kept in the server object."""

    protocol_version = "HTTP/1.1"
    server: AdminServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str) -> None:
        self.answer(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def do_GET(self) -> None:
        if not self.allowed():
            return
        models = self.server.models
        path, _, query = self.path.partition("?")
        if path == "/admin/models":
            self.answer(200, {"models": list(models.values())})
        elif path.startswith("/admin/models/"):
            name = path.removeprefix("/admin/models/")
            if name in models:
                self.answer(200, models[name])
            else:
                self.refuse(404, f"The model {name!r} does not exist.")
        elif path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in models]})
        elif path == "/admin/usage":
            self.server.queries.append(query)
            self.answer(200, {"rows": [{"model": "m", "requests": 3, "prompt_tokens": 12, "seconds": 0.25}]})
        else:
            self.refuse(404, "no such path")

    def do_DELETE(self) -> None:
        if not self.allowed():
            return
        name = self.path.removeprefix("/admin/models/")
        if self.server.models.pop(name, None) is None:
            self.refuse(404, f"The model {name!r} does not exist.")
        else:
            self.answer(200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.allowed():
            return
        if self.path == "/admin/models":
            if body["name"] in self.server.models:
                self.refuse(409, "it is there already")
            else:
                self.server.add(body["name"], body["source"])
                self.answer(201, self.server.models[body["name"]])
            return
        self.server.asked.append(body)
        self.chat(body["messages"][-1]["content"])

    def allowed(self) -> bool:
        if self.server.key and self.headers["authorization"] != f"Bearer {self.server.key}":
            self.refuse(401, "The API key is wrong.")
            return False
        return True

    def chat(self, prompt: str) -> None:
        if prompt == "fail":
            self.refuse(429, "The queue is full.")
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in ("You ", "said ", prompt, "."):
                self.frame({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            if prompt == "break":
                self.close_connection = True
                return
            if prompt == "fault":
                self.frame({"error": {"message": "The engine died."}})
            while prompt == "forever" and not self.server.stopped.wait(0.02):
                self.frame({"choices": [{"index": 0, "delta": {"content": "more "}, "finish_reason": None}]})
            self.frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.raw(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.server.left.set()
            self.close_connection = True

    def frame(self, chunk: Any) -> None:
        self.raw(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def raw(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class AdminServer(ThreadingHTTPServer):
    """A real HTTP server on a free port of loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Admin)
        self.models: dict[str, Any] = {}
        self.asked: list[Any] = []
        self.queries: list[str] = []
        self.key = ""
        self.left = threading.Event()
        self.stopped = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.add("served", "debug")

    def add(self, name: str, source: str) -> None:
        replica = {
            "id": f"{name}/0", "model": name, "source": source, "state": "ready", "in_flight": 1, "slots": 4,
            "address": "http://127.0.0.1:9", "pid": 77, "error": "", "restarts": 0, "generation": 1, "log": [],
            "a_field_of_a_later_version": 1,
        }  # fmt: skip
        self.models[name] = {"name": name, "sources": [source], "waiting": 2, "created": 1, "replicas": [replica]}


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """The small server, running."""
    with AdminServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            running.stopped.set()
            running.shutdown()
            thread.join(30)


@pytest.fixture
def on_home(server: AdminServer, home: Home) -> Iterator[AdminServer]:
    """The small server, noted as the one that runs on the home."""
    with home.lock():
        home.write_server(os.getpid(), server.url)
        yield server
