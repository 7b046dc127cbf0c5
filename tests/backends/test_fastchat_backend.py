"""The calling side of FastChat against workers and controllers on loopback: both lanes, and all that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
from backends.fastchat_peers import VICUNA, Controller, Peer, Worker, frames, listening

from trunkcall.backends import fastchat_known, fastchat_places
from trunkcall.backends.fastchat import FastChat, connect
from trunkcall.control.breaker import judge
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings
from trunkcall.core.ports import Counts, Embeds, Forwards, Generates, Response
from trunkcall.core.requests import (
    Count,
    Embed,
    Generate,
    Message,
    MessagesPrompt,
    Sampling,
    Shape,
    TextPart,
    TextPrompt,
    TokenPrompt,
    Tokens,
    Tool,
    Vectors,
    Wire,
)
from trunkcall.testing import check_events

pytestmark = pytest.mark.anyio

HELLO = Generate(
    model="m", prompt=MessagesPrompt((Message("user", (TextPart("hi"),)),)), sampling=Sampling(max_tokens=9)
)
DEAD = "http://127.0.0.1:1"
GARBAGE = Response(200, b"<html>It works!</html>")


def connected(url: str, model: str = "", **options: Any) -> FastChat:
    return connect(url, ModelSettings(name="m", sources=(), options=options), model)


def meter(model: str = "m") -> Meter:
    return Meter("id", model=model, protocol="fastchat", stream=True)


@asynccontextmanager
async def backend_of(peer: Peer, model: str = "", **options: Any) -> AsyncIterator[FastChat]:
    async with listening(peer) as url:
        backend = connected(url, model, **options)
        try:
            yield backend
        finally:
            await backend.aclose()


@asynccontextmanager
async def behind(*workers: Worker, **models: list[str]) -> AsyncIterator[tuple[FastChat, Controller]]:
    """A backend for a controller, which names the workers in turn for the model `m`."""
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(listening(worker)) for worker in workers]
        controller = Controller(**{"m": urls, **models})
        yield await stack.enter_async_context(backend_of(controller)), controller


async def events_of(backend: FastChat, request: Generate = HELLO, noted: Meter | None = None) -> list[Event]:
    async with backend.open(request, noted or meter(request.model)) as events:
        found = [event async for event in events]
    check_events(found)
    return found


def text_of(events: list[Event], index: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, Text) and event.index == index)


async def failure_of(backend: FastChat, request: Generate = HELLO) -> ServingError:
    with pytest.raises(ServingError) as raised:
        found = await events_of(backend, request)
        if isinstance(found[-1], Fault):
            raise found[-1].error
    return raised.value


async def forwarded(backend: FastChat, route: str, body: bytes, noted: Meter | None = None) -> bytes:
    async with backend.forward(Wire("fastchat", f"/{route}", [], body), noted or meter()) as answer:
        assert answer.status == 200
        assert answer.streamed == (route == "worker_generate_stream")
        return b"".join([piece async for piece in answer])


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.005)


# One worker.


async def test_asks_by_the_workers_template() -> None:
    worker = Worker(frames("he", "hello"))
    noted = meter()
    async with backend_of(worker) as backend:
        assert isinstance(backend, Generates) and isinstance(backend, Forwards)
        assert isinstance(backend, Embeds) and isinstance(backend, Counts)
        request = msgspec.structs.replace(HELLO, shape=Shape(tools=(Tool("f"),)))
        found = await events_of(backend, request, noted)
        await events_of(backend)
    assert (text_of(found), found[-2:]) == ("hello", [Finish(0, "stop"), Usage(3, 2)])
    assert noted.dropped == ("tools",)
    assert worker.bodies("worker_generate_stream")[0] == {
        "model": "m",
        "prompt": "be kind USER: hi ASSISTANT:",
        "echo": False,
        "stop_token_ids": [9],
        "max_new_tokens": 9,
    }
    asked = [route for route, _ in worker.asked]
    assert asked == [
        "list_models",
        "worker_get_status",
        "worker_get_conv_template",
        "model_details",
        "worker_generate_stream",
        "worker_generate_stream",
    ]
    assert all(body is None or body["model"] == "m" for _, body in worker.asked)


async def test_an_option_replaces_the_template() -> None:
    worker = Worker(frames("hello"))
    async with backend_of(worker, template="chatml") as backend:
        await events_of(backend)
    assert worker.bodies("worker_generate_stream")[0]["prompt"].endswith(
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert not worker.bodies("worker_get_conv_template")


async def test_several_prompts_and_choices_are_asked_in_turn() -> None:
    worker = Worker(frames("a", "ab", finish="length"))
    request = Generate(model="m", prompt=TextPrompt(("p", "q"), True), sampling=Sampling(max_tokens=5, n=2))
    async with backend_of(worker) as backend:
        found = await events_of(backend, request)
    assert [text_of(found, index) for index in range(5)] == ["ab", "ab", "ab", "ab", ""]
    assert found[-1] == Usage(12, 8)
    assert [body["prompt"] for body in worker.bodies("worker_generate_stream")] == ["p", "p", "q", "q"]


@pytest.mark.parametrize(("model", "sent"), [("", "m"), ("theirs", "theirs")])
async def test_forwards_byte_for_byte(model: str, sent: str) -> None:
    stream = frames("h\u00e9", "h\u00e9llo")
    worker = Worker(stream[:9], stream[9:])
    body = b'{"prompt":  "p", "odd": [1e2]}'
    noted = meter()
    async with backend_of(worker, model) as backend:
        assert await forwarded(backend, "worker_generate_stream", body, noted) == stream
        assert json.loads(await forwarded(backend, "worker_generate", body))["text"] == "whole"
        assert json.loads(await forwarded(backend, "worker_get_embeddings", b'{"input":["a"]}'))["token_num"] == 2
    assert worker.bodies("worker_generate_stream") == [{"model": sent, "prompt": "p", "odd": [100.0]}]
    assert (noted.finish, noted.usage) == ("stop", Usage(3, 2))


async def test_the_asked_name_goes_out_where_a_worker_has_several() -> None:
    worker = Worker(frames("a"), names=("m", "other"))
    async with backend_of(worker) as backend:
        assert (await backend.health()).models == ("m", "other")
        await events_of(backend, msgspec.structs.replace(HELLO, model="other"))
        await forwarded(backend, "worker_generate_stream", b'{"prompt":"p"}', meter("other"))
        await backend.embed(Embed(model="other", inputs=("a",)), meter("other"))
    assert [body["model"] for _, body in worker.asked if body is not None] == ["other"] * 5


async def test_vectors_and_counts() -> None:
    worker = Worker(context=77)
    noted = meter()
    async with backend_of(worker) as backend:
        assert await backend.embed(Embed(model="m", inputs=("a", "b"), dimensions=3), noted) == Vectors(
            ((1.0, 0.0),) * 2, 2
        )
        assert await backend.count(Count(model="m", prompt=TextPrompt(("a b c",)))) == Tokens(count=3, context=77)
        assert await backend.count(Count(model="m", prompt=HELLO.prompt)) == Tokens(count=5, context=77)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ServingError, match="not token ids"):
            await backend.embed(Embed(model="m", inputs=((1, 2),)), meter())
        worker.instead["worker_get_embeddings"] = Response(404, b'{"detail":"Not Found"}')
        with pytest.raises(ServingError, match="worker_get_embeddings") as caught:
            await backend.embed(Embed(model="m", inputs=("a",)), meter())
    assert caught.value.kind == "unsupported"
    assert noted.dropped == ("dimensions",)


@pytest.mark.parametrize(
    ("limit", "words", "sent", "counted"),
    [(9, 5, 9, 0), (None, 5, 94, 1), (90, 20, 79, 1), (70, 20, 70, 1)],
)
async def test_the_answer_has_the_room_that_is_left(limit: int | None, words: int, sent: int, counted: int) -> None:
    worker = Worker(frames("a"), context=100)
    prompt = TextPrompt((" ".join(["word"] * words),))
    async with backend_of(worker) as backend:
        await events_of(backend, Generate(model="m", prompt=prompt, sampling=Sampling(max_tokens=limit)))
    assert worker.bodies("worker_generate_stream")[0]["max_new_tokens"] == sent
    assert len(worker.bodies("count_token")) == counted


async def test_a_prompt_that_leaves_no_room_is_not_sent() -> None:
    worker = Worker(frames("a"), context=100)
    prompt = TextPrompt((" ".join(["word"] * 99),))
    async with backend_of(worker) as backend:
        error = await failure_of(backend, Generate(model="m", prompt=prompt))
    assert (error.kind, error.param) == ("too_long", "prompt")
    assert "maximum context length is 100 tokens. However, your messages resulted in 99 tokens" in error.message
    assert not worker.bodies("worker_generate_stream")


async def test_a_worker_without_counts_or_details_still_answers() -> None:
    worker = Worker(frames("a"), context=20)
    async with backend_of(worker) as backend:
        worker.instead["count_token"] = Response(404, b"")
        assert text_of(await events_of(backend)) == "a"
        worker.instead["model_details"] = Response(500, b"Internal Server Error")
    async with backend_of(worker) as backend:
        assert text_of(await events_of(backend)) == "a"


@pytest.mark.parametrize(("options", "sizes"), [({}, [4, 4, 1]), ({"embedding_batch": 100}, [9])])
async def test_many_texts_go_in_batches(options: dict[str, Any], sizes: list[int]) -> None:
    worker = Worker()
    async with backend_of(worker, **options) as backend:
        found = await backend.embed(Embed(model="m", inputs=tuple("abcdefghi")), meter())
        asked = worker.bodies("worker_get_embeddings")
        assert [len(body["input"]) for body in asked] == sizes
        assert "".join("".join(body["input"]) for body in asked) == "abcdefghi"
        assert (len(found.vectors), found.prompt_tokens) == (9, 2 * len(sizes))
        worker.instead["worker_get_embeddings"] = Response(200, b'{"embedding":[],"token_num":0}')
        with pytest.raises(ServingError, match="0 vectors") as caught:
            await backend.embed(Embed(model="m", inputs=("a",)), meter())
    assert caught.value.kind == "upstream_error"


# What fails.


@pytest.mark.parametrize("code", [40001, 40303, 42903, 50001, 50002, 50004, 50005, 50006])
async def test_an_error_frame_fails_in_its_kind(code: int) -> None:
    bad = json.dumps({"text": "the cause", "error_code": code}).encode() + b"\0"
    for pieces in ((bad,), (frames("part", finish=None), bad, bad)):
        async with backend_of(Worker(*pieces)) as backend:
            error = await failure_of(backend)
        assert "the cause" in error.message
        assert error.upstream is not None


@pytest.mark.parametrize(
    "pieces", [(), (b"<html>It works!</html>",), (b"\xff\xfe\0",), (b'{"text":1}\0',), (frames("a")[:-40],)]
)
async def test_garbage_with_status_200_is_an_error(pieces: tuple[bytes, ...]) -> None:
    async with backend_of(Worker(*pieces)) as backend:
        error = await failure_of(backend)
    assert error.kind == "upstream_error"


@pytest.mark.parametrize("route", ["worker_get_conv_template", "count_token"])
async def test_garbage_to_a_question_is_an_error(route: str) -> None:
    worker = Worker(frames("a"))
    worker.instead[route] = GARBAGE
    async with backend_of(worker) as backend:
        error = await failure_of(backend, msgspec.structs.replace(HELLO, sampling=Sampling()))
    assert error.kind == "upstream_error"
    assert "cannot be read" in error.message


async def test_a_template_without_its_keys_names_the_remedy() -> None:
    worker = Worker(frames("a"))
    worker.template = {key: value for key, value in VICUNA.items() if key != "roles"}
    async with backend_of(worker) as backend:
        assert "option template" in (await failure_of(backend)).message
    worker.template = {**VICUNA, "sep_style": 99}
    async with backend_of(worker) as backend:
        error = await failure_of(backend)
    assert error.kind == "unsupported"
    assert "option template" in error.message


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "unsupported"), (405, "unsupported"), (500, "upstream_error"), (302, "upstream_error")]
)
async def test_another_status_is_an_error(status: int, kind: str) -> None:
    worker = Worker()
    worker.instead["worker_generate_stream"] = Response(status, b"Internal Server Error")
    async with backend_of(worker) as backend:
        error = await failure_of(backend)
        with pytest.raises(ServingError) as caught:
            await forwarded(backend, "worker_generate_stream", b'{"prompt":"p"}')
    assert (error.kind, caught.value.kind) == (kind, kind)


async def test_a_worker_killed_in_the_middle() -> None:
    async with backend_of(Worker(frames("part", finish=None), None)) as backend:
        error = await failure_of(backend)
    assert error.kind == "upstream_error"


async def test_a_connection_broken_after_the_last_word_loses_nothing() -> None:
    async with backend_of(Worker(frames("all"), None)) as backend:
        found = await events_of(backend)
    assert (text_of(found), found[-1]) == ("all", Usage(3, 2))


async def test_any_cut_of_any_character_arrives() -> None:
    stream = frames(
        "gr\u00fc\ufffd", "gr\u00fc\u00df \U0001f600\ufffd\ufffd", "gr\u00fc\u00df \U0001f600\u4e16\u754c\u0000."
    )
    async with backend_of(Worker(*(stream[at : at + 1] for at in range(len(stream))))) as backend:
        found = await events_of(backend)
    assert text_of(found) == "gr\u00fc\u00df \U0001f600\u4e16\u754c\u0000."


@pytest.mark.parametrize("lane", ["open", "forward"])
async def test_leaving_stops_the_worker(lane: str) -> None:
    worker = Worker(frames("a", finish=None), *(b" " * 64 for _ in range(3000)))
    wire = Wire("fastchat", "/worker_generate_stream", [], b'{"prompt":"p"}')
    async with backend_of(worker) as backend:
        asked: Any = backend.open(HELLO, meter()) if lane == "open" else backend.forward(wire, meter())
        async with asked as pieces:
            async for piece in pieces:
                if isinstance(piece, bytes | Text):
                    break
        await until(lambda: worker.running == 0)
    assert worker.left == 1


@pytest.mark.parametrize("route", ["worker_generate_stream", "worker_get_conv_template", "model_details"])
async def test_a_cancelled_call_leaves_nothing_behind(route: str) -> None:
    worker = Worker(frames("a"))
    worker.hold.clear()
    worker.delays[route] = 0.0 if route == "worker_generate_stream" else 1.0
    async with backend_of(worker) as backend:
        task = asyncio.create_task(events_of(backend))
        await until(lambda: bool(worker.bodies(route)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: worker.running == 0)


async def test_a_slow_worker_is_given_up() -> None:
    worker = Worker(frames("a"))
    worker.hold.clear()
    async with backend_of(worker, idle_timeout=0.3, first_byte_timeout=0.3) as backend:
        error = await failure_of(backend)
    assert error.kind == "upstream_timeout"


async def test_only_a_stream_has_a_streams_limit() -> None:
    worker = Worker(frames("a"))
    worker.hold.clear()
    whole = Meter("id", model="m", protocol="fastchat", stream=False)
    async with backend_of(worker, stream_timeout=0.2) as backend:
        assert (await failure_of(backend)).kind == "upstream_timeout"
        with pytest.raises(ServingError, match="timeout") as caught:
            await forwarded(backend, "worker_generate_stream", b'{"prompt":"p"}')
        assert caught.value.kind == "upstream_timeout"
        asyncio.get_running_loop().call_later(0.8, worker.hold.set)
        assert text_of(await events_of(backend, noted=whole)) == "a"


async def test_nobody_at_the_address() -> None:
    backend = connected(DEAD)
    assert not (await backend.health()).ok
    assert (await failure_of(backend)).kind == "unreachable"
    await backend.aclose()
    async with backend_of(Peer()) as other:
        other_health = await other.health()
    assert not other_health.ok


@pytest.mark.parametrize("listed", [GARBAGE, Response(200, b"{}"), Response(500, b""), Response(403, b"proxy")])
async def test_what_is_no_fastchat_is_said_so(listed: Response) -> None:
    peer = Worker(frames("a"))
    peer.instead["list_models"] = listed
    async with backend_of(peer) as backend:
        health = await backend.health()
        error = await failure_of(backend)
    assert not health.ok
    assert error.kind == "upstream_error"
    assert "address" in error.message


async def test_token_ids_are_refused() -> None:
    async with backend_of(Worker()) as backend:
        error = await failure_of(backend, Generate(model="m", prompt=TokenPrompt(((1,),))))
    assert (error.kind, error.param) == ("unsupported", "prompt")


@pytest.mark.parametrize(
    "url", ["", "host:21002", "ftp://host", "http://", "http://u@host", "http://host?x=1", "http://h o"]
)
def test_refuses_what_is_no_url(url: str) -> None:
    with pytest.raises(ServingError, match="fastchat:http://HOST:21002#MODEL") as caught:
        connected(url)
    assert caught.value.kind == "bad_request"


def test_refuses_unknown_options() -> None:
    with pytest.raises(ServingError, match=r"'vicuna_v1\.1'"):
        connected(DEAD, template="vicuna_v1.2")
    with pytest.raises(ServingError, match="Did you mean 'template'"):
        connected(DEAD, templat="x")


# A controller.


async def test_a_controllers_workers_are_called_directly() -> None:
    first, second = Worker(frames("one")), Worker(frames("two"))
    async with behind(first, second, other=[]) as (backend, controller):
        health = await backend.health()
        texts = [text_of(await events_of(backend)) for _ in range(4)]
        assert await forwarded(backend, "worker_generate_stream", b'{"prompt":"p"}') in (frames("one"), frames("two"))
        assert await backend.count(Count(model="m", prompt=TextPrompt(("a b",)))) == Tokens(count=2, context=4096)
        error = await failure_of(backend, msgspec.structs.replace(HELLO, model="other"))
    assert (health.ok, set(health.models)) == (True, {"m", "other"})
    assert sorted(texts) == ["one", "one", "two", "two"]
    assert (error.kind, error.retry_after) == ("no_capacity", 5)
    assert "--model-names other" in error.message
    assert not controller.bodies("worker_generate_stream")
    assert len(first.bodies("worker_get_conv_template")) == len(second.bodies("worker_get_conv_template")) == 1


async def test_a_dead_worker_is_passed_over() -> None:
    worker = Worker(frames("alive"))
    async with behind(worker) as (backend, controller):
        controller.addresses["m"].insert(0, DEAD)
        assert [text_of(await events_of(backend)) for _ in range(3)] == ["alive"] * 3
        controller.addresses["m"] = [DEAD]
        error = await failure_of(backend)
    # Of its other models it may have workers that answer, so that it counts as well.
    assert (error.kind, error.retry_after, judge(error)) == ("no_capacity", 5, "nobody")
    assert DEAD in error.message


async def test_an_address_that_is_none_names_the_workers_flag() -> None:
    async with behind() as (backend, controller):
        controller.addresses["m"] = ["0.0.0.0 21002"]
        error = await failure_of(backend)
    assert error.kind == "upstream_error"
    assert "--worker-address" in error.message


async def test_a_prefix_stands_for_a_worker() -> None:
    worker = Worker(frames("a"))
    async with listening(worker) as url:
        controller = Controller(m=[f"{url}/w/m/"])
        async with backend_of(controller) as backend:
            assert text_of(await events_of(backend)) == "a"


async def test_what_is_at_the_address_may_change() -> None:
    worker = Worker(frames("direct"))
    async with AsyncExitStack() as stack:
        behind_it = await stack.enter_async_context(listening(Worker(frames("behind"))))
        url = await stack.enter_async_context(listening(controller := Controller(m=[behind_it])))
        backend = connected(url)
        assert text_of(await events_of(backend)) == "behind"
        await stack.pop_all().aclose()
        assert (await failure_of(backend)).kind == "unreachable"
        port = int(url.rpartition(":")[2])
        async with listening(worker, port):
            assert text_of(await events_of(backend)) == "direct"
        await backend.aclose()
    assert controller.bodies("get_worker_address")


async def test_a_controller_that_answers_with_an_error() -> None:
    async with behind() as (backend, controller):
        controller.instead["get_worker_address"] = Response(500, b"Internal Server Error")
        error = await failure_of(backend)
        controller.instead["get_worker_address"] = GARBAGE
        other = await failure_of(backend)
    assert (error.kind, other.kind) == ("upstream_error", "upstream_error")


async def test_a_controller_that_restarts_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(frames("a"))
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(listening(worker))
        controller = AsyncExitStack()
        url = await controller.enter_async_context(listening(Controller(m=[address])))
        backend = connected(url)
        stack.push_async_callback(backend.aclose)
        assert text_of(await events_of(backend)) == "a"
        await controller.aclose()
        assert [text_of(await events_of(backend)) for _ in range(2)] == ["a", "a"]
        error = await failure_of(backend, msgspec.structs.replace(HELLO, model="other"))
        assert error.kind == "unreachable"
        await stack.enter_async_context(listening(Controller(), int(url.rpartition(":")[2])))
        assert text_of(await events_of(backend)) == "a"
        monkeypatch.setattr(fastchat_places, "REMEMBERED_SECONDS", -1.0)
        assert (await failure_of(backend)).kind == "no_capacity"


async def test_connections_to_old_workers_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastchat_places, "_MOST", 2)
    worker = Worker(frames("a"))
    async with listening(worker) as url:
        controller = Controller(m=[f"{url}/{number}" for number in range(5)])
        async with backend_of(controller) as backend:
            for _ in range(10):
                assert text_of(await events_of(backend)) == "a"
            assert len(backend._places._workers) <= 2  # pyright: ignore[reportPrivateUsage]


async def test_templates_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastchat_known, "SECONDS", 0.0)
    worker = Worker(frames("a"))
    async with backend_of(worker) as backend:
        await events_of(backend)
        worker.template = {**VICUNA, "system_message": "be brief"}
        await events_of(backend)
    prompts = [body["prompt"] for body in worker.bodies("worker_generate_stream")]
    assert [prompt.partition(" USER")[0] for prompt in prompts] == ["be kind", "be brief"]
