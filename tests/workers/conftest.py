"""Real llama.cpp hosts in child processes, with the pocket model or one made from it."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_child import WorkerChild

from trunkcall.core.models import Machine, ModelSettings, Source
from trunkcall.engines.llamacpp import LlamaCpp
from trunkcall.pocket import gguf_path

MACHINE = Machine(2, 8 * 2**30)


class Host(WorkerChild):
    """A host that has reported."""

    def __init__(self, path: Path, **options: Any) -> None:
        settings = ModelSettings(name="tiny", sources=(Source("llamacpp", str(path)),), options=options)
        super().__init__(LlamaCpp().plan(settings, MACHINE))

    def stream_chat(self, text: str = "What is the capital of France?", **fields: Any) -> list[dict[str, Any]]:
        return self.stream("/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)


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
