"""Looks at a server that may be a vLLM, and orders to it, against a loopback server that says what the test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from trunkcall.backends.openai import OpenAI, OpenAIOptions
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Controlled, Told
from trunkcall.core.requests import Wire

pytestmark = pytest.mark.anyio


class Peer:
    """Gives one answer to all; keeps (method, path, head, body) of what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length")), 0)
        method, path, _ = head.split(" ", 2)
        self.asked.append((method, path, head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 %d X\r\nconnection: close\r\n" % self.status)
        writer.write(b"content-length: %d\r\n\r\n%b" % (len(self.body), self.body))
        await writer.drain()
        writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    async with await asyncio.start_server(made.answer, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


async def test_a_look(peer: Peer) -> None:
    backend = OpenAI(f"{peer.url}/x/v1", "m", "sk-1")
    assert isinstance(backend, Controlled)
    peer.body = b"vllm:num_requests_waiting 3.0\n"
    assert await backend.controls.look() == Told(waiting=3)
    assert peer.asked[0][:2] == ("GET", "/x/metrics")
    assert "Authorization: Bearer sk-1" in peer.asked[0][2]
    peer.status = 404
    assert await backend.controls.look() is None
    peer.status = 503
    with pytest.raises(ServingError):
        await backend.controls.look()
    await backend.aclose()


@pytest.mark.parametrize(
    ("url", "metrics", "asked"),
    [("https://127.0.0.1:1/v1", None, False), ("http://127.0.0.1:1/v1", "", False), ("http://127.0.0.1:1", None, True)],
)
async def test_whom_nobody_looks_at(url: str, metrics: str | None, asked: bool) -> None:
    backend = OpenAI(url, "m", options=OpenAIOptions(metrics=metrics))
    if asked:
        with pytest.raises(ServingError):
            await backend.controls.look()
    else:
        assert await backend.controls.look() is None
    await backend.aclose()


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (404, b'{"detail":"Not Found"}', "unsupported", "`runtime_lora: true`"),
        (404, b'{"error":{"message":"none at sk-1","type":"NotFoundError"}}', "bad_request", "none at \\*\\*\\*"),
        (400, b'{"error":{"message":"is loaded","type":"InvalidUserInput"}}', "bad_request", "'a' at /p: is loaded"),
        (404, b"", "unsupported", "by the option `lora`"),
        (500, b"oh", "upstream_error", "oh. It may be for another base"),
    ],
)
async def test_refusals(peer: Peer, status: int, body: bytes, kind: str, says: str) -> None:
    backend = OpenAI(peer.url, "m", "sk-1")
    peer.status, peer.body = status, body
    with pytest.raises(ServingError, match=says) as caught:
        await backend.controls.load_adapter("a", "/p")
    assert (caught.value.kind, caught.value.param) == (kind, "lora")
    assert json.loads(peer.asked[0][3]) == {"lora_name": "a", "lora_path": "/p"}
    await backend.aclose()


async def test_an_adapter_is_asked_for_by_its_own_name(peer: Peer) -> None:
    backend = OpenAI(peer.url, "inner")
    backend.controls.adapters.add("sql")
    for asked, sent in (("sql", "sql"), ("outer", "inner")):
        wire = Wire("openai", "/chat/completions", [], json.dumps({"model": asked}).encode())
        async with backend.forward(wire, Meter("1", model=asked, protocol="openai", stream=False, key="")) as answer:
            assert [piece async for piece in answer]
        assert json.loads(peer.asked[-1][3])["model"] == sent
    await backend.aclose()
