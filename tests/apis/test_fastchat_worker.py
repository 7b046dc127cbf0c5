"""The worker's API: which model a call means, its life with controllers, and what the HTTP around it says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apis.fastchat_workers import Controller, Wordy, controller_at, living, worker
from apis.kuwa_executors import ask, until

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fastchat import NEUTRAL, emit_template, named

pytestmark = pytest.mark.anyio

ASKED: dict[str, Any] = {"prompt": "hi", "echo": False, "temperature": 0}


async def test_status_is_told_without_a_question() -> None:
    async with worker({"m": Wordy()}) as running:
        for body in (None, {}, {"model": "x"}):
            status = await running.told("worker_get_status", body)
            assert status == {"model_names": ["m"], "speed": 1, "queue_length": 0}


@pytest.mark.parametrize("asked", ["a", "b", "other", None])
async def test_a_single_model_answers_to_any_name(asked: str | None) -> None:
    async with worker({"m": Wordy("yes")}, names={"a": "m", "b": "m"}) as running:
        said = await running.told("worker_generate", {**ASKED, **({} if asked is None else {"model": asked})})
        assert said["text"] == "yes"
        assert (await running.told("worker_get_status"))["model_names"] == ["a", "b"]
        assert running.journal.closed[0].model == "m"


async def test_of_several_models_one_must_be_named() -> None:
    async with worker({"a": Wordy("from a"), "b": Wordy("from b")}) as running:
        for name in ("a", "b"):
            assert (await running.told("worker_generate", {**ASKED, "model": name}))["text"] == f"from {name}"
            assert (await running.told("worker_get_conv_template", {"model": name}))["conv"]["name"] == "trunkcall"
        for body in ({**ASKED, "model": "c"}, ASKED):
            refused = await running.told("worker_generate", body)
            assert refused["error_code"] == 40301
            assert "a, b" in refused["text"]
            assert (await running.frames(**body))[0]["error_code"] == 40301


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("POST", "/nope", 404, b'{"detail":"Not Found"}'),
        ("GET", "/worker_generate", 405, b'{"detail":"Method Not Allowed"}'),
        ("GET", "/worker_get_status", 405, b'{"detail":"Method Not Allowed"}'),
    ],
)
async def test_http_words(method: str, path: str, status: int, body: bytes) -> None:
    async with worker({"m": Wordy()}) as running:
        reply = await ask(running.url, method, path)
        assert (reply.status, reply.body) == (status, body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": 5}', b"\xff", b'{"prompt": null}', b'{"prompt": 5}'])
async def test_what_is_no_call_is_told_in_a_frame(body: bytes) -> None:
    async with worker({"m": Wordy("x")}, slots=1) as running:
        for route in ("worker_generate", "worker_generate_stream", "worker_get_embeddings", "count_token"):
            reply = await running.post(route, body)
            assert (reply.status, b'"error_code":40001' in reply.body) == (200, True), (route, reply.body)
            assert reply.body.endswith(b"\0") == route.endswith("stream")
        assert (await running.told("worker_get_status"))["queue_length"] == 0
        assert (await running.told("worker_generate", ASKED))["text"] == "x"


async def test_a_named_template_is_handed_out_and_its_prompts_stay_text() -> None:
    backend = Wordy("x")
    prompt = "USER: hello ASSISTANT:"
    async with worker({"m": backend, "n": backend}, templates={"m": "vicuna_v1.1"}) as running:
        assert (await running.post("worker_get_conv_template", {"model": "m"})).body == emit_template(
            named("vicuna_v1.1")
        )
        assert (await running.post("worker_get_conv_template", {"model": "n"})).body == emit_template(NEUTRAL)
        for model, kind in (("m", "TextPrompt"), ("n", "MessagesPrompt")):
            await running.told("worker_generate", {**ASKED, "model": model, "prompt": prompt})
            await running.told("count_token", {"model": model, "prompt": prompt})
            assert type(backend.asked[-1].prompt).__name__ == kind
            assert type(backend.counted[-1].prompt).__name__ == kind


async def test_a_template_that_is_not_known_is_refused() -> None:
    with pytest.raises(ServingError, match="Did you mean"):
        async with worker({"m": Wordy()}, templates={"m": "vicuna_v1"}):
            pass


async def test_it_registers_when_its_model_is_ready_and_takes_leave() -> None:
    controller = Controller()
    async with controller_at(controller) as listening:
        async with worker({"m": None}, names={"a": "m", "b": "m"}, controllers=[listening.url], beat=0.05) as running:
            pool = running.dispatch.pools["m"]
            async with living(running):
                await asyncio.sleep(0.1)
                assert controller.told == []
                running.dispatch.ready(pool.replicas[0], Wordy(), 1)
                await until(lambda: controller.routes_told.count("receive_heart_beat") > 1)
                route, first = controller.told[0]
                assert route == "register_worker"
                assert first == {
                    "worker_name": running.url,
                    "check_heart_beat": True,
                    "worker_status": {"model_names": ["a", "b"], "speed": 1, "queue_length": 0},
                    "multimodal": False,
                }
            assert controller.known == {running.url: []}
            assert (await running.told("worker_get_status"))["model_names"] == []


async def test_a_model_that_cannot_start_ends_the_worker() -> None:
    controller = Controller()
    async with (
        controller_at(controller) as listening,
        worker({"m": None}, names={"m": "m"}, controllers=[listening.url]) as running,
    ):
        pool = running.dispatch.pools["m"]
        async with living(running) as life:
            await asyncio.sleep(0)
            running.dispatch.lost(pool.replicas[0], "failed", "no such file")
            await until(life.done)
            assert isinstance(life.exception(), ServingError)
            assert "no such file" in str(life.exception())
        assert controller.told == []


async def test_without_names_all_models_are_offered_as_they_come() -> None:
    controller = Controller()
    async with controller_at(controller) as listening:
        async with worker({"a": Wordy()}, controllers=[listening.url], beat=0.05) as running, living(running):
            await until(lambda: controller.known.get(running.url) == ["a"])
            running.dispatch.pools["b"] = running.dispatch.pools["a"]
            await until(lambda: controller.known[running.url] == ["a", "b"])
