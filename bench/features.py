"""What each engine can do, as run: a feature is a yes when its request was made and the answer shows it."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gateways import Unavailable
from bench.lora import gguf_adapter, peft_adapter
from bench.processes import Child, cpu_seconds, free_port, scratch, unwind_on_signals
from bench.tables import table

ROOT = Path(__file__).parents[1]
GGUF = ROOT / "src/trunkcall/pocket/pocket.gguf"
CHECKPOINT = ROOT / "pocket/hf"
VLLM = "TRUNKCALL_VLLM"
"""The environment variable that names a vllm program."""
ASK = "Tell me a short story."
LONG = 700
"""Tokens of an answer that is to be broken off; the shipped model's context is 1024."""
START, ANSWER = 300.0, 120.0
"""Seconds; vLLM on a CPU compiles for minutes."""
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "The sum of two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
SHAPE = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


class Missing(Exception):
    """Why an engine does not have a feature, as it was seen."""


@dataclass(frozen=True)
class Engine:
    """An engine with three models of one source: `m`, `vectors` for embeddings, `lora` with an adapter."""

    name: str
    source: str
    options: dict[str, Any]
    vectors: dict[str, Any]
    lora: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    cannot: str = ""
    """Why it is not run at all."""


@dataclass(frozen=True)
class Peer:
    """A server with the models of one engine; refused: those that it cannot have, with the reason."""

    port: int
    refused: dict[str, str]

    def send(self, method: str, path: str, body: Any = None) -> tuple[http.client.HTTPConnection, Any]:
        """A connection and its answer. Raises Missing with the server's words for a refusal."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status >= 400:
            with contextlib.closing(connection):
                raise Missing(_message(answer.read()))
        lost = answer.headers.get("x-trunkcall-dropped")
        if lost:
            connection.close()
            raise Missing(f"dropped, as the answer's head says: {lost}")
        return connection, answer

    def call(self, path: str, body: Any) -> Any:
        """The JSON of a whole answer."""
        if body["model"] in self.refused:
            raise Missing(self.refused[body["model"]])
        connection, answer = self.send("POST", path, body)
        with contextlib.closing(connection):
            return json.loads(answer.read())

    def choices(self, model: str = "m", ask: str = ASK, **more: Any) -> list[dict[str, Any]]:
        """The choices of a chat; greedy and of 48 tokens unless said otherwise."""
        messages = [{"role": "user", "content": ask}]
        asked = {"model": model, "messages": messages, "max_tokens": 48, "temperature": 0, **more}
        return self.call("/v1/chat/completions", asked)["choices"]

    def text(self, model: str = "m", ask: str = ASK, **more: Any) -> str:
        """The text of a chat's first choice."""
        return self.choices(model, ask, **more)[0]["message"]["content"] or ""

    def engine_cpu(self) -> float:
        """CPU seconds that the child of `m` and what it started have taken."""
        connection, answer = self.send("GET", "/admin/models/m")
        with contextlib.closing(connection):
            return cpu_seconds(json.loads(answer.read())["replicas"][0]["pid"])


def _message(data: bytes) -> str:
    try:
        return json.loads(data)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace")[:200]


def frames(answer: Any) -> Generator[Any]:
    """The chunks of a stream, decoded."""
    for line in answer:
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise Missing(chunk["error"].get("message", chunk["error"]))
            yield chunk
        elif line.startswith(b"data: [DONE]"):
            return
    raise Missing("the stream broke off")


def must(found: object, otherwise: str) -> None:
    """Raise Missing unless something was found."""
    if not found:
        raise Missing(otherwise)


# The features


def stream(peer: Peer) -> None:
    """The same text in pieces as whole."""
    body = {"model": "m", "messages": [{"role": "user", "content": ASK}], "max_tokens": 48, "temperature": 0}
    connection, answer = peer.send("POST", "/v1/chat/completions", {**body, "stream": True})
    with contextlib.closing(connection):
        pieces = [
            choice["delta"]["content"]
            for chunk in frames(answer)
            for choice in chunk["choices"]
            if choice["delta"].get("content")
        ]
    must(len(pieces) > 4, f"all of it came in {len(pieces)} pieces")
    must("".join(pieces) == peer.text(), "the pieces are another text than the whole answer")


