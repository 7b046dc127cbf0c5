"""Streams of every protocol from a server with several engines of pocket, and what their clients saw of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

from running import Server, eventually, reserved_port

ANIMALS = "cat dog bird cow fox bear duck pig horse lion mouse frog sheep goat hen owl wolf fish bee ant".split()
QUESTIONS = [f"Tell me a story about a {animal}." for animal in ANIMALS]
LISTENERS = {
    "tgi": {"model": "m"},
    "fastchat_worker": {},
    "kuwa_executor": {"model": "m", "generation": {"do_sample": False}},
}


class Seen:
    """What a client saw of one stream. gap: seconds of its longest silence after the first piece."""

    def __init__(self) -> None:
        self.data = b""
        self.gap = 0.0
        self.pieces = 0
        self.broken = ""
        self.id = ""

    def read(self, port: int, path: str, body: bytes, kind: str, each: Callable[[Seen], None] | None = None) -> Seen:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request("POST", path, body, {"content-type": kind})
            answer = connection.getresponse()
            self.id = answer.getheader("x-trunkcall-request-id", "")
            last = 0.0
            while piece := answer.read1(65536):
                now = time.monotonic()
                self.gap = max(self.gap, now - last) if last else 0.0
                last = now
                self.data += piece
                self.pieces += 1
                if each is not None:
                    each(self)
        except (OSError, http.client.HTTPException) as error:
            self.broken = repr(error)
        finally:
            connection.close()
        return self


class Engines:
    """A server whose model `m` has so many engines; ports by listener, `openai` being the main one."""

    def __init__(self, home: Path, replicas: int, slots: int = 64, **model: Any) -> None:
        self.ports = {name: reserved_port() for name in LISTENERS}
        listen: list[dict[str, Any]] = [{"host": "127.0.0.1", "port": 0}]
        listen += [
            {"host": "127.0.0.1", "port": port, "apis": [name], "options": {name: LISTENERS[name]}}
            for name, port in self.ports.items()
        ]
        settings = {"source": "pocket", "replicas": replicas, "preload": True, "options": {"slots": slots}, **model}
        config = home / "trunkcall.yaml"
        config.write_text(json.dumps({"listen": listen, "models": {"m": settings}, "pocket": False}))
        self.count = replicas
        self._killed: set[int] = set()
        self._ready: list[int] = []
        self._at_speed = threading.Event()
        self._pacer = threading.Thread()
        self.server = Server("--config", str(config), home=home)
        self.server.wait_ready()
        self.ports["openai"] = urlsplit(self.server.url).port or 0
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until all engines are there, and none of those that were killed is still taken to be."""

        def ready() -> bool:
            pids = self.pids()
            self._ready = list(pids.values())
            return len(pids) == self.count and self._killed.isdisjoint(pids.values())

        eventually(ready, limit=60, pause=0.1)

    def replicas(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.get("/admin/models/m")["replicas"]
        return found

    def pids(self) -> dict[str, int]:
        """The engines' processes, by replica."""
        return {one["id"]: one["pid"] for one in self.replicas() if one["state"] == "ready" and one["pid"]}

    def kill(self, *replicas: str) -> list[str]:
        """End engines at once, a random one where none is named; gives which."""
        pids = self.pids()
        chosen = list(replicas) or [random.choice(list(pids))]
        for replica in chosen:
            os.kill(pids[replica], signal.SIGKILL)
            self._killed.add(pids[replica])
        return chosen

    @contextlib.contextmanager
    def slowed(self) -> Iterator[None]:
        """Up to `kill_answering` the engines work for a tenth of the time: no answer is over before its client, which
        may be short of time itself, has read of it.
        """
        self._at_speed.clear()
        self._pacer = threading.Thread(target=self._pace, args=(list(self._ready),))
        self._pacer.start()
        try:
            yield
        finally:
            self._full_speed()

    def _pace(self, pids: list[int]) -> None:
        while not self._at_speed.is_set():
            for number, seconds in ((signal.SIGSTOP, 0.045), (signal.SIGCONT, 0.005)):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                self._at_speed.wait(seconds)

    def _full_speed(self) -> None:
        self._at_speed.set()
        self._pacer.join()

    def kill_answering(self, request: str) -> None:
        """End the engine that answers a request, which cannot say anything more meanwhile; for within `slowed`."""
        self._full_speed()
        try:
            for pid in self._ready:
                os.kill(pid, signal.SIGSTOP)
            self.kill(*(one["replica"] for one in self.stories() if one["id"] == request))
        finally:
            for pid in set(self._ready) - self._killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def stories(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.get("/admin/requests?limit=1000")["requests"]
        return found

    def chat(self, question: str, each: Callable[[Seen], None] | None = None, **fields: Any) -> Seen:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": question}],
            "stream": True,
            "temperature": 0,
            "stream_options": {"include_usage": True},
            **fields,
        }
        return Seen().read(self.ports["openai"], "/v1/chat/completions", json.dumps(body).encode(), JSON, each)

    def margin(self, question: str) -> float:
        """How much likelier the likeliest token is than the next one, where that is closest, in natural logarithms.

        Where it is next to nothing, an engine that works at many answers at once does not always say the same.
        """
        _, _, told = self.server.chat("m", question, temperature=0, logprobs=True, top_logprobs=2)
        tokens = told["choices"][0]["logprobs"]["content"]
        return min(one["top_logprobs"][0]["logprob"] - one["top_logprobs"][1]["logprob"] for one in tokens)

    def stream(self, protocol: str, question: str, each: Callable[[Seen], None] | None = None) -> Seen:
        """A greedy answer in a protocol's words."""
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        match protocol:
            case "chat":
                return self.chat(question, each)
            case "text":
                fields = {"model": "m", "prompt": prompt, "stream": True, "temperature": 0, "max_tokens": 200}
                path = "/v1/completions"
            case "tgi":
                fields = {"inputs": prompt, "parameters": {"max_new_tokens": 200, "details": True}}
                path = "/generate_stream"
            case "fastchat":
                fields = {"model": "m", "prompt": f"Human: {question}\nAssistant:", "temperature": 0, "echo": False}
                path = "/worker_generate_stream"
            case _:
                turns = quote_plus(json.dumps([{"isbot": False, "msg": question}]))
                form = f"input={turns}&name=m&user_id=1&history_id=1".encode()
                return Seen().read(self.ports["kuwa_executor"], "/chat", form, FORM, each)
        listener = {"text": "openai", "tgi": "tgi", "fastchat": "fastchat_worker"}[protocol]
        return Seen().read(self.ports[listener], path, json.dumps(fields).encode(), JSON, each)

    def end(self) -> None:
        self.server.stop()


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class Load:
    """Long chats beside, so that an engine takes its time; `end` leaves them."""

    def __init__(self, engines: Engines, count: int) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(engines,), daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, engines: Engines) -> None:
        def leave(_: Seen) -> None:
            if self._over.is_set():
                raise OSError("enough")

        while not self._over.is_set():
            if not engines.chat("Tell me a story.", leave, ignore_eos=True, max_tokens=900).pieces > 1:
                # Refused while no engine is there.
                self._over.wait(0.1)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


