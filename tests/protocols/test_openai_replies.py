"""Upstream answers: golden streams, odd servers, and the invariant of events."""

from __future__ import annotations

import base64
import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    Notice,
    PromptTokens,
    Refusal,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.core.requests import Vectors
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.openai import (
    ChatStreamReader,
    CompletionStreamReader,
    read_chat_answer,
    read_completion,
    read_completion_answer,
    read_embedding_answer,
)

DATA = Path(__file__).parent / "data" / "openai"
BLUE = TokenLogprob(" blue", -0.125, None, (TokenLogprob(" blue", -0.125), TokenLogprob(" red", -3.0)))

GOLDEN: dict[str, list[Event]] = {
    "chat_openai": [
        Start("chatcmpl-B1", "gpt-4o-2024-08-06", 1760000000, "fp_1"),
        Text(0, "Grüße"),
        Text(0, ' "finish_reason":"stop"'),
        Finish(0, "length"),
        Usage(9, 5, 4, 2),
    ],
    "chat_vllm": [
        Start("chatcmpl-7f", "qwen", 1760000001),
        Thinking(0, "Let me "),
        Thinking(0, "see."),
        Text(
            0,
            "Blue",
            (42,),
            (
                TokenLogprob(
                    "Blue",
                    -0.25,
                    (66, 108, 117, 101),
                    (TokenLogprob("Blue", -0.25, (66, 108, 117, 101)), TokenLogprob("Red", -9999.0, (82, 101, 100))),
                    id=42,
                ),
            ),
        ),
        Finish(0, "stop", "END"),
        Usage(11, 4),
    ],
    "chat_llamacpp": [
        Start("chatcmpl-x9", "pocket", 1760000002, "b11549"),
        Text(0, "Paris"),
        Finish(0, "stop"),
        Usage(20, 1, 19),
    ],
    "chat_tools": [
        Start("gen-1", "m", 1760000003),
        ToolCall(0, 0, "", "call_a", "look"),
        ToolCall(0, 0, '{"at":'),
        ToolCall(0, 0, "1}"),
        ToolCall(0, 1, "{}", "call_b", "stop"),
        Finish(0, "tool_calls"),
    ],
    "completion_logprobs": [
        Start("cmpl-3", "m", 1760000004),
        Text(
            0,
            "The sky is",
            None,
            (
                TokenLogprob("The", -9999.0),
                TokenLogprob(" sky", -2.5, None, (TokenLogprob(" sky", -2.5),)),
                TokenLogprob(" is", -0.5, None, (TokenLogprob(" is", -0.5),)),
            ),
        ),
        Text(0, " blue", None, (BLUE,)),
        Finish(0, "stop"),
        Usage(3, 1),
    ],
}


def events_of(pieces: list[bytes], reader: ChatStreamReader) -> list[Event]:
    frames = SseReader()
    payloads = [payload for piece in pieces for payload in frames.feed(piece)] + frames.end()
    return [event for payload in payloads for event in reader.feed(payload)] + reader.end()


def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"id": "x", "model": "m", "created": 1, "choices": list(choices), **more}).encode()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def feed(*payloads: bytes) -> list[Event]:
    reader = ChatStreamReader()
    return [event for payload in payloads for event in reader.feed(payload)] + reader.end()


def fault_of(events: list[Event]) -> ServingError:
    last = events[-1]
    assert isinstance(last, Fault)
    assert not any(isinstance(event, Fault) for event in events[:-1])
    return last.error


@pytest.mark.parametrize("name", GOLDEN)
@given(places=st.lists(st.integers(0, 4000), max_size=6))
@settings(max_examples=25)
def test_golden_streams_in_any_split(name: str, places: list[int]) -> None:
    data = (DATA / f"{name}.sse").read_bytes()
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert events_of(pieces, ChatStreamReader()) == GOLDEN[name]