def stop(peer: Peer) -> None:
    """Over the border of two words, so that it does not fall on one token."""
    whole = peer.text()
    mark = whole[len(whole) // 2 : len(whole) // 2 + 5]
    choice = peer.choices(stop=[mark])[0]
    must(choice["message"]["content"] == whole[: whole.index(mark)], f"the text does not end before {mark!r}")
    must(choice["finish_reason"] == "stop", f"finish_reason is {choice['finish_reason']}")


def seed(peer: Peer) -> None:
    """Equal seeds, equal texts."""
    texts = [peer.text(temperature=1.5, seed=number) for number in (1, 1, 2, 3)]
    must(texts[0] == texts[1], "two answers of one seed differ")
    must(len(set(texts)) > 1, "the seed makes no difference")


def several(peer: Peer) -> None:
    """`n` choices."""
    found = peer.choices(n=3, temperature=1.5, seed=5)
    must([choice["index"] for choice in found] == [0, 1, 2], f"{len(found)} choices came")
    must(len({choice["message"]["content"] for choice in found}) > 1, "the choices are all the same")


def logprobs(peer: Peer) -> None:
    """Of each token, with two others."""
    told = (peer.choices(logprobs=True, top_logprobs=2)[0].get("logprobs") or {}).get("content") or []
    must(told, "none came")
    must(all(one["logprob"] <= 0 for one in told), "some are positive")
    must(all(len(one["top_logprobs"]) == 2 for one in told), "not two alternatives of each token")


def schema(peer: Peer) -> None:
    """Text that a JSON schema allows."""
    wanted = {"type": "json_schema", "json_schema": {"name": "c", "schema": SHAPE, "strict": True}}
    # A schema allows any space between words, and a small model likes to make much of it.
    text = peer.text(response_format=wanted, max_tokens=400)
    try:
        made = json.loads(text)
    except ValueError:
        raise Missing(f"the text is no JSON: {text[:40]!r}") from None
    must(made in ({"colour": "red"}, {"colour": "blue"}), f"the schema does not allow {text[:40]!r}")


def tools(peer: Peer) -> None:
    """A question that needs the tool becomes a call, streamed too; what the tool found is then said in a sentence."""
    talk: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    message = peer.choices(messages=talk, tools=[TOOL])[0]["message"]
    must(message.get("tool_calls"), f"answered with text: {(message.get('content') or '')[:40]!r}")
    call = message["tool_calls"][0]
    arguments = json.loads(call["function"]["arguments"])
    must((call["function"]["name"], arguments) == ("get_weather", {"city": "Paris"}), f"called {call['function']}")
    body = {"model": "m", "messages": talk, "tools": [TOOL], "max_tokens": 48, "temperature": 0, "stream": True}
    connection, answer = peer.send("POST", "/v1/chat/completions", body)
    with contextlib.closing(connection):
        pieces = [
            piece["function"]
            for chunk in frames(answer)
            for choice in chunk["choices"]
            for piece in choice["delta"].get("tool_calls") or ()
        ]
    must(pieces, "streamed, it answered with text")
    name, told = ("".join(piece.get(part) or "" for piece in pieces) for part in ("name", "arguments"))
    must((name, json.loads(told)) == ("get_weather", arguments), f"streamed, it called {name!r} with {told!r}")
    talk += [message, {"role": "tool", "tool_call_id": call["id"], "content": "21"}]
    said = peer.choices(messages=talk, tools=[TOOL])[0]["message"]
    must("21" in (said.get("content") or ""), f"of the result 21 it made {said}")


def tool_choice(peer: Peer) -> None:
    """`none` keeps a model from calling; a named tool is called, although the question asks for another."""
    ask = "What is the weather in Paris?"
    free = peer.choices(ask=ask, tools=[TOOL], tool_choice="none")[0]["message"]
    must(not free.get("tool_calls"), "none: it called")
    must("get_weather" not in (free.get("content") or ""), f"none: the call came as text: {free['content'][:40]!r}")
    named = {"type": "function", "function": {"name": "add"}}
    forced = peer.choices(ask=ask, tools=[TOOL, ADD], tool_choice=named)[0]["message"]
    called = [call["function"]["name"] for call in forced.get("tool_calls") or ()]
    must(called == ["add"], f"add was named, and {called or (forced.get('content') or '')[:40]!r} came")


def embeddings(peer: Peer) -> None:
    """Vectors that differ."""
    data = peer.call("/v1/embeddings", {"model": "vectors", "input": ["a cat", "the sky"]})["data"]
    must(len(data) == 2 and data[0]["embedding"] != data[1]["embedding"], "the vectors are the same")


def lora(peer: Peer) -> None:
    """An adapter changes the text."""
    must(peer.text("lora") != peer.text(), "the adapter makes no difference")


def cancel(peer: Peer) -> None:
    """What a caller does not wait for is not calculated: under half of the CPU time of a whole answer."""
    body = {
        "model": "m", "messages": [{"role": "user", "content": ASK}], "max_tokens": LONG, "ignore_eos": True,
        "temperature": 1, "stream": True,
    }  # fmt: skip

    def cost(leave: bool) -> float:
        before = peer.engine_cpu()
        connection, answer = peer.send("POST", "/v1/chat/completions", body)
        with contextlib.closing(connection):
            for count, _ in enumerate(frames(answer)):
                if leave and count == 3:
                    break
        # A new request is served after the old one at worst, so that all that was left of it is counted.
        time.sleep(0.1 if not leave else 1.0)
        return peer.engine_cpu() - before

    whole = sum(cost(False) for _ in range(3))
    left = sum(cost(True) for _ in range(3))
    must(left < whole / 2, f"an answer that was left after 4 pieces cost {left / whole:.0%} of a whole one's CPU time")


def continuation(peer: Peer) -> None:
    """From a part of its own answer the model goes on with the rest."""
    whole = peer.text()
    cut = whole.index(" ", len(whole) // 2)
    messages = [{"role": "user", "content": ASK}, {"role": "assistant", "content": whole[:cut]}]
    asked = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    text = peer.text(**asked)
    must(whole[cut:].startswith(text[: len(whole) - cut]), f"went on with {text[:30]!r}, not {whole[cut : cut + 30]!r}")
    must(text, "nothing came")


FEATURES: dict[str, Callable[[Peer], None]] = {
    "stream": stream,
    "stop": stop,
    "seed": seed,
    "n": several,
    "logprobs": logprobs,
    "schema": schema,
    "tools": tools,
    "tool choice": tool_choice,
    "embeddings": embeddings,
    "LoRA": lora,
    "cancel": cancel,
    "continuation": continuation,
}


# The engines


def engines(place: Path) -> list[Engine]:
    """Those of this machine, each with the shipped model in its own form."""
    # A copy: training may write the other one anew meanwhile.
    checkpoint = place / "pocket"
    shutil.copytree(CHECKPOINT, checkpoint)
    adapter = str(peft_adapter(checkpoint, place / "adapter"))
    vllm = os.environ.get(VLLM, "")
    return [
        Engine(
            "llamacpp", f"llamacpp:{GGUF}", {}, {"embeddings": True},
            {"lora": [{"path": str(gguf_adapter(GGUF, place / "adapter.gguf"))}]},
        ),
        Engine(
            "transformers", f"transformers:{checkpoint}", {"dtype": "float32"}, {"embeddings": True},
            {"adapter": adapter},
        ),
        Engine(
            "vllm", f"vllm:{checkpoint}",
            {
                "dtype": "float32", "context": 1024,
                "args": [
                    "--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
                    "--exclude-tools-when-tool-choice-none",
                ],
            },
            {"args": ["--enforce-eager", "--runner", "pooling"]}, {"lora": {"lora": adapter}},
            {"VLLM_CPU_KVCACHE_SPACE": "1"},
            cannot="" if vllm else f"{VLLM} does not name a vllm program",
        ),
    ]  # fmt: skip


@contextlib.contextmanager
def serving(engine: Engine, place: Path) -> Generator[Peer]:
    """A `trunkcall up` with the engine's models, of which `m` is ready. Raises Unavailable."""
    if engine.cannot:
        raise Unavailable(engine.cannot)
    models = {
        name: {"source": engine.source, "options": {**engine.options, **more}, "env": engine.env}
        for name, more in (("m", {}), ("vectors", engine.vectors), ("lora", engine.lora))
    }
    home = place / engine.name
    home.mkdir()
    settings = home / "trunkcall.yaml"
    _write(settings, models)
    refused = {name: reason for name in models if (reason := _refusal(settings, name))}
    if "m" in refused:
        raise Unavailable(refused["m"])
    _write(settings, {name: entry for name, entry in models.items() if name not in refused})
    port = free_port()
    command = [
        sys.executable, "-m", "trunkcall", "up", "--config", str(settings), "--home", str(home / "state"),
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with Child(command, log=home / "up.log", grace=15) as child:
        peer = Peer(port, refused)
        while True:
            try:
                peer.text(max_tokens=1)
                break
            except OSError:
                if not child.running or time.monotonic() - child.born > START:
                    raise Unavailable(child.last_words()) from None
                time.sleep(0.05)
            except Missing as error:
                raise Unavailable(str(error)) from None
        yield peer


def _write(settings: Path, models: dict[str, Any]) -> None:
    # JSON is YAML
    settings.write_text(json.dumps({"models": models, "pocket": False}))


def _refusal(settings: Path, model: str) -> str:
    """Why a model's options cannot work; empty when they can."""
    command = [
        sys.executable, "-m", "trunkcall", "models", "show", model, "--json",
        "--config", str(settings), "--home", str(settings.parent / "state"),
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)
    if said.returncode:
        return said.stderr.strip()
    return json.loads(said.stdout)["replicas"][0]["error"]


def run(engine: Engine, place: Path) -> dict[str, str]:
    """By feature what stands against it, empty for nothing. Raises Unavailable."""
    found: dict[str, str] = {}
    with serving(engine, place) as peer:
        for name, check in FEATURES.items():
            try:
                check(peer)
                found[name] = ""
            except Missing as error:
                found[name] = str(error)
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


def main() -> int:
    """Run and print; the exit code says whether any engine could be run."""
    parser = argparse.ArgumentParser(prog="python -m bench.features", description=__doc__)
    parser.add_argument("--only", metavar="NAMES", default="", help="engines, between commas")
    only = {name for name in parser.parse_args().only.split(",") if name}
    unwind_on_signals()
    with scratch() as place:
        wanted = [engine for engine in engines(place) if not only or engine.name in only]
        results: dict[str, dict[str, str]] = {}
        reasons: list[list[str]] = []
        for engine in wanted:
            try:
                results[engine.name] = run(engine, place)
                reasons += [[engine.name, name, reason] for name, reason in results[engine.name].items() if reason]
            except Unavailable as error:
                reasons.append([engine.name, "all", f"not run: {error}"])

    def cell(engine: str, feature: str) -> str:
        return "-" if engine not in results else "no" if results[engine][feature] else "yes"

    names = [engine.name for engine in wanted]
    rows = [[feature, *(cell(name, feature) for name in names), ""] for feature in FEATURES]
    print(table("features, as run through Trunkcall", ["feature", *names, ""], rows))
    if reasons:
        print(table("why not", ["engine", "feature", "reason"], reasons))
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
