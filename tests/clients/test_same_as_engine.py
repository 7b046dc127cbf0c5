"""The same requests answered by llama.cpp's own listener and by us, compared field by field."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from running import Server

from trunkcall.pocket import gguf_path

HELLO = [{"role": "user", "content": "Who are you?"}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"messages": HELLO}),
    "turns": (
        "chat/completions",
        {
            "messages": [
                {"role": "user", "content": "my name is Ada"},
                {"role": "assistant", "content": "Hello, Ada!"},
                {"role": "user", "content": "What is the opposite of big?"},
            ]
        },
    ),
    "length": ("chat/completions", {"messages": HELLO, "max_tokens": 3}),
    "stop": ("chat/completions", {"messages": HELLO, "stop": ["small"]}),
    "logprobs": ("chat/completions", {"messages": HELLO, "logprobs": True, "top_logprobs": 2, "max_tokens": 5}),
    "schema": (
        "chat/completions",
        {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
    ),
    "prefill": ("chat/completions", {"messages": [*HELLO, {"role": "assistant", "content": "I am"}]}),
    "unicode": ("chat/completions", {"messages": [{"role": "user", "content": "世界 👋"}], "max_tokens": 12}),
    "text": ("completions", {"prompt": "Once upon a time", "max_tokens": 12}),
    "tokens": ("completions", {"prompt": [11, 22, 33], "max_tokens": 5}),
    "text logprobs": ("completions", {"prompt": "Once upon a time", "max_tokens": 4, "logprobs": 2}),
}
OURS_ONLY = {"refusal"}
"""Fields that OpenAI's schema requires and llama.cpp leaves out."""
THEIRS_ONLY = {"timings", "__verbose"}
"""llama.cpp's own additions, which we leave out."""
DIFFER = {"id", "created", "system_fingerprint", "model", "prompt_tokens_details"}
"""What may differ from call to call: identity, and how much of the prompt was cached."""


DELIBERATE = {
    ("prefill", "whole"): "llama.cpp repeats the given beginning in a whole answer but not in a stream; we never do",
    (
        "text logprobs",
        "whole",
    ): "llama.cpp gives chat's shape of logprobs on /completions; we give the one of OpenAI's API",
    ("text logprobs", "stream"): "the same",
}
"""Where we differ, and why."""


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.bare_engine", str(gguf_path()), "--slots", "1", "--context", "1024"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().split()[1]
        finally:
            child.kill()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    settings = home / "trunkcall.yaml"
    settings.write_text(
        "models: {m: {source: pocket, options: {slots: 1, context: 1024, threads: 1}}}\n", encoding="utf-8"
    )
    with Server("--config", str(settings), home=home) as server:
        yield server.url


def ask(url: str, path: str, body: dict[str, Any]) -> bytes:
    request = urllib.request.Request(
        f"{url}/v1/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: bytes = answer.read()
            return data
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read()) from None


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path -> leaf, without the fields that may differ."""
    found: dict[str, Any] = {}
    match value:
        case dict():
            for key, inner in value.items():
                if key not in OURS_ONLY | THEIRS_ONLY | DIFFER:
                    found |= flat(inner, f"{path}.{key}")
        case list():
            for number, inner in enumerate(value):
                found |= flat(inner, f"{path}[{number}]")
        case None:
            pass
        case _:
            found[path] = value
    return found


def chunks(data: bytes) -> list[Any]:
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def told(parsed: list[Any]) -> dict[str, Any]:
    """A stream as what it tells, whatever the cut of its chunks."""
    merged: dict[str, Any] = {"text": "", "finish": [], "tokens": [], "usage": None, "role": None}
    for chunk in parsed:
        merged["usage"] = chunk.get("usage") or merged["usage"]
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {"content": choice.get("text")}
            merged["text"] += delta.get("content") or ""
            merged["role"] = delta.get("role") or merged["role"]
            if choice.get("finish_reason"):
                merged["finish"].append(choice["finish_reason"])
            merged["tokens"] += (choice.get("logprobs") or {}).get("content") or []
    return flat(merged)


@pytest.mark.parametrize("form", ["whole", "stream"])
@pytest.mark.parametrize("case", CASES)
def test_same(engine: str, ours: str, case: str, form: str) -> None:
    path, fields = CASES[case]
    body = {"model": "m", "temperature": 0, **fields}
    if form == "stream":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    our, their = ask(ours, path, body), ask(engine, path, body)
    ours_told, theirs_told = (told(chunks(it)) if form == "stream" else flat(json.loads(it)) for it in (our, their))
    # The last digits of a probability depend on what of the prompt an engine has in its cache.
    same = ours_told == pytest.approx(theirs_told, abs=1e-4)
    # A difference that has gone is news too.
    assert same != ((case, form) in DELIBERATE), (our, their)


def test_prefill_gives_the_same_text_whole_and_streamed(ours: str) -> None:
    path, fields = CASES["prefill"]
    body = {"model": "m", "temperature": 0, **fields}
    whole = json.loads(ask(ours, path, body))["choices"][0]["message"]["content"]
    streamed = told(chunks(ask(ours, path, {**body, "stream": True})))[".text"]
    assert whole == streamed


def test_text_logprobs_have_openais_shape(ours: str) -> None:
    path, fields = CASES["text logprobs"]
    logprobs = json.loads(ask(ours, path, {"model": "m", "temperature": 0, **fields}))["choices"][0]["logprobs"]
    assert {len(logprobs[key]) for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset")} == {4}