def test_an_echo_is_cut_off_and_its_tokens_told_apart() -> None:
    request = read_completion(b'{"model":"m","prompt":"The sky is","echo":true,"logprobs":1}')
    data = (DATA / "completion_logprobs.sse").read_bytes()
    start, echo, *rest = GOLDEN["completion_logprobs"]
    assert isinstance(echo, Text) and echo.logprobs is not None
    assert events_of([data], CompletionStreamReader(request)) == [start, PromptTokens(echo.logprobs), *rest]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["ab", "c", "de"], "de"),
        (["abcde"], "de"),
        (["a", "bcd", "e"], "de"),
        (["abc"], ""),
        (["xy"], "xy"),
        (["ab", "x"], "abx"),
        (["a", "b"], "ab"),
    ],
)
def test_an_echo_in_pieces(pieces: list[str], expected: str) -> None:
    request = read_completion(b'{"model":"m","prompt":["xxx","abc"],"echo":true}')
    reader = CompletionStreamReader(request)
    events = [event for piece in pieces for event in reader.feed(chunk({"index": 1, "text": piece}))]
    events += reader.feed(chunk({"index": 1, "text": "", "finish_reason": "stop"}))
    assert "".join(event.text for event in events if isinstance(event, Text)) == expected
    assert events[-1] == Finish(1, "stop")


def test_odd_servers_are_understood() -> None:
    bare = b'{"choices":[{"delta":{"content":"a"}}]}'
    assert feed(bare, b"[DONE]") == [Start("", "", 0), Text(0, "a"), Finish(0, "stop")]
    assert feed(chunk(), chunk(delta(role="assistant")), chunk(delta(content="a", finish="")), b"[DONE]") == [
        Start("x", "m", 1),
        Text(0, "a"),
        Finish(0, "stop"),
    ]
    assert feed(b'{"choices":null,"usage":null,"error":null}', chunk(delta(finish="eos")))[1:] == [Finish(0, "stop")]
    assert feed(chunk(delta(finish="length")))[1:] == [Finish(0, "length")]
    assert feed(chunk(delta(refusal="no")), b"[DONE]")[1] == Refusal(0, "no")
    assert feed(chunk(delta(reasoning="hm")), b"[DONE]")[1] == Thinking(0, "hm")


@pytest.mark.parametrize(
    ("notices", "read"),
    [
        ('[{"level":"warning","text":"a"},{"text":"b"}]', [Notice("warning", "a"), Notice("info", "b")]),
        ('[{"level":"severe","text":"a","more":1}]', [Notice("info", "a")]),
        ("[]", []),
        ("null", []),
        ('["what another server may mean"]', []),
        ('{"level":"warning"}', []),
    ],
)
def test_notices_of_another_trunkcall(notices: str, read: list[Event]) -> None:
    choice = '{"index":0,"message":{"content":"x"},"text":"x","finish_reason":"stop"}'
    body = f'{{"id":"1","model":"m","created":1,"notices":{notices},"choices":[{choice}]}}'.encode()
    for read_answer in (read_chat_answer, read_completion_answer):
        assert read_answer(body) == [Start("1", "m", 1), *read, Text(0, "x"), Finish(0, "stop")]


def test_nothing_comes_after_a_finish_and_usage_comes_once() -> None:
    events = feed(
        chunk(delta(0, content="a"), usage={"prompt_tokens": 1, "completion_tokens": 1}),
        chunk(delta(0, finish="stop")),
        chunk(delta(0, content="late"), delta(1, content="b"), usage={"prompt_tokens": 1, "completion_tokens": 3}),
        chunk(delta(1, finish="stop")),
        b"[DONE]",
        chunk(delta(2, content="after")),
    )
    assert events == [
        Start("x", "m", 1),
        Text(0, "a"),
        Finish(0, "stop"),
        Text(1, "b"),
        Finish(1, "stop"),
        Usage(1, 3),
    ]


