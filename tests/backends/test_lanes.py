"""Both lanes give the same answers: the forwarded bytes, and the way through the neutral model, against one real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Server

from trunkcall.backends.openai import OpenAI
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Fault, Finish, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.requests import Generate, Wire
from trunkcall.protocols import openai as codec
from trunkcall.testing import check_events

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Who are you?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "maxLength": 8}},
            "required": ["place"],
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["ok", "n"],
            "additionalProperties": False,
        },
    },
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("/chat/completions", {"messages": HELLO}),
    "system and turns": (
        "/chat/completions",
        {
            "messages": [
                {"role": "system", "content": "You are helpful."},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": "What is the opposite of big?"},
            ]
        },
    ),
    "parts": ("/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}),
    "limit": ("/chat/completions", {"messages": HELLO, "max_tokens": 3}),
    "newer limit": ("/chat/completions", {"messages": HELLO, "max_completion_tokens": 4}),
    "stop": ("/chat/completions", {"messages": HELLO, "stop": ["small", "xyzzy"]}),
    "one stop": ("/chat/completions", {"messages": HELLO, "stop": "Pocket"}),
    "two choices": ("/chat/completions", {"messages": HELLO, "n": 2, "seed": 7}),
    "logprobs": ("/chat/completions", {"messages": HELLO, "logprobs": True, "top_logprobs": 2, "max_tokens": 4}),
    "bias": ("/chat/completions", {"messages": HELLO, "logit_bias": {"100": -100, "7": 1}, "max_tokens": 6}),
    "penalties": (
        "/chat/completions",
        {"messages": HELLO, "frequency_penalty": 0.5, "presence_penalty": 0.25, "max_tokens": 6},
    ),
    "schema": ("/chat/completions", {"messages": HELLO, "response_format": SCHEMA, "max_tokens": 40}),
    "text format": ("/chat/completions", {"messages": HELLO, "response_format": {"type": "text"}}),
    "unicode": (
        "/chat/completions",
        {"messages": [{"role": "user", "content": "grüß dich 👋 世界"}], "max_tokens": 12},
    ),
    "nulls": ("/chat/completions", {"messages": HELLO, "stop": None, "seed": None, "max_tokens": None, "n": None}),
    "text": ("/completions", {"prompt": "Once upon a time", "max_tokens": 12}),
    "texts": ("/completions", {"prompt": ["Once upon", "hello"], "max_tokens": 4}),
    "tokens": ("/completions", {"prompt": [10, 20, 30], "max_tokens": 4}),
    "text logprobs": ("/completions", {"prompt": "Once upon a time", "max_tokens": 3, "logprobs": 2}),
}


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(home=tmp_path_factory.mktemp("home")) as server:
        server.chat("pocket", "hello")
        yield server


async def forwarded(backend: OpenAI, path: str, body: bytes, stream: bool) -> bytes:
    meter = Meter("id", model="shown", protocol="openai", stream=stream)
    async with backend.forward(Wire("openai", path, [], body), meter) as answer:
        data = b"".join([piece async for piece in answer])
    assert answer.status == 200, data
    assert meter.usage is not None
    assert meter.finish
    return data


async def translated(backend: OpenAI, request: Generate, emitter: Any) -> bytes:
    meter = Meter("id", model="shown", protocol="other", stream=request.reporting.stream)
    seen = []
    sent = b""
    async with backend.open(request, meter) as events:
        async for event in events:
            assert not isinstance(event, Fault), event
            seen.append(event)
            sent += emitter.feed(event)
    check_events(seen)
    assert any(isinstance(event, Usage) for event in seen)
    assert any(isinstance(event, Finish) for event in seen)
    return sent + emitter.end()


def whole(data: bytes) -> dict[str, Any]:
    """An answer without what differs from call to call."""
    answer = json.loads(data)
    for key in ("id", "created", "system_fingerprint"):
        answer.pop(key, None)
    return comparable(answer)


def comparable(value: Any) -> Any:
    """Without nulls (absent and null are the same here), the cache's luck, and the engine's own token ids."""
    match value:
        case dict():
            skipped = {"prompt_tokens_details"} | ({"id"} if "logprob" in value else set())
            return {k: comparable(v) for k, v in value.items() if v is not None and k not in skipped}
        case list():
            return [comparable(v) for v in value]
        case _:
            return value


def joined(data: bytes) -> dict[str, Any]:
    """A stream as text, finish and logprobs by choice, and its usage."""
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    payloads = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    assert payloads[-1] == "[DONE]"
    for payload in payloads[:-1]:
        chunk = json.loads(payload)
        assert chunk["model"] == "shown"
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            found = choices.setdefault(choice["index"], {"text": "", "finish": None, "tokens": [], "calls": ""})
            delta = choice.get("delta", {})
            found["text"] += (delta.get("content") if "delta" in choice else choice.get("text")) or ""
            for call in delta.get("tool_calls") or ():
                found["calls"] += call["function"].get("name") or ""
                found["calls"] += call["function"].get("arguments") or ""
            logprobs = choice.get("logprobs") or {}
            found["tokens"] += comparable(logprobs.get("content") or logprobs.get("tokens") or [])
            found["finish"] = choice["finish_reason"] or found["finish"]
    return {"choices": choices, "usage": comparable(usage)}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", CASES)
async def test_both_lanes_agree(pocket: Server, case: str, stream: bool) -> None:
    path, fields = CASES[case]
    body = {"model": "shown", "temperature": 0, "cache_prompt": False, **fields}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    data = json.dumps(body).encode()
    read: Callable[[bytes], Generate] = codec.read_chat if path.startswith("/chat") else codec.read_completion
    request = read(data)
    emitter = (codec.ChatEmitter if path.startswith("/chat") else codec.CompletionEmitter)(request, stream)
    backend = OpenAI(f"{pocket.url}/v1", "pocket")
    try:
        one = await forwarded(backend, path, data, stream)
        other = await translated(backend, request, emitter)
    finally:
        await backend.aclose()
    read_answer = joined if stream else whole
    assert read_answer(one) == read_answer(other)


async def test_usage_that_only_we_asked_for_stays_with_us(pocket: Server) -> None:
    body = json.dumps({"model": "shown", "messages": HELLO, "stream": True}).encode()
    backend = OpenAI(f"{pocket.url}/v1", "pocket")
    try:
        sent = await forwarded(backend, "/chat/completions", body, True)
    finally:
        await backend.aclose()
    assert b'"usage":{' not in sent.replace(b" ", b"")
    assert sent.endswith(b"data: [DONE]\n\n")


async def test_upstream_that_refuses_is_unreachable_and_may_be_tried_elsewhere(free_port: int, tmp_path: Path) -> None:
    backend = OpenAI(f"http://127.0.0.1:{free_port}/v1", "m")
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    try:
        with pytest.raises(ServingError) as caught:
            await forwarded(backend, "/chat/completions", body, False)
        assert caught.value.kind == "unreachable"
        health = await backend.health()
        assert not health.ok
    finally:
        await backend.aclose()


async def test_replica_given_up_while_it_is_asked_may_be_replaced_by_another() -> None:
    """The supervisor closes a lost replica's connections while callers still wait on them."""
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        backend = OpenAI(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "m")
        body = json.dumps({"model": "m", "messages": HELLO}).encode()
        asking = asyncio.create_task(forwarded(backend, "/chat/completions", body, False))
        await asyncio.wait_for(accepted.wait(), 20)
        await backend.aclose()
        with pytest.raises(ServingError) as caught:
            await asking
        assert caught.value.kind == "unreachable"
        with pytest.raises(ServingError) as caught:
            await forwarded(backend, "/chat/completions", body, False)
        assert caught.value.kind == "unreachable"
