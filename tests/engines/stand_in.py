"""A stand-in for servers that others wrote: takes their command lines, and speaks as much OpenAI as a test needs.

`python stand_in.py KIND ARGUMENT...`; what else it does stands in STAND_IN, as JSON. Answers tell its command line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROGRAMS = {"vllm": "vllm", "sglang": "sglang", "tgi-server": "text-generation-launcher"}
_SHARED = ("--dtype", "--quantization")
_FLAGS: dict[str, tuple[str, ...]] = {
    "vllm": (
        *("--host", "--served-model-name", "--max-model-len", "--max-num-seqs", "--tensor-parallel-size"),
        *("--pipeline-parallel-size", "--gpu-memory-utilization", "--seed", "--max-lora-rank", *_SHARED),
    ),
    "sglang": (
        *("--host", "--model-path", "--served-model-name", "--context-length", "--max-running-requests", "--tp-size"),
        *("--pp-size", "--mem-fraction-static", "--random-seed", *_SHARED),
    ),
    "tgi-server": (
        *("--hostname", "--model-id", "--max-total-tokens", "--max-input-tokens", "--max-concurrent-requests"),
        *("--num-shard", "--cuda-memory-fraction", "--lora-adapters", "--dtype", "--quantize"),
    ),
    "plain": ("--host",),
}
_LISTS = {"vllm": "--lora-modules", "sglang": "--lora-paths"}


def program(folder: Path, kind: str) -> Path:
    """An executable of the original's name."""
    path = folder / PROGRAMS.get(kind, kind)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {kind} "$@"\n')
    path.chmod(0o755)
    return path


def arguments(kind: str, argv: list[str]) -> argparse.Namespace:
    """As strict as the originals: an unknown flag ends it."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    for flag in _FLAGS[kind]:
        parser.add_argument(flag)
    if kind in _LISTS:
        parser.add_argument(_LISTS[kind], nargs="+")
    if kind in ("vllm", "sglang"):
        parser.add_argument("verb", choices=["serve"])
    if kind == "vllm":
        parser.add_argument("model")
        parser.add_argument("--enable-lora", action="store_true")
        parser.add_argument("--enable-sleep-mode", action="store_true")
    return parser.parse_args(argv)


def _there(path: str | None) -> bool:
    return path is not None and Path(path).exists()


class Speaker(BaseHTTPRequestHandler):
    """Answers."""

    protocol_version = "HTTP/1.1"
    asked: Any
    does: dict[str, Any]
    since: float
    awake = threading.Event()
    adapters: dict[str, str]

    def do_GET(self) -> None:
        does = self.does
        if self.path == "/metrics" and sys.argv[1] == "vllm":
            load = {"num_requests_running": 0, "num_requests_waiting": 0, **does.get("load", {})}
            lines = [f'vllm:{name}{{engine="0",model_name="m"}} {float(value)}' for name, value in load.items()]
            lines.append(f'vllm:engine_sleep_state{{engine="0",sleep_state="awake"}} {float(self.awake.is_set())}')
            self._answer(200, "\n".join(lines))
        elif self.path == does.get("health", "/health"):
            waiting = time.monotonic() - self.since < does.get("loads", 0)
            if _there(does.get("silent_if")):
                time.sleep(600)
            broken = _there(does.get("broken_if"))
            self._answer(503 if waiting or broken else does.get("ready", 200), {})
        elif self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
        else:
            self._answer(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or "{}")
        if sys.argv[1] == "vllm":
            if self._told(body):
                return
            # As the original does: it says nothing while it sleeps.
            self.awake.wait(60)
            if body["model"] not in (self.asked.served_model_name, *self.adapters):
                self._answer(404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}})
                return
        text = json.dumps({"argv": sys.argv[2:], "env": {k: os.environ.get(k, "") for k in self.does.get("env", ())}})
        whole = {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            self._answer(200, {**whole, "choices": [choice], "usage": usage})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": text}, None), ({}, "stop")):
            chunk = {**whole, "object": "chat.completion.chunk"}
            chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        last = {**whole, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        self.wfile.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())

    def _told(self, body: dict[str, Any]) -> bool:
        """Whether it was an order, which is answered then."""
        name = body.get("lora_name", "")
        match self.path:
            case "/sleep?level=1" | "/wake_up" if os.environ.get("VLLM_SERVER_DEV_MODE"):
                (self.awake.set if self.path == "/wake_up" else self.awake.clear)()
                self._answer(200, {})
            case "/v1/load_lora_adapter" if os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
                if _there(body["lora_path"]):
                    self.adapters[name] = body["lora_path"]
                    self._answer(200, f"Success: LoRA adapter '{name}' added successfully.")
                else:
                    error = {"message": f"Loading lora {name} failed: No adapter found", "type": "NotFoundError"}
                    self._answer(404, {"error": error})
            case "/v1/unload_lora_adapter" if name in self.adapters:
                del self.adapters[name]
                self._answer(200, f"Success: LoRA adapter '{name}' removed successfully.")
            case "/sleep?level=1" | "/wake_up" | "/v1/load_lora_adapter" | "/v1/unload_lora_adapter":
                self._answer(404, {"detail": "Not Found"})
            case _:
                return False
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _answer(self, status: int, value: Any) -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _end_once(path: str) -> None:
    while not _there(path):
        time.sleep(0.01)
    os._exit(3)


def main() -> None:
    does = json.loads(os.environ.get("STAND_IN", "{}"))
    asked = arguments(sys.argv[1], sys.argv[2:])
    print(f"stand-in {os.getpid()} loads", flush=True)
    if "child" in does:
        # In a session of its own, where no signal to our group comes.
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        Path(does["child"]).write_text(str(sleeper.pid))
    for line in does.get("says", ()):
        # In one piece, as a log is written.
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    if "taken_until" in does and not _there(does["taken_until"]):
        Path(does["taken_until"]).touch()
        with socket.create_server(("127.0.0.1", asked.port)), socket.socket() as second:
            second.bind(("127.0.0.1", asked.port))
    if does.get("killed_by"):
        os.kill(os.getpid(), does["killed_by"])
    if "exit" in does:
        sys.exit(does["exit"])
    if does.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Speaker.asked, Speaker.does, Speaker.since = asked, does, time.monotonic()
    Speaker.awake.set()
    Speaker.adapters = dict(one.split("=", 1) for one in getattr(asked, "lora_modules", None) or ())
    server = ThreadingHTTPServer(("127.0.0.1", asked.port), Speaker)
    server.daemon_threads = True
    if "mumbles" in does:
        print(does["mumbles"], end="", flush=True)
    if "ends_if" in does:
        threading.Thread(target=_end_once, args=(does["ends_if"],), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
