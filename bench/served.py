"""A `trunkcall up` with one model named `m`, and what it says of the replica that it starts for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import time
import urllib.parse
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gateways import Unavailable
from bench.processes import Child, cpu_seconds, free_port

START = 300.0
"""Seconds; vLLM on a busy CPU takes one of these minutes."""


@dataclass(frozen=True)
class Replica:
    """port: of the engine's own listener, 0 as long as nobody knows it; pid: of the child that holds or runs it."""

    ready: bool
    port: int
    pid: int
    error: str


@dataclass(frozen=True)
class Served:
    """The server's process and port."""

    child: Child
    port: int

    def replica(self) -> Replica | None:
        """What the server says of it now; None as long as it says nothing. Raises Unavailable once it has ended."""
        try:
            status, body = asked(self.port, "/admin/models/m")
        except OSError:
            if not self.child.running:
                raise Unavailable(f"trunkcall has ended: {self.child.last_words()}") from None
            return None
        if status != 200:
            return None
        told = json.loads(body)["replicas"][0]
        port = urllib.parse.urlsplit(told["address"]).port or 0
        return Replica(told["state"] == "ready", port, told["pid"] or 0, told["error"])

    def ready(self, look: float = 0.05) -> Replica:
        """The replica once it is ready, looked at so often. Raises Unavailable with its reason, or after the limit."""
        while True:
            found = self.replica()
            if found and found.ready:
                return found
            if found and found.error:
                raise Unavailable(found.error)
            if time.monotonic() - self.child.born > START:
                raise Unavailable(f"not ready after {START:.0f} s: {self.child.last_words()}")
            time.sleep(look)

    def gateway_cpu(self, replica: Replica) -> float:
        """CPU seconds so far of everything but the engine."""
        return cpu_seconds(self.child.pid, without=replica.pid)


@contextlib.contextmanager
def serving(model: dict[str, Any], place: Path) -> Generator[Served]:
    """It is told to start the model at once; the block begins before anything is ready."""
    settings = place / "trunkcall.yaml"
    # JSON is YAML
    settings.write_text(json.dumps({"models": {"m": {**model, "preload": True}}, "pocket": False}))
    port = free_port()
    command = [
        sys.executable, "-m", "trunkcall", "up", "--config", str(settings),
        "--host", "127.0.0.1", "--port", str(port), "--home", str(place / "home"),
    ]  # fmt: skip
    with Child(command, log=place / "trunkcall.log", grace=20.0) as child:
        yield Served(child, port)


def asked(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET. Raises OSError where nothing serves."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
