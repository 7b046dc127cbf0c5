"""FastChat itself, as `make env-all` puts it beside the environment, in child processes; for tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from running import eventually, reserved_port

ITS_OWN = Path(sys.prefix) / "fastchat"
FOR_WEB = Path(sys.prefix) / "fastchat-web"
WITHOUT = "FastChat is not installed: `make env-all` puts it into the environment"
HERE = f"127.0.0.1,localhost,{os.environ.get('NO_PROXY', '')}"


def installed() -> bool:
    return ITS_OWN.is_dir() and FOR_WEB.is_dir()


def env(*, web: bool = False) -> dict[str, str]:
    """web: with the pydantic that the web server needs."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [FOR_WEB, ITS_OWN] if web else [ITS_OWN])),
        # The logs of the web server go into the working directory; those of the others only onto their terminal.
        "LOGDIR": "",
        "NO_PROXY": HERE,
        "no_proxy": HERE,
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
        "FASTCHAT_WORKER_HEART_BEAT_INTERVAL": "2",
    }


class Child:
    """A program that listens on `url`."""

    def __init__(self, command: Sequence[str], port: int, folder: Path, environment: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{port}.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
            )

    def listens(self, limit: float = 240.0) -> None:
        eventually(self._listens, limit, 0.1)

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        port = urlsplit(self.url).port
        assert port
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            # The web server waits for its browsers.
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(15)


class Site:
    """Starts programs in a folder and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: list[Child] = []

    def model(self) -> Path:
        """A tiny Llama of random weights that both of us load."""
        place = self.folder / "tinyrand"
        maker = Path(__file__).parents[1] / "engines" / "tiny_llama.py"
        subprocess.run([sys.executable, maker, place, "4096"], check=True, timeout=240, env=env(), capture_output=True)
        return place

    def real(self, program: str, *arguments: str, web: bool = False) -> Child:
        """A program of FastChat."""
        port = reserved_port()
        return self._started([sys.executable, "-m", f"fastchat.serve.{program}", *arguments], port, env(web=web))

    def worker(self, controller: str, *arguments: str, program: str = "model_worker") -> Child:
        """A worker of FastChat that the controller finds."""
        port = reserved_port()
        words = ["--worker-address", f"http://127.0.0.1:{port}", "--controller-address", controller, "--device", "cpu"]
        command = [sys.executable, "-m", f"fastchat.serve.{program}", *words, *arguments]
        return self._started(command, port, env())

    def ours(self, program: str, *arguments: str) -> Child:
        """What stands in for a program of FastChat here."""
        command = [sys.executable, "-m", "trunkcall", "as", f"fastchat.serve.{program}", *arguments]
        return self._started(command, reserved_port(), {**os.environ, "TRUNKCALL_HOME": str(self.folder / "home")})

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program of FastChat that ends by itself."""
        command = [sys.executable, "-m", f"fastchat.serve.{program}", *arguments]
        return subprocess.run(command, env=env(), cwd=self.folder, text=True, capture_output=True, timeout=180)

    def _started(self, command: Sequence[str], port: int, environment: dict[str, str]) -> Child:
        child = Child(command, port, self.folder, environment)
        self._children.append(child)
        return child

    def end(self) -> None:
        for child in self._children:
            if child.process.poll() is None:
                child.process.terminate()
        for child in self._children:
            child.stop()


def ask(url: str, route: str, body: Any = None, limit: float = 120.0) -> Any:
    """The JSON that a controller or a worker answers."""
    split = urlsplit(url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=limit)
    try:
        connection.request("POST", f"{split.path}/{route}", json.dumps(body or {}))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())
    finally:
        connection.close()


def models(controller: str) -> set[str]:
    """What it lists; nothing as long as it does not answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return set(ask(controller, "list_models")["models"])
    return set()


class Stream:
    """An answer of /worker_generate_stream under way."""

    def __init__(self, url: str, model: str, tokens: int) -> None:
        split = urlsplit(url)
        self._connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=120)
        asked = {"model": model, "prompt": "hello", "temperature": 0, "max_new_tokens": tokens, "echo": False}
        self._connection.request("POST", f"{split.path}/worker_generate_stream", json.dumps(asked))
        self._answer = self._connection.getresponse()
        self._seen = b""

    def begun(self) -> None:
        """Wait for the first of its text."""
        while b"\0" not in self._seen:
            piece = self._answer.read1(65536)
            assert piece, self._seen
            self._seen += piece

    def end(self, limit: float = 120.0) -> list[dict[str, Any]]:
        """All its objects, once it has ended."""
        until = time.monotonic() + limit
        try:
            while piece := self._answer.read1(65536):
                self._seen += piece
                assert time.monotonic() < until
        finally:
            self.leave()
        assert self._seen.endswith(b"\0")
        return [json.loads(frame) for frame in self._seen.split(b"\0")[:-1]]

    def leave(self) -> None:
        """Go away, whether it has ended or not."""
        self._answer.close()
        self._connection.close()
