"""A server in the place of a TGI of any version: characters are its tokens, and it says what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

END = (2, "</s>", -0.5, True)
TOTAL = 100
"""Tokens of prompt and answer."""


class Asked(msgspec.Struct, frozen=True):
    """One request; header names are lower-case."""

    path: str
    headers: dict[str, str]
    body: Any


class Tgi:
    """version: what it is; say: the tokens of each answer as (id, text, logprob, special)."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.numbers = tuple(int(word) for word in version.split("."))
        self.say: list[tuple[int, str, float, bool]] = [
            (10, " Pa", -0.25, False),
            (11, "ris", -0.75, False),
            END,
        ]
        self.reason = "eos_token"
        self.refuse: tuple[int, bytes, str] | None = None
        """Status, body and content type, instead of any generation."""
        self.dies = 0
        """Ends the connection after so many tokens, with `error` as an event before that where there is one."""
        self.error = b""
        self.hold = asyncio.Event()
        self.holds = 0
        """Waits after so many tokens until its client has left, which sets `hold`."""
        self.key = ""
        """The whole authorization that it wants."""
        self.asked: list[Asked] = []
        self.url = ""

    def asked_at(self, *paths: str) -> list[Asked]:
        return [one for one in self.asked if one.path in paths]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = lines[0].split()[1]
            self.asked.append(Asked(path, headers, json.loads(body) if body else None))
            await self._answer(path, self.asked[-1], reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, path: str, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if path == "/info":
            return self._whole(writer, self._info())
        if path == "/health":
            return self._whole(writer, b"", status=200)
        if self.key and asked.headers.get("authorization") != self.key:
            return self._whole(writer, b"", status=401)
        if self.refuse is not None:
            status, body, kind = self.refuse
            return self._whole(writer, body, status=status, kind=kind)
        if path == "/tokenize" and self.numbers >= (1, 4):
            text = asked.body["inputs"]
            tokens = [{"id": ord(one), "text": one, "start": at, "stop": at + 1} for at, one in enumerate(text)]
            return self._whole(writer, json.dumps(tokens).encode())
        if path == "/chat_tokenize" and self.numbers >= (2, 1):
            told = {"tokenize_response": [{"id": 1, "text": "x", "start": 0, "stop": 1}], "templated_text": "x"}
            return self._whole(writer, json.dumps(told).encode())
        if path == "/generate":
            return self._whole(writer, json.dumps(self._generated(asked.body)).encode())
        if path == "/generate_stream":
            return await self._stream(writer, reader, self._events(asked.body))
        if path == "/v1/chat/completions" and self.numbers >= (1, 4):
            return await self._stream(writer, reader, self._chat())
        return self._whole(writer, b"", status=404)

    def _whole(
        self, writer: asyncio.StreamWriter, body: bytes, status: int = 200, kind: str = "application/json"
    ) -> None:
        head = (
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)

    async def _stream(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader, events: list[bytes]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for place, event in enumerate(events):
            if self.dies and place == self.dies:
                if self.error:
                    self._chunk(writer, b"data:" + self.error + b"\n\n")
                    break
                return
            if self.holds and place == self.holds:
                await writer.drain()
                await reader.read()
                self.hold.set()
                return
            self._chunk(writer, b"data:" + event + b"\n\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _info(self) -> bytes:
        told: dict[str, Any] = {"model_id": "org/model", "version": self.version, "max_total_tokens": TOTAL}
        told["max_input_length" if self.numbers < (2, 0) else "max_input_tokens"] = TOTAL - 20
        return json.dumps(told).encode()

    def _token(self, token: tuple[int, str, float, bool]) -> dict[str, Any]:
        id, text, logprob, special = token
        return {"id": id, "text": text, "logprob": logprob, "special": special}

    def _details(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        if not asked.get("parameters", {}).get("details"):
            return None
        return {"finish_reason": self.reason, "generated_tokens": len(self.say), "seed": None}

    def _events(self, asked: dict[str, Any]) -> list[bytes]:
        text = "".join(text for _, text, _, special in self.say if not special)
        made: list[dict[str, Any]] = []
        for place, token in enumerate(self.say):
            event: dict[str, Any] = {"token": self._token(token), "generated_text": None, "details": None}
            if self.numbers >= (1, 0):
                event = {"index": place + 1, **event}
                if asked.get("parameters", {}).get("top_n_tokens"):
                    event["top_tokens"] = [self._token(token), self._token((99, "x", -9.0, False))]
            made.append(event)
        details = self._details(asked)
        if details is not None and self.numbers >= (2, 4):
            details["input_length"] = len(asked["inputs"])
        made[-1] = {**made[-1], "generated_text": text, "details": details}
        return [json.dumps(one).encode() for one in made]

    def _generated(self, asked: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {"generated_text": "".join(text for _, text, _, special in self.say if not special)}
        details = self._details(asked)
        if details is not None:
            prefill = [
                {"id": ord(one), "text": one, "logprob": None if not at else -1.5}
                for at, one in enumerate(asked["inputs"])
            ]
            wanted = self.numbers < (0, 9) or asked["parameters"].get("decoder_input_details")
            told["details"] = {
                **details,
                "prefill": prefill if wanted else [],
                "tokens": [self._token(token) for token in self.say],
            }
        return told

    def _chat(self) -> list[bytes]:
        head = {"object": "chat.completion.chunk", "id": "", "created": 1, "model": "m", "system_fingerprint": "f"}
        made: list[bytes] = []
        for place, (_, text, _, special) in enumerate(self.say):
            delta = {"role": "assistant", "content": "" if special else text}
            reason = self.reason if place == len(self.say) - 1 else None
            choice = {
                "index": 0,
                "delta": delta,
                "logprobs": None,
                "finish_reason": "stop" if reason == "eos_token" else reason,
            }
            made.append(json.dumps({**head, "choices": [choice]}).encode())
        if self.numbers >= (2, 2):
            usage = {"prompt_tokens": 5, "completion_tokens": len(self.say), "total_tokens": 5 + len(self.say)}
            made += [json.dumps({**head, "choices": [], "usage": usage}).encode(), b" [DONE]"]
        return made


@asynccontextmanager
async def tgi(version: str) -> AsyncGenerator[Tgi]:
    """A server of this version on a free port."""
    peer = Tgi(version)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(peer.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    peer.url = f"http://127.0.0.1:{port}"
    try:
        yield peer
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
