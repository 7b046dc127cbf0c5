"""What all tests share: the event loop, and real `trunkcall up` processes with their own homes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from running import Server, reserve

# A machine that stands still for a moment must not fail a test, nor be taken for one that draws its examples slowly.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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
def free_port() -> Iterator[int]:
    """A port of loopback that nobody listens on, and that no other test's server gets."""
    with reserve() as held:
        yield int(held.getsockname()[1])
