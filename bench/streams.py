"""A cheap client for token streams: raw asyncio, one connection per request, frames counted after the end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass

_CONTENT = b'"content":"'
_END = b"data: [DONE]"
_COMPLETION = re.compile(rb'"completion_tokens":\s*(\d+)')


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

    def __init__(self, request: bytes) -> None:
        self._request = request
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
        if self._first is None and _CONTENT in self._received:
            self._first = time.monotonic() - self._began
        if _END in self._received[-64:]:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if self.done.done():
            return
        counts = _COMPLETION.findall(self._received)
        if self._first is None or not counts or _END not in self._received:
            self.done.set_exception(BrokenStream(bytes(self._received[-300:]).decode(errors="replace")))
        else:
            self.done.set_result(Answer(int(counts[-1]), self._received.count(_CONTENT), self._first))
        if self._transport is not None:
            self._transport.close()


def request_bytes(model: str, ask: str, tokens: int) -> bytes:
    """A streamed chat request that makes llama.cpp write exactly so many tokens."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": ask}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0.8,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _one(port: int, request: bytes, limit: float) -> Answer:
    async with asyncio.timeout(limit):
        transport, stream = await asyncio.get_running_loop().create_connection(
            lambda: _Stream(request), "127.0.0.1", port
        )
        try:
            return await stream.done
        finally:
            transport.close()


async def _burst(port: int, request: bytes, concurrent: int, each: int, limit: float) -> Burst:
    async def client() -> list[Answer]:
        return [await _one(port, request, limit) for _ in range(each)]

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(client()) for _ in range(concurrent)]
    took = time.monotonic() - began
    answers = tuple(answer for task in clients for answer in task.result())
    return Burst(sum(answer.tokens for answer in answers) / took, answers)


def burst(port: int, request: bytes, concurrent: int, each: int, *, limit: float = 60.0) -> Burst:
    """`concurrent` clients make `each` requests one after another; `limit` in seconds holds for each request.

    Raises BrokenStream for a stream without a proper end, TimeoutError and OSError.
    """
    try:
        return asyncio.run(_burst(port, request, concurrent, each, limit))
    except* (BrokenStream, TimeoutError, OSError) as group:
        raise group.exceptions[0] from None
