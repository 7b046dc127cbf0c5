"""Streams of administration: heartbeats while nothing happens, and an end for each reason to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from trunkcall.apis import admin_stream
from trunkcall.apis.admin_stream import stream
from trunkcall.core.errors import ServingError
from trunkcall.protocols.frames import LIVE_HEAD, event

pytestmark = pytest.mark.anyio


class Reader:
    """An exchange whose client reads, hangs or leaves."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.sent: list[bytes] = []
        self.finished = False
        self.gone: Callable[[], None] | None = None
        self._hangs = hangs

    async def begin(self, status: int, headers: Any) -> None:
        assert (status, headers) == (200, LIVE_HEAD)

    async def write(self, data: bytes) -> None:
        if self._hangs and self.sent:
            await asyncio.Event().wait()
        self.sent.append(data)

    async def finish(self) -> None:
        self.finished = True

    def when_gone(self, callback: Callable[[], None]) -> Any:
        self.gone = callback
        return self

    def close(self) -> None:
        self.gone = None


async def run(reader: Reader, take: Callable[[], bytes] = bytes, **more: Any) -> None:
    asked: dict[str, Any] = {"ended": lambda: False, "look_seconds": 0.01, **more}
    async with asyncio.timeout(20):
        await stream(reader, take, asyncio.Event(), **asked)  # type: ignore[arg-type]


async def test_the_end_of_the_server_ends_it_in_order() -> None:
    reader = Reader()
    pieces = [event("x", 1), b"", event("x", 2)]
    await run(reader, lambda: pieces.pop(0) if pieces else b"", ended=lambda: not pieces)
    assert reader.sent == [b": live\n\n", b"event: x\ndata: 1\n\n", b"event: x\ndata: 2\n\n"]
    assert reader.finished and reader.gone is None


async def test_a_silent_stream_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_stream, "HEARTBEAT_SECONDS", 0.05)
    reader = Reader()
    await run(reader, ended=lambda: len(reader.sent) == 3)
    assert reader.sent[1:] == [b": still live\n\n"] * 2


async def test_a_client_that_leaves_ends_it_at_once() -> None:
    reader = Reader()

    async def leave() -> None:
        while reader.gone is None:
            await asyncio.sleep(0.01)
        reader.gone()

    leaving = asyncio.create_task(leave())
    await run(reader, look_seconds=60)
    await leaving
    assert reader.gone is None


async def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_stream, "STALL_SECONDS", 0.05)
    reader = Reader(hangs=True)
    with pytest.raises(ServingError) as caught:
        await run(reader, lambda: b"x")
    assert caught.value.kind == "cancelled" and not reader.finished