def frames(data: bytes) -> list[dict[str, Any]]:
    """The objects of server-sent events."""
    bodies = (one.partition(b"data:")[2].strip() for one in data.split(b"\n\n"))
    return [json.loads(body) for body in bodies if body.startswith(b"{")]


def essence(protocol: str, data: bytes) -> Any:
    """What must be the same of two answers to one question: all but ids, times and probabilities."""
    match protocol:
        case "chat" | "text":
            told = frames(data)
            choices = [choice for one in told for choice in one["choices"]]
            texts = [
                (choice["delta"].get("content") if "delta" in choice else choice["text"]) or "" for choice in choices
            ]
            reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
            counts = [
                (one["usage"]["prompt_tokens"], one["usage"]["completion_tokens"]) for one in told if one.get("usage")
            ]
            done = data.endswith(b"data: [DONE]\n\n") and data.count(b"[DONE]") == 1
            return (
                "".join(texts),
                reasons,
                counts,
                len({(one["id"], one["model"]) for one in told}),
                done,
            )
        case "tgi":
            told = frames(data)
            return [
                (one["index"], one["token"]["id"], one["token"]["text"], one["generated_text"], one["details"])
                for one in told
            ]
        case "fastchat":
            objects = [json.loads(one) for one in data.split(b"\0") if one]
            last = objects[-1]
            return last["text"], last["usage"], last["finish_reason"], all(one["error_code"] == 0 for one in objects)
        case _:
            return data
