"""Upstreams that die as they are told, several of them working through one script."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

RESET, CLOSE, END, HANG = "reset", "close", "end", "hang"
"""How an answer ends: broken off, cut in the middle, in order, or not at all."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
SSE = b"text/event-stream"


class Scripted(threading.Thread):
    """One upstream; answer: gives the status or the content type, the pieces, and how it ends, for (path, body)."""

    def __init__(self, answer: Callable[[str, bytes], tuple[int | bytes, Iterable[bytes], str]]) -> None:
        super().__init__(daemon=True)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.left = threading.Event()
        """A caller of an answer that hangs has gone."""
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def end(self) -> None:
        # Closing alone does not wake the thread that waits for callers.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self.join(30)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while (first := lines.readline()) and self._one(connection, lines, first):
                    pass
        except OSError:
            pass

    def _one(self, connection: socket.socket, lines: Any, first: bytes) -> bool:
        size = 0
        while (line := lines.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        head, pieces, end = self._answer(first.split()[1].decode(), lines.read(size))
        if isinstance(head, int):
            body = b"".join(pieces)
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
            return True
        connection.sendall(HEAD % head)
        for piece in pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        if end == HANG:
            if not lines.read(1):
                self.left.set()
            return False
        if end == RESET:
            # Only what the caller has read is sure to arrive before a reset.
            threading.Event().wait(0.1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if end == END:
            connection.sendall(b"0\r\n\r\n")
        return end == END


class Script:
    """What the upstreams answer, call by call; after the last one each gets the last one again."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, list[bytes], str]] = []
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.plain: dict[str, bytes] = {}
        """Answers to what is beside generations, by path."""

    def play(self, *answers: tuple[list[bytes], str], kind: bytes = SSE) -> None:
        self.answers = [(kind, pieces, end) for pieces, end in answers]
        self.asked.clear()
        self.paths.clear()

    def __call__(self, path: str, body: bytes) -> tuple[int | bytes, Iterable[bytes], str]:
        if path in self.plain:
            return 200, [self.plain[path]], END
        if not body or "token" in path:
            return 404, [b"{}"], END
        self.paths.append(path)
        self.asked.append(json.loads(body) if body.startswith(b"{") else {"form": body})
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@contextmanager
def upstreams(script: Script, count: int = 2) -> Iterator[list[Scripted]]:
    """So many that share a script."""
    peers = [Scripted(script) for _ in range(count)]
    try:
        yield peers
    finally:
        for peer in peers:
            peer.end()


def chunk(text: str | None = None, *, id: str = "chatcmpl-one", finish: str | None = None, **more: Any) -> bytes:
    """A frame of a chat stream."""
    delta: dict[str, Any] = {"role": "assistant", "content": ""} if text is None and finish is None else {}
    if text is not None:
        delta = {"content": text}
    made = {"index": 0, "delta": {**delta, **more}, "logprobs": None, "finish_reason": finish}
    return frame({"id": id, "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [made]})


def text_chunk(text: str, finish: str | None = None) -> bytes:
    """A frame of a completions stream."""
    made = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return frame({"id": "cmpl-one", "object": "text_completion", "created": 7, "model": "m", "choices": [made]})


def usage(prompt: int, completion: int) -> bytes:
    """A frame that only tells usage."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return frame({"id": "chatcmpl-two", "created": 8, "model": "m", "choices": [], "usage": counts})


def frame(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def token(id: int, text: str, whole: str | None = None, count: int = 0) -> bytes:
    """A frame of a TGI stream; whole: the last one's text."""
    details = None
    if whole is not None:
        details = {"finish_reason": "length", "generated_tokens": count, "seed": None, "input_length": 4}
    told = {"id": id, "text": text, "logprob": -0.5, "special": False}
    return b"data:" + json.dumps({"token": told, "generated_text": whole, "details": details}).encode() + b"\n\n"


def growing(text: str, finish: str | None = None, tokens: int = 0) -> bytes:
    """An object of a FastChat stream."""
    counts = {"prompt_tokens": 6, "completion_tokens": tokens, "total_tokens": 6 + tokens}
    return json.dumps({"text": text, "error_code": 0, "usage": counts, "finish_reason": finish}).encode() + b"\0"


DONE = b"data: [DONE]\n\n"
