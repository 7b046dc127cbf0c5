"""A server in the place of a cloud: it gives the answers it was told to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

DATA = Path(__file__).parents[1] / "protocols" / "data"


class Asked(msgspec.Struct, frozen=True):
    """One request; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Answer(msgspec.Struct, frozen=True):
    """What the peer says; held: it stays open after that, without an end."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = {}
    held: bool = False


class Peer:
    """The last of `answers` is given for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self.left = asyncio.Event()
        """Set when a client leaves an answer that is held."""
        self.url = ""

    def give(self, body: bytes, **more: Any) -> None:
        """The next answer."""
        self.answers.append(Answer(body, **more))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = lines[0].split()
            self.asked.append(Asked(method, path, headers, json.loads(body) if body else None))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            kind = "application/json" if answer.body.startswith((b"{", b"[")) else "text/event-stream"
            told = {"content-type": kind, "connection": "close", **answer.headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
            writer.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode() + answer.body)
            await writer.drain()
            if answer.held:
                await reader.read()
                self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def peer(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Peer]:
    """A peer on loopback."""
    made = Peer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        made.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


def golden(name: str) -> bytes:
    """A recorded stream, `gemini/text`."""
    return (DATA / f"{name}.sse").read_bytes()
