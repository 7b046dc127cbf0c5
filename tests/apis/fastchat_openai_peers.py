"""A FastChat controller with one worker, as section 1 and 2 of the protocol have them, in a thread; for tests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEMPLATE = {
    "name": "tiny", "system_template": "{system_message}", "system_message": "", "roles": ["USER", "ASSISTANT"],
    "messages": [], "offset": 0, "sep_style": 1, "sep": "\n", "sep2": None, "stop_str": None, "stop_token_ids": None,
}  # fmt: skip


class Peer:
    """The controller at `url`, its worker below /worker.

    asked: (route, body) of all that came; error: code and text that a generation ends with after its first piece, or
    at once with `early`; delay: seconds between pieces; tokens, finish: what the answer's end says; left: generations
    whose client went away.
    """

    def __init__(self, port: int = 0) -> None:
        self.models = ["tinyrand"]
        self.pieces = ["Hel", "lo ", "wörld"]
        self.context = 512
        self.delay = 0.0
        self.tokens = 3
        self.finish = "stop"
        self.error: tuple[int, str] | None = None
        self.early = False
        self.asked: list[tuple[str, Any]] = []
        self.left = 0
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                route = self.path.rpartition("/")[2]
                peer.asked.append((route, body))
                if route == "worker_generate_stream":
                    peer.stream(self, body)
                    return
                said = peer.say(route, body)
                data = json.dumps(said).encode() if said is not ... else b'{"detail":"Not Found"}'
                self.send_response(200 if said is not ... else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                with contextlib.suppress(OSError):
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    def of(self, route: str) -> list[Any]:
        """What was asked on a route."""
        return [body for asked, body in self.asked if asked == route]

    def say(self, route: str, body: Any) -> Any:
        match route:
            case "refresh_all_workers":
                return None
            case "list_models":
                return {"models": self.models}
            case "get_worker_address":
                return {"address": f"{self.url}/worker" if body["model"] in self.models else ""}
            case "worker_get_conv_template":
                return {"conv": TEMPLATE}
            case "model_details":
                return {"context_length": self.context}
            case "count_token":
                return {"count": len(body["prompt"].split()), "error_code": 0}
            case "worker_get_embeddings":
                return {
                    "embedding": [[0.6, 0.8] for _ in body["input"]],
                    "token_num": sum(len(text.split()) for text in body["input"]),
                }
            case _:
                return ...

    def stream(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        text = ""
        usage = {"prompt_tokens": 2, "completion_tokens": self.tokens, "total_tokens": 2 + self.tokens}
        try:
            if self.error and self.early:
                self._frame(handler, {"text": self.error[1], "error_code": self.error[0]})
                return
            for piece in self.pieces:
                text += piece
                told = {"text": text, "error_code": 0, "usage": usage, "finish_reason": None, "logprobs": None}
                self._frame(handler, told)
                if self.error:
                    self._frame(handler, {"text": self.error[1], "error_code": self.error[0]})
                    return
                time.sleep(self.delay)
            last = {"text": text, "error_code": 0, "usage": usage, "finish_reason": self.finish, "logprobs": None}
            self._frame(handler, last)
        except OSError:
            self.left += 1

    @staticmethod
    def _frame(handler: BaseHTTPRequestHandler, value: Any) -> None:
        handler.wfile.write(json.dumps(value).encode() + b"\0")
        handler.wfile.flush()


@contextmanager
def peer(port: int = 0) -> Iterator[Peer]:
    made = Peer(port)
    try:
        yield made
    finally:
        made.close()
