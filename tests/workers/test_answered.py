"""Engine chunks as answers, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.workers.answered import DONE, Streamed, Whole, engine_error
from trunkcall.workers.asked import Asked
from trunkcall.workers.native import load_error

TAIL = {"created": 1, "id": "x", "model": "m", "object": "chat.completion.chunk"}
USAGE = {"completion_tokens": 3, "prompt_tokens": 5, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 4}}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    said = {"choices": [{"finish_reason": finish, "index": 0, "delta": delta}], **TAIL, **more}
    return json.dumps(said, separators=(",", ":")).encode()


PROGRESS = chunk({"role": "assistant", "content": None}, prompt_progress={"total": 5, "processed": 0})
ROLE = chunk({"role": "assistant", "content": None})
TEXT = chunk({"content": 'a }} "usage":{}'})
END = chunk({}, "stop")
COUNT = json.dumps({"choices": [], **TAIL, "usage": USAGE, "timings": {"a": 1}}, separators=(",", ":")).encode()


def events(data: bytes) -> list[bytes]:
    return [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]


def numbered(*chunks: bytes) -> list[tuple[int, bytes]]:
    return [(0, one) for one in chunks]


@pytest.mark.parametrize("first", [(PROGRESS, ROLE), (PROGRESS, PROGRESS), (ROLE,)])
def test_chunks_pass_as_they_are_and_the_role_comes_first(first: tuple[bytes, ...]) -> None:
    streamed = Streamed(Asked(chat=True, bodies=[b""], stream=True))
    sent = streamed.feed(numbered(*first)) + streamed.feed(numbered(TEXT, TEXT))
    assert not streamed.complete
    sent += streamed.feed(numbered(END, COUNT))
    assert streamed.complete
    assert sent.endswith(DONE)
    assert events(sent)[-4:] == [TEXT, TEXT, END, b"[DONE]"]
    assert [json.loads(event) for event in events(sent)[:-4]] == [json.loads(ROLE)]


def test_progress_alone_is_silence() -> None:
    assert Streamed(Asked(chat=True, bodies=[b""])).feed(numbered(PROGRESS)) == b""


def test_usage_and_timings_when_asked_for() -> None:
    streamed = Streamed(Asked(chat=True, bodies=[b""], usage=True, timings=True))
    last = json.loads(events(streamed.feed(numbered(ROLE, END, COUNT)))[-2])
    assert last == {**TAIL, "choices": [], "usage": USAGE, "timings": {"a": 1}}


def test_an_error_of_the_engine_is_raised() -> None:
    said = {
        "error": {"code": 400, "type": "exceed_context_size_error", "message": "", "n_prompt_tokens": 9, "n_ctx": 4}
    }
    for answer in (Streamed(Asked(chat=True, bodies=[b""])), Whole(Asked(chat=True, bodies=[b""]))):
        with pytest.raises(ServingError, match=r"9 tokens.* 4 tokens") as caught:
            answer.feed(numbered(json.dumps(said).encode()))
        assert (caught.value.kind, caught.value.param) == ("too_long", "messages")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 400, "type": "invalid_request_error", "message": "m"}, "bad_request"),
        ({"code": 501, "type": "not_supported_error", "message": "m"}, "unsupported"),
        ({"code": 503, "type": "unavailable_error", "message": "m"}, "loading"),
        ({"code": 500, "type": "server_error", "message": "m"}, "upstream_error"),
        ({"code": 500, "message": "input (9 tokens) is too large to process. increase"}, "too_long"),
        ({}, "upstream_error"),
    ],
)
def test_kinds_of_errors(error: dict[str, Any], kind: str) -> None:
    assert engine_error(error).kind == kind


def test_a_whole_answer_with_thoughts_and_tool_calls() -> None:
    def call(index: int, **fields: Any) -> bytes:
        return chunk({"tool_calls": [{"index": index, **fields}]})

    whole = Whole(Asked(chat=True, bodies=[b""]))
    whole.feed(numbered(PROGRESS, ROLE, chunk({"reasoning_content": "hm"}), chunk({"reasoning_content": "m"})))
    whole.feed(numbered(call(0, id="c1", type="function", function={"name": "f", "arguments": '{"a'})))
    whole.feed(
        numbered(call(0, function={"arguments": '":1}'}), call(1, id="c2", function={"name": "g", "arguments": ""}))
    )
    assert not whole.complete
    whole.feed(numbered(chunk({}, "tool_calls"), COUNT))
    assert whole.complete
    answer = json.loads(whole.body())
    assert answer["usage"] == USAGE
    assert answer["object"] == "chat.completion"
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "hmm",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    }


def test_several_answers_share_an_id_and_their_usage() -> None:
    streamed = Streamed(Asked(chat=True, bodies=[b"", b""], n=2, usage=True))
    other = TEXT.replace(b'"id":"x"', b'"id":"y"')
    sent = streamed.feed([(0, ROLE), (1, other), (1, COUNT), (0, COUNT)])
    said = [json.loads(event) for event in events(sent)[:-1]]
    assert [chunk["choices"][0]["index"] for chunk in said[:-1]] == [0, 1]
    assert {chunk["id"] for chunk in said} == {"x"}
    assert said[-1]["usage"]["completion_tokens"] == 6
    assert said[-1]["usage"]["prompt_tokens"] == 5
    assert said[-1]["usage"]["total_tokens"] == 11


def test_the_reason_of_a_failed_load() -> None:
    log = "0.1 I srv: x\n0.2 E gguf: no key\n0.3 E model: error loading model: y\n0.4 E srv: exiting\n"
    assert load_error(log, "otherwise") == "gguf: no key; model: error loading model: y"
    assert load_error("0.1 E a: cause\n0.2 E f: failed to load model\n", "o") == "a: cause"
    assert load_error("0.1 E f: failed to load model\n", "o") == "f: failed to load model"
    assert load_error("words\n", "otherwise") == "otherwise"
