"""Old command lines of FastChat's workers, started: they register, answer with a real model, and take leave."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from apis.fastchat_workers import Controller, controller_at
from apis.kuwa_executors import ask, until
from takeover.kuwa_started import started

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

HF = Path(__file__).parents[2] / "pocket" / "hf"
CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@asynccontextmanager
async def child(home: Path, program: str, *words: str) -> AsyncIterator[str]:
    """Its URL; the loop goes on while it starts and ends, because it talks to a controller in here."""
    context = started(home, f"fastchat.serve.{program}", "--port", "0", *words)
    _, url = await asyncio.to_thread(context.__enter__)
    try:
        yield url
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def told(url: str, route: str, body: Any) -> Any:
    reply = await ask(url, "POST", f"/{route}", json.dumps(body).encode())
    assert reply.status == 200
    return json.loads(reply.body)


async def frames(url: str, body: Any) -> list[dict[str, Any]]:
    reply = await ask(url, "POST", "/worker_generate_stream", json.dumps(body).encode())
    assert (reply.status, reply.body[-1:]) == (200, b"\0")
    return [json.loads(frame) for frame in reply.body.split(b"\0")[:-1]]


async def test_a_model_worker_from_its_start_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCHAT_WORKER_HEART_BEAT_INTERVAL", "0.2")
    controller = Controller()
    async with controller_at(controller) as listening:
        words = ("--model-path", "pocket", "--model-names", "a,b", "--controller", listening.url, "--embed-in-truncate")
        async with child(tmp_path, "model_worker", *words) as url:
            # It registers when it can answer, not before.
            await until(lambda: controller.known.get(url) == ["a", "b"], 60)
            asked = {"model": "a", "prompt": CHAT, "temperature": 0, "max_new_tokens": 40, "echo": False}
            said = await frames(url, asked)
            assert "Paris" in said[-1]["text"]
            assert [frame["finish_reason"] for frame in said] == [None] * (len(said) - 1) + ["stop"]
            assert said[-1]["text"] == said[-2]["text"]
            assert all(late["text"].startswith(early["text"]) for early, late in pairwise(said))
            assert said[-1] == await told(url, "worker_generate", asked)
            assert (await told(url, "count_token", {"model": "b", "prompt": CHAT}))["count"] == said[-1]["usage"][
                "prompt_tokens"
            ]
            context = (await told(url, "model_details", {"model": "a"}))["context_length"]
            # Longer than the model holds, with more of an answer than it holds.
            long = {**asked, "prompt": "one two three " * context, "max_new_tokens": 2048}
            whole = await told(url, "worker_generate", long)
            assert whole["usage"]["prompt_tokens"] < context
            assert whole["usage"]["total_tokens"] <= context
            texts = ["a cat", "a dog", "one two three " * context]
            vectors = (await told(url, "worker_get_embeddings", {"model": "b", "input": texts}))["embedding"]
            assert [sum(x * x for x in vector) for vector in vectors] == pytest.approx([1, 1, 1], abs=1e-3)
            await until(lambda: controller.routes_told.count("receive_heart_beat") > 2)
        assert controller.known == {url: []}


async def test_several_models_in_one_worker(tmp_path: Path) -> None:
    controller = Controller()
    async with controller_at(controller) as listening:
        words = ("--model-path", "pocket", "--model-path", "debug", "--model-names", "a", "--model-names", "b")
        async with child(tmp_path, "multi_model_worker", *words, "--controller", listening.url) as url:
            await until(lambda: controller.known.get(url) == ["a", "b"], 60)
            said = await told(url, "worker_generate", {"model": "b", "prompt": "<|im_start|>user\nhallo<|im_end|>\n"})
            assert "hallo" in said["text"]
            assert (await told(url, "worker_generate", {"model": "c", "prompt": "x"}))["error_code"] == 40301


async def test_a_model_that_cannot_be_loaded_ends_the_worker_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(AssertionError, match="damaged or incomplete"):
        async with child(tmp_path, "model_worker", "--model-path", str(path), "--no-register"):
            pass


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")
async def test_a_checkpoint_by_transformers_gives_vectors_too(tmp_path: Path) -> None:
    words = ("--model-path", str(HF), "--device", "cpu", "--no-register", "--limit-worker-concurrency", "2")
    async with child(tmp_path, "model_worker", *words) as url:
        asked = {"model": "hf", "prompt": CHAT, "temperature": 0, "max_new_tokens": 40, "echo": False}
        assert "Paris" in (await frames(url, asked))[-1]["text"]
        asked = {"model": "hf", "input": ["a cat", "a dog"], "encoding_format": "base64"}
        vectors = (await told(url, "worker_get_embeddings", asked))["embedding"]
        numbers = [struct.unpack(f"<{len(data) // 4}f", data) for data in map(base64.b64decode, vectors)]
        assert [sum(x * x for x in vector) for vector in numbers] == pytest.approx([1, 1], abs=1e-3)
