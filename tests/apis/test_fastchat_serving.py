"""A model's worker routes: frames, vectors, counts, slots that come back, and failures that are always answers."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import pytest
from apis.fastchat_workers import Speaking, Wordy, Worker, worker
from apis.kuwa_executors import Script, until
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import STATUS, Kind, ServingError
from trunkcall.core.requests import MessagesPrompt
from trunkcall.net.client import Client

pytestmark = pytest.mark.anyio

ASKED: dict[str, Any] = {"model": "m", "prompt": "hi", "echo": False}


async def test_frames_are_cumulative_and_the_last_is_repeated() -> None:
    async with worker({"m": Wordy("a", "b", "ü", "d", "e")}) as running:
        frames = await running.frames(**ASKED)
    assert [frame["text"] for frame in frames] == ["a", "abü", "abüde", "abüde"]
    assert [frame["finish_reason"] for frame in frames] == [None, None, None, "stop"]
    assert {frame["error_code"] for frame in frames} == {0}
    assert all(frame["usage"]["completion_tokens"] for frame in frames)


@pytest.mark.parametrize(
    ("interval", "texts"), [(1, ["a", "ab", "abc", "abc"]), (3, ["a", "abc", "abc"]), (9, ["a", "abc", "abc"])]
)
async def test_interval(interval: int, texts: list[str]) -> None:
    async with worker({"m": Wordy("a", "b", "c")}, interval=interval) as running:
        assert [frame["text"] for frame in await running.frames(**ASKED)] == texts


async def test_the_whole_answer_is_the_last_object() -> None:
    async with worker({"m": Wordy("a", "b")}) as running:
        whole = await running.told("worker_generate", {"prompt": "hi "})
        assert (whole["text"], whole["finish_reason"]) == ("hi ab", "stop")
        assert whole == (await running.frames(prompt="hi "))[-1]


@given(st.text(max_size=20), st.text(max_size=20))
async def test_any_text_comes_back(prompt: str, answer: str) -> None:
    pieces = list(answer)
    async with worker({"m": Wordy(*pieces, context=None)}) as running:
        frames = await running.frames(prompt=prompt)
    assert frames[-1]["text"] == prompt + answer


@pytest.mark.parametrize(
    ("options", "asked", "seed"), [({}, {}, None), ({"seed": 0}, {}, 0), ({"seed": 5}, {"temperature": 0}, 5)]
)
async def test_seed_of_the_worker(options: dict[str, Any], asked: dict[str, Any], seed: int | None) -> None:
    backend = Wordy("a")
    async with worker({"m": backend}, **options) as running:
        await running.told("worker_generate", {**ASKED, **asked})
    found = backend.asked[0].sampling.seed
    assert (found if isinstance(found, int) else None) == seed


KINDS: list[Kind] = [kind for kind in STATUS if kind not in ("cancelled", "unreachable")]


@pytest.mark.parametrize("kind", KINDS)
async def test_failures_are_answers(kind: Kind) -> None:
    error = ServingError(kind, "because of it")
    async with worker({"before": Wordy(refusal=error), "within": Wordy("a", "b", error)}) as running:
        for model, texts in (("before", ["because of it"]), ("within", ["a", "because of it"])):
            frames = await running.frames(**{**ASKED, "model": model})
            assert [frame["text"] for frame in frames] == texts
            whole = await running.told("worker_generate", {**ASKED, "model": model})
            assert whole == frames[-1]
            assert whole["error_code"] >= 40001
        assert all(replica.in_flight == 0 for pool in running.dispatch.pools.values() for replica in pool.replicas)


async def test_vectors_have_unit_length_and_may_be_packed() -> None:
    async with worker({"m": Wordy(), "n": Script()}) as running:
        asked: dict[str, Any] = {"model": "m", "input": ["a", "b"]}
        assert await running.told("worker_get_embeddings", asked) == {"embedding": [[0.6, 0.8]] * 2, "token_num": 2}
        assert (await running.told("worker_get_embeddings", {**asked, "input": "a"}))["embedding"] == [[0.6, 0.8]]
        packed = await running.told("worker_get_embeddings", {**asked, "encoding_format": "base64"})
        assert struct.unpack("<2f", base64.b64decode(packed["embedding"][0])) == pytest.approx((0.6, 0.8))
        for wrong, named in (({"input": []}, "input"), ({"input": ["a"], "encoding_format": "hex"}, "encoding_format")):
            refused = await running.told("worker_get_embeddings", {"model": "m", **wrong})
            assert refused["error_code"] == 40001
            assert named in refused["text"]
        refused = await running.told("worker_get_embeddings", {"model": "n", "input": ["a"]})
        assert refused["error_code"] == 40001


async def test_texts_that_are_too_long_to_embed_are_cut_where_the_worker_is_told_to() -> None:
    backends: dict[str, Any] = {"m": Wordy(context=32), "n": Wordy(context=32)}
    async with worker(backends, truncate=["m"]) as running:
        body = {"input": ["a", "w " * 99]}
        cut = await running.post("worker_get_embeddings", {**body, "model": "m"})
        assert (json.loads(cut.body)["token_num"], cut.headers[b"x-trunkcall-dropped"]) == (2, b"input")
        whole = await running.post("worker_get_embeddings", {**body, "model": "n"})
        assert b"x-trunkcall-dropped" not in whole.headers
        assert [backend.embedded for backend in backends.values()] == [
            [((0,), tuple(range(32)))],
            [("a", "w " * 99)],
        ]


async def test_counts_and_length() -> None:
    backend = Wordy(context=77)
    async with worker({"m": backend, "n": Script()}) as running:
        assert await running.told("count_token", {"model": "m", "prompt": "a b c"}) == {"count": 3, "error_code": 0}
        assert await running.told("model_details", {"model": "m"}) == {"context_length": 77}
        chat = "<|im_start|>user\none two<|im_end|>\n<|im_start|>assistant\n"
        assert (await running.told("count_token", {"model": "m", "prompt": chat}))["count"] == 2
        assert isinstance(backend.counted[-1].prompt, MessagesPrompt)
        # Who cannot count has it estimated.
        assert (await running.told("count_token", {"model": "n", "prompt": "x" * 41}))["count"] == 11
        assert await running.told("model_details", {"model": "n"}) == {"context_length": 8192}


async def test_calls_over_the_limit_wait_and_are_told() -> None:
    backend = Wordy("a", "b")
    backend.go.clear()
    async with worker({"m": backend}, slots=2) as running:
        calls = [asyncio.create_task(running.frames(**ASKED)) for _ in range(5)]
        await until(lambda: len(running.dispatch.pools["m"].queue) == 3 and backend.running == 2)
        assert (await running.told("worker_get_status"))["queue_length"] == 5
        # Asking how it is takes no slot.
        assert (await running.told("count_token", {"model": "m", "prompt": "a"}))["count"] == 1
        backend.go.set()
        assert [frames[-1]["text"] for frames in await asyncio.gather(*calls)] == ["ab"] * 5
        assert (await running.told("worker_get_status"))["queue_length"] == 0


@pytest.mark.parametrize("route", ["worker_generate", "worker_generate_stream"])
async def test_who_leaves_gives_the_slot_back(route: str) -> None:
    backend = Wordy("a", "b")
    backend.go.clear()
    async with worker({"m": backend}, slots=1) as running:
        first = asyncio.create_task(_leave(running, route))
        await until(lambda: backend.running == 1)
        waiting = asyncio.create_task(_leave(running, route))
        await until(lambda: len(running.dispatch.pools["m"].queue) == 1)
        for call in (waiting, first):
            call.cancel()
            await asyncio.wait({call})
        await until(lambda: backend.running == 0)
        assert (await running.told("worker_get_status"))["queue_length"] == 0


async def _leave(running: Worker, route: str) -> None:
    client = Client(running.url)
    try:
        async with client.request(b"POST", f"/{route}".encode(), b"", json.dumps(ASKED).encode()) as answer:
            await answer.read()
    finally:
        await client.aclose()


async def test_a_worker_behind_is_passed_through() -> None:
    backend = Speaking()
    async with worker({"m": backend}) as running:
        for route in ("worker_generate_stream", "worker_generate", "worker_get_embeddings", "worker_get_conv_template"):
            body = {**ASKED, "input": ["a"]}
            assert (await running.post(route, body)).body == f"from /{route}".encode()
            assert json.loads(backend.passed[-1].body) == body
        # Its prompts are in its own template.
        chat = "<|im_start|>user\none two<|im_end|>\n<|im_start|>assistant\n"
        assert (await running.told("count_token", {"model": "m", "prompt": chat}))["count"] == 7
        assert (await running.told("model_details", {"model": "m"}))["context_length"] == 64
        missing = await running.post("worker_generate_stream", {"model": "m"})
        assert b"40001" in missing.body
        assert len(backend.passed) == 4


async def test_what_was_dropped_is_told() -> None:
    long = "word " * 100
    async with worker({"m": Wordy("a", context=32)}) as running:
        reply = await running.post("worker_generate", {**ASKED, "prompt": long})
        assert reply.headers[b"x-trunkcall-dropped"] == b"prompt"
