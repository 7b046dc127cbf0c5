"""A loopback server of the OpenAI API for tests of chats: it thinks, calls tools, looks at images, breaks off, or waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Upstream:
    """url: of its API; asked: the bodies of all requests; gate: what the question `wait` waits for; left: set when a
    client went away before its answer's end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.gate = threading.Event()
        self.left = threading.Event()

    def begin_anew(self) -> None:
        """The gate is shut, and answers of a test before, which end now, set nothing."""
        self.gate.set()
        self.gate, self.left = threading.Event(), threading.Event()


def _delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def _script(question: str, images: int) -> list[dict[str, Any]]:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"place":'}}
    rest = {"index": 0, "function": {"arguments": '"Paris"}'}}
    match question.split():
        case ["think", *_]:
            return [
                _delta(reasoning_content="First **this**,"),
                _delta(reasoning_content=" then that."),
                _delta(content="So: 42"),
            ]
        case ["tool", *_]:
            return [_delta(tool_calls=[call]), _delta(tool_calls=[rest])]
        case ["many", count, *_]:
            return [_delta(content=f"word{number} ") for number in range(int(count))]
        case _:
            return [_delta(content=f"{images} images; "), _delta(content=question)]


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            data = json.dumps({"object": "list", "data": [{"id": "thinker", "object": "model"}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            gate, left = upstream.gate, upstream.left
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            upstream.asked.append(body)
            asked = [message for message in body.get("messages", []) if message["role"] == "user"]
            content = asked[-1]["content"] if asked else body.get("prompt", "")
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            question = "".join(part.get("text", "") for part in parts)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.close_connection = True
            try:
                self._answer(question, sum(part["type"] == "image_url" for part in parts), gate)
            except OSError:
                left.set()

        def _answer(self, question: str, images: int, gate: threading.Event) -> None:
            for chunk in _script(question, images):
                self._tell(chunk)
            if question.startswith("break"):
                return
            while question.startswith("wait") and not gate.wait(0.02):
                self._tell(_delta(content="."))
            reason = "length" if question.startswith("long") else "stop"
            self._tell({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
            self._tell({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}})
            self.wfile.write(b"data: [DONE]\n\n")

        def _tell(self, chunk: dict[str, Any]) -> None:
            head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "thinker"}
            self.wfile.write(f"data: {json.dumps({**head, **chunk})}\n\n".encode())
            self.wfile.flush()

    return Handler


@contextmanager
def thinking_upstream() -> Iterator[Upstream]:
    """It listens until the end of the context; its model is `thinker`."""
    upstream = Upstream("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(upstream))
    server.daemon_threads = True
    upstream.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield upstream
    finally:
        upstream.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
