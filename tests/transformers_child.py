"""Real transformers hosts in child processes, and small models for them, for tests."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.engines.transformers import Transformers
from trunkcall.net.link import VARIABLE

POCKET = Path(__file__).parents[1] / "pocket" / "hf"
MACHINE = Machine(2, 8 * 2**30)
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def plan(folder: Path, **options: Any) -> LaunchSpec:
    settings = ModelSettings(name="tiny", sources=(Source("transformers", str(folder)),), options=options)
    return Transformers().plan(settings, MACHINE)


class Child:
    """A host that has reported; its output goes to the test's own stderr."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, **options: Any) -> None:
        spec = plan(folder, **options)
        self.link, theirs = socket.socketpair()
        environment = {**os.environ, **spec.env, **(env or {}), VARIABLE: str(theirs.fileno())}
        self.process = subprocess.Popen(spec.command, pass_fds=(theirs.fileno(),), env=environment)
        theirs.close()
        self.link.settimeout(120)
        with self.link.makefile("rb") as reports:
            self.report: dict[str, Any] = json.loads(reports.readline() or b"{}")
        self.where = urlsplit(self.report.get("address", ""))

    def call(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """POST when there is a body; gives status, lower-case headers and the body."""
        connection = http.client.HTTPConnection(self.where.hostname or "", self.where.port, timeout=60)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, **fields: Any) -> dict[str, Any]:
        """The answer as an object, which must be 200."""
        status, _, body = self.call(path, {"model": "tiny", **fields})
        assert status == 200, body[:300]
        return json.loads(body)

    def chat(self, text: str = "What is the capital of France?", **fields: Any) -> dict[str, Any]:
        return self.ask(CHAT, messages=[{"role": "user", "content": text}], **fields)

    def said(self, text: str = "What is the capital of France?", **fields: Any) -> str:
        return self.chat(text, **fields)["choices"][0]["message"]["content"]

    def stream(self, path: str, **fields: Any) -> list[dict[str, Any]]:
        """The events' data; the last one must be the terminator."""
        status, headers, body = self.call(path, {"model": "tiny", **fields, "stream": True})
        assert status == 200, body[:300]
        assert headers["content-type"].startswith("text/event-stream")
        events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]

    def refusal(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """The error object of a call that must fail; `status` is added."""
        status, _, answer = self.call(path, {"model": "tiny", **fields}, headers)
        assert status >= 400, answer[:300]
        return {**json.loads(answer)["error"], "status": status}

    def send(self, path: str, **fields: Any) -> socket.socket:
        """Send a request and do not wait for the answer."""
        body = json.dumps({"model": "tiny", **fields}).encode()
        sock = socket.create_connection((self.where.hostname, self.where.port), timeout=60)
        sock.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body))
        return sock

    def busy(self) -> int:
        """How many slots are at work."""
        return sum(slot["is_processing"] for slot in json.loads(self.call("/slots")[2]))

    def wait_busy(self, count: int, limit: float = 10.0) -> float:
        """Wait until so many slots are at work; gives the seconds that took."""
        began = time.monotonic()
        while self.busy() != count:
            assert time.monotonic() - began < limit, f"not {count} busy slots after {limit} s"
            time.sleep(0.002)
        return time.monotonic() - began

    def stop(self, number: int = signal.SIGTERM, limit: float = 20.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(limit)
        finally:
            self.process.kill()
            self.process.wait()
            self.link.close()


def put_random(folder: Path, config: Any, **options: Any) -> Path:
    """A model of random weights with the pocket model's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, **options)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(POCKET / name, folder / name)
    return folder


SMALL = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
"""A small model's config, in words that most architectures know."""
