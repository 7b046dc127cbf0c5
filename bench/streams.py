"""A cheap client for token streams: raw asyncio, one connection per request, frames counted after the end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wire:
    """How the streams of a protocol are read.

    token: stands in each frame that has text; end: matches within the last 160 bytes; count: its group is the engine's
    count of tokens.
    """

    token: bytes
    end: re.Pattern[bytes]
    count: re.Pattern[bytes]


_DONE = re.compile(rb"data: \[DONE\]")
_USAGE = re.compile(rb'"completion_tokens":\s*(\d+)')
CHAT = Wire(b'"content":"', _DONE, _USAGE)
COMPLETION = Wire(b'"text":"', _DONE, _USAGE)
TGI = Wire(b"data:{", re.compile(rb'"generated_tokens":\d+[^{}]*}}\n\n'), re.compile(rb'"generated_tokens":(\d+)'))
"""Of requests that ask for details."""
_TAIL = 160


class BrokenStream(Exception):
    """A stream that did not end as it should; the message shows what came."""


@dataclass(frozen=True)
class Answer:
    """One finished stream: tokens by the engine's count, frames with text, seconds to the first of those."""

    tokens: int
    frames: int
    first: float


@dataclass(frozen=True)
class Burst:
    """Many streams, `concurrent` at a time: tokens per second of the whole, and every answer."""

    tokens_per_second: float
    answers: tuple[Answer, ...]


class _Stream(asyncio.Protocol):
    """Writes one request and gathers the answer; only the first frame and the end are looked for meanwhile."""

    def __init__(self, request: bytes, wire: Wire) -> None:
        self._request = request
        self._wire = wire
        self._began = 0.0
        self._first: float | None = None
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._began = time.monotonic()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._first is None and self._wire.token in self._received:
            self._first = time.monotonic() - self._began
        if self._wire.end.search(self._received[-_TAIL:]):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if self.done.done():
            return
        counts = self._wire.count.findall(self._received)
        if self._first is None or not counts or not self._wire.end.search(self._received[-_TAIL:]):
            self.done.set_exception(BrokenStream(bytes(self._received[-300:]).decode(errors="replace")))
        else:
            self.done.set_result(Answer(int(counts[-1]), self._received.count(self._wire.token), self._first))
        if self._transport is not None:
            self._transport.close()


def request_bytes(model: str, ask: str, tokens: int) -> bytes:
    """A streamed chat request that makes llama.cpp write exactly so many tokens."""
    return post_bytes(
        "/v1/chat/completions",
        {
            "model": model,
            "messages": [{"role": "user", "content": ask}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0.8,
        },
    )


def post_bytes(path: str, fields: dict[str, Any]) -> bytes:
    """A request on a connection of its own."""
    body = json.dumps(fields).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _one(port: int, request: bytes, wire: Wire, limit: float) -> Answer:
    async with asyncio.timeout(limit):
        transport, stream = await asyncio.get_running_loop().create_connection(
            lambda: _Stream(request, wire), "127.0.0.1", port
        )
        try:
            return await stream.done
        finally:
            transport.close()


async def _burst(port: int, request: bytes, wire: Wire, concurrent: int, each: int, limit: float) -> Burst:
    async def client() -> list[Answer]:
        return [await _one(port, request, wire, limit) for _ in range(each)]

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(client()) for _ in range(concurrent)]
    took = time.monotonic() - began
    answers = tuple(answer for task in clients for answer in task.result())
    return Burst(sum(answer.tokens for answer in answers) / took, answers)


def burst(port: int, request: bytes, concurrent: int, each: int, *, wire: Wire = CHAT, limit: float = 60.0) -> Burst:
    """`concurrent` clients make `each` requests one after another; `limit` in seconds holds for each request.

    Raises BrokenStream for a stream without a proper end, TimeoutError and OSError.
    """
    try:
        return asyncio.run(_burst(port, request, wire, concurrent, each, limit))
    except* (BrokenStream, TimeoutError, OSError) as group:
        raise group.exceptions[0] from None