def test_tool_calls_without_indexes_or_ids() -> None:
    def call(id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
        return delta(tool_calls=[{"id": id, "function": {"name": name, "arguments": arguments}}])

    events = feed(
        chunk(call("a", "f", "{")), chunk(call(None, None, "}")), chunk(call("b", "g", {"x": 1})), chunk(call("a", None, "!"))
    )  # fmt: skip
    assert events[1:5] == [
        ToolCall(0, 0, "{", "a", "f"),
        ToolCall(0, 0, "}"),
        ToolCall(0, 1, '{"x":1}', "b", "g"),
        ToolCall(0, 0, "!", "a"),
    ]
    assert feed(chunk(delta(function_call={"name": "f", "arguments": "{}"})))[1] == ToolCall(
        0, 0, "{}", "call_0_0", "f"
    )


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"not json", "upstream_error"),
        (b"[1]", "upstream_error"),
        (b'{"choices":[{"delta":{"content":5}}]}', "upstream_error"),
        (b'{"choices":[{"delta":{"content":"\xff"}}]}', "upstream_error"),
        (b'{"error":{"message":"boom","code":500}}', "upstream_error"),
        (b'{"error":{"message":"too long","code":400,"type":"exceed_context_size_error"}}', "too_long"),
        (b'{"error":"overheated"}', "upstream_error"),
        (b'{"object":"error","error":{"message":"x","code":"rate_limit_exceeded"}}', "rate_limited"),
    ],
)
def test_faults_in_mid_stream(payload: bytes, kind: str) -> None:
    events = feed(chunk(delta(content="a")), payload, chunk(delta(content="b")), b"[DONE]")
    assert events[:2] == [Start("x", "m", 1), Text(0, "a")]
    assert fault_of(events).kind == kind
    assert len(events) == 3


@pytest.mark.parametrize(
    "payloads", [[], [chunk(delta(content="a"))], [chunk(delta(0, finish="stop"), delta(1, content="b"))]]
)
def test_a_stream_that_ends_early_is_a_fault(payloads: list[bytes]) -> None:
    error = fault_of(feed(*payloads))
    assert (error.kind, "ended early" in error.message) == ("upstream_error", True)


def test_a_whole_chat_answer() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "a", "reasoning_content": "hm", "refusal": None, "tool_calls": [call]}
    body = chunk(
        {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None},
        usage={"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}},
    )
    assert read_chat_answer(body) == [
        Start("x", "m", 1),
        Thinking(0, "hm"),
        Text(0, "a"),
        ToolCall(0, 0, "{}", "c", "f"),
        Finish(0, "tool_calls"),
        Usage(2, 3, 1),
    ]


def test_whole_completions_of_a_batch_with_echo() -> None:
    request = read_completion(b'{"model":"m","prompt":["a","bb"],"n":2,"echo":true,"logprobs":0}')
    choices = [
        {
            "index": index,
            "text": prompt + "X",
            "finish_reason": "stop",
            "logprobs": {"tokens": [prompt, "X"], "token_logprobs": [None, -1.0]},
        }
        for index, prompt in enumerate(["a", "a", "bb", "bb"])
    ]
    events = read_completion_answer(chunk(*choices), request)
    said = Text(0, "X", None, (TokenLogprob("X", -1.0),))
    assert [event.text for event in events if isinstance(event, Text)] == ["X"] * 4
    assert events[1:4] == [PromptTokens((TokenLogprob("a", -9999.0),)), said, Finish(0, "stop")]
    assert [event.tokens[0].token for event in events if isinstance(event, PromptTokens)] == ["a", "bb"]


def test_chat_logprobs_in_a_completion_as_llamacpp_sends_them() -> None:
    content = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
    body = chunk({"index": 0, "text": "a", "logprobs": {"content": content}, "finish_reason": "length"})
    assert read_completion_answer(body)[1] == Text(0, "a", None, (TokenLogprob("a", -0.5, (97,)),))


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", "upstream_error"), (b'{"error":{"code":"context_length_exceeded","message":"m"}}', "too_long")],
)
def test_whole_answers_that_are_errors(body: bytes, kind: str) -> None:
    for read in (read_chat_answer, read_completion_answer):
        with pytest.raises(ServingError) as caught:
            read(body)
        assert caught.value.kind == kind


def test_embeddings_in_both_encodings() -> None:
    packed = base64.b64encode(struct.pack("<2f", 1.5, -2.0)).decode()
    body = json.dumps(
        {
            "data": [{"index": 1, "embedding": packed}, {"index": 0, "embedding": [0.25, 1]}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        }
    ).encode()
    assert read_embedding_answer(body) == Vectors(((0.25, 1.0), (1.5, -2.0)), 7)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"x",
        b'{"data":[{"embedding":"AAA="}]}',
        b'{"data":[{"embedding":"!"}]}',
        b'{"data":[{"embedding":[null]}]}',
    ],
)
def test_unreadable_embeddings(body: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        read_embedding_answer(body)
    assert caught.value.kind == "upstream_error"
    assert caught.value.upstream == (200, body)
