"""The engine's traps (each was met), on real hosts: the host must not fall into any."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import eventually

from trunkcall.core.models import Machine, ModelSettings, Source
from trunkcall.engines.llamacpp import Pocket

MESSAGES = [{"role": "user", "content": "Tell me a story."}]
LONG_ANSWER = {"messages": MESSAGES, "max_tokens": 16000, "ignore_eos": True}


def freed(host: Any, *, stream: bool, after: float = 0.1, **fields: Any) -> None:
    """A client leaves, and the engine's slot is free long before the answer would be complete."""
    sock = host.send("/v1/chat/completions", stream=stream, **fields)
    host.wait_busy(1)
    time.sleep(after)
    assert host.busy() == 1, "the answer was complete before the client could leave"
    sock.close()
    took = host.wait_busy(0)
    print(f"freed after {took * 1000:.0f} ms")


@pytest.mark.timeout(180)
def test_trap_1_a_host_that_served_nothing_ends_at_once(new_host: Callable[..., Any]) -> None:
    for _ in range(4):
        assert new_host().stop() == 0


def test_trap_2_a_connection_is_good_for_more_after_a_stream(pocket: Any) -> None:
    connection = pocket.connect()
    sockets = set()
    for number in range(6):
        body = json.dumps({"messages": MESSAGES, "max_tokens": 3, "stream": number % 2 == 0})
        connection.request("POST", "/v1/chat/completions", body)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read()
        sockets.add(connection.sock.getsockname())
    connection.close()
    assert len(sockets) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_trap_3_a_client_that_leaves_frees_its_slot(long: Any, stream: bool) -> None:
    for _ in range(3):
        freed(long, stream=stream, **LONG_ANSWER)


@pytest.mark.timeout(180)
def test_trap_4_threads_are_never_the_default(new_host: Callable[..., Any]) -> None:
    def threads(host: Any) -> int:
        host.chat(max_tokens=2)
        return len(list(Path(f"/proc/{host.process.pid}/task").iterdir()))

    assert json.loads(new_host().spec.command[-1])["threads"] == 1
    few, more = new_host(threads=1), new_host(threads=4)
    # Threads of the engine's start, which both have, end in their own time.
    assert eventually(lambda: threads(more) - threads(few) >= 3)


@pytest.mark.parametrize("slots", [1, 5])
def test_trap_5_the_context_of_a_slot_does_not_shrink_with_their_number(
    new_host: Callable[..., Any], slots: int
) -> None:
    host = new_host(slots=slots, context=768)
    props = json.loads(host.call("/props")[2])
    assert props["default_generation_settings"]["n_ctx"] == 768
    assert props["total_slots"] == slots


def test_trap_6_there_is_no_page(pocket: Any) -> None:
    error = pocket.refusal("/", None)
    assert error["status"] == 404


@pytest.mark.parametrize("stream", [False, True])
def test_trap_7_a_client_that_leaves_during_the_prompt_frees_its_slot(long: Any, stream: bool) -> None:
    for number in range(3):
        # A first word of its own, or the prompt would be in the cache. All of it takes 30 s and more, a batch about 30 ms.
        prompt = [{"role": "user", "content": f"{stream} {number} " + "dog and cat " * 5000}]
        freed(long, stream=stream, messages=prompt, max_tokens=1)


def test_trap_8_token_ids_by_the_engines_own_name_are_not_promised(pocket: Any) -> None:
    for path, fields in (
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/v1/completions", {"prompt": "a"}),
    ):
        _, headers, _ = pocket.call(path, {**fields, "max_tokens": 2, "return_tokens": True})
        assert headers["x-trunkcall-dropped"] == "return_tokens"


def test_trap_9_several_answers_are_counted_once_and_right(pocket: Any) -> None:
    # So hot that no two answers are the same, whatever the model knows.
    hot = {"temperature": 8.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    asked: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 7, "ignore_eos": True, "seed": 11, **hot}
    path = "/v1/chat/completions"
    prompt = pocket.ask(path, **asked)["usage"]["prompt_tokens"]

    answer = pocket.ask(path, **asked, n=3)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 3
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (prompt, 21, prompt + 21)

    chunks = pocket.stream(path, **asked, n=3, stream_options={"include_usage": True})
    streamed = ["", "", ""]
    for chunk in chunks[:-1]:
        assert "usage" not in chunk
        for choice in chunk["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert len(set(streamed)) == 3
    assert all(streamed)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 21
    assert chunks[-1]["usage"]["prompt_tokens"] == prompt
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_trap_10_the_prompt_cache_is_bounded_and_counted() -> None:
    def plan(**options: Any) -> Any:
        return Pocket().plan(ModelSettings(name="p", sources=(Source("pocket"),), options=options), Machine(2, 2**33))

    usual, large = plan(), plan(cache_ram_mib=1256)
    assert json.loads(usual.command[-1])["cache_ram_mib"] == 256
    assert large.memory - usual.memory == 1000 * 2**20
