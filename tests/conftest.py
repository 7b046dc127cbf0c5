"""What all tests share: the event loop, and real `trunkcall up` processes with their own homes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Server


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts `trunkcall up ARGUMENTS` with a home of its own; ends it, and what it started, at the end."""
    running: list[Server] = []

    def start(*arguments: str, **options: Any) -> Server:
        server = Server(*arguments, home=options.pop("home", tmp_path / f"home{len(running)}"), **options)
        running.append(server)
        server.wait_ready()
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
