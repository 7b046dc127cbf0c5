"""The recorded exchanges with the real Kuwa: what was sent and what came back, taken apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data" / "kuwa"


class Exchange(NamedTuple):
    """One request and its answer; `chunks` are the pieces of the answer's body as they were sent."""

    about: str
    path: str
    headers: dict[str, bytes]
    body: bytes
    status: int
    answer_type: str
    chunks: list[bytes]

    @property
    def answer(self) -> str:
        return b"".join(self.chunks).decode()


def exchanges(name: str) -> list[Exchange]:
    """The exchanges of one file."""
    return [_taken_apart(**entry) for entry in json.loads((DATA / f"{name}.json").read_text())["exchanges"]]


def exchange(name: str, about: str) -> Exchange:
    """The first exchange of that description."""
    return next(entry for entry in exchanges(name) if entry.about == about)


def _taken_apart(about: str, request: str, response: str) -> Exchange:
    first, headers, body = _message(request)
    status, answered, answer = _message(response)
    pieces = _chunks(answer) if answered.get("transfer-encoding") == b"chunked" else [answer]
    kind = answered.get("content-type", b"").decode()
    return Exchange(about, first.split()[1], headers, body, int(status.split()[1]), kind, pieces)


def _message(text: str) -> tuple[str, dict[str, bytes], bytes]:
    head, _, body = text.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return first, {name.lower(): value.encode() for name, _, value in pairs}, body.encode()


def _chunks(body: bytes) -> list[bytes]:
    found: list[bytes] = []
    while match := re.match(rb"([0-9a-fA-F]+)\r\n", body):
        size = int(match[1], 16)
        found.append(body[match.end() : match.end() + size])
        body = body[match.end() + size + 2 :]
    return found[:-1]
