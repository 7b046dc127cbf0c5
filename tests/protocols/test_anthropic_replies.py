"""Anthropic answers: golden streams however they are cut, ends, and errors."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Notice, Start, Text, Thinking, ToolCall, Usage
from trunkcall.protocols.anthropic import MessageReader, read_error, read_models
from trunkcall.protocols.frames import SseReader
from trunkcall.testing import check_events

DATA = Path(__file__).parent / "data" / "anthropic"
START = Start("msg_1", "claude-opus-5-5", 7)

GOLDEN: dict[str, list[Event]] = {
    "text": [START, Text(0, "Grüße"), Text(0, ", Welt"), Usage(20, 4, 7, 0), Finish(0, "stop", "!")],
    "thinking_tools": [
        START,
        Thinking(0, "Two "),
        Thinking(0, "places."),
        Text(0, "Looking."),
        ToolCall(0, 0, "", "toolu_1", "get_weather"),
        ToolCall(0, 0, '{"place": "Pa'),
        ToolCall(0, 0, 'ris"}'),
        ToolCall(0, 1, "", "toolu_2", "get_time"),
        ToolCall(0, 1, "{}"),
        Usage(10, 60, None, 20),
        Finish(0, "tool_calls"),
    ],
    "refusal": [
        START,
        Text(0, "Take"),
        Notice("warning", "the upstream cut the answer off: refusal (bio): not this"),
        Usage(10, 2),
        Finish(0, "content_filter"),
    ],
}
KEPT = [
    {"type": "thinking", "thinking": "Two places.", "signature": "c2lnbmVk"},
    {"type": "redacted_thinking", "data": "aGlkZGVu"},
    {"type": "text", "text": "Looking."},
    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"place": "Paris"}},
    {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {}},
]


def reader() -> tuple[MessageReader, dict[str, bytes]]:
    kept: dict[str, bytes] = {}
    return MessageReader(7, kept.__setitem__), kept


def read(made: MessageReader, pieces: list[bytes]) -> list[Event]:
    frames = SseReader()
    payloads = [payload for piece in pieces for payload in frames.feed(piece)] + frames.end()
    return [event for payload in payloads for event in made.feed(payload)] + made.end()


def told(*events: dict[str, Any]) -> list[Event]:
    made, _ = reader()
    return [event for one in events for event in made.feed(json.dumps(one).encode())] + made.end()


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "claude-opus-5-5", "usage": usage}}


def block(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def stop(reason: str | None) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    made, kept = reader()
    events = read(made, [(DATA / f"{name}.sse").read_bytes()])
    assert events == GOLDEN[name]
    check_events(events)
    assert {id: json.loads(value) for id, value in kept.items()} == (
        {"toolu_1": KEPT} if name == "thinking_tools" else {}
    )


@given(name=st.sampled_from(sorted(GOLDEN)), cuts=st.lists(st.integers(0, 2800), max_size=12))
@settings(max_examples=60)
def test_however_it_is_cut(name: str, cuts: list[int]) -> None:
    data = (DATA / f"{name}.sse").read_bytes()
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert read(reader()[0], pieces) == GOLDEN[name]


def test_an_error_in_the_middle() -> None:
    events = read(reader()[0], [(DATA / "overloaded.sse").read_bytes()])
    assert events[:2] == [START, Text(0, "Gr")]
    assert isinstance(events[2], Fault)
    assert (events[2].error.kind, len(events)) == ("overloaded", 3)


@pytest.mark.parametrize(
    ("word", "reason", "level"),
    [
        ("end_turn", "stop", None),
        ("max_tokens", "length", None),
        ("model_context_window_exceeded", "length", None),
        ("tool_use", "tool_calls", None),
        ("refusal", "content_filter", "warning"),
        ("pause_turn", "stop", "info"),
        ("a_new_word", "stop", "info"),
    ],
)
def test_ends(word: str, reason: Any, level: str | None) -> None:
    events = told(start(input_tokens=2), block("text"), stop(word), {"type": "message_stop"})
    assert events[-1] == Finish(0, reason)
    assert [event.level for event in events if isinstance(event, Notice)] == ([level] if level else [])


@pytest.mark.parametrize(
    "events",
    [[], [start()], [start(), block("text", text="x"), stop(None)], [block("text", text="x")]],
    ids=["nothing", "no end", "no reason", "no beginning"],
)
def test_a_stream_that_is_not_whole(events: list[dict[str, Any]]) -> None:
    last = told(*events)[-1]
    assert isinstance(last, Fault)
    assert last.error.kind == "upstream_error"


def test_a_whole_block_at_once_and_kinds_that_are_unknown() -> None:
    events = told(
        start(),
        {"type": "a_new_event", "index": 0},
        block("text", 0, text="hi"),
        block("tool_use", 1, id="t", name="f", input={"a": 1}),
        {"type": "content_block_stop", "index": 1},
        block("web_search_tool_result", 2, content=[]),
        block("web_search_tool_result", 3, content=[]),
        {"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "lost"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}},
        stop("tool_use"),
    )
    assert events[1:-2] == [
        Text(0, "hi"),
        ToolCall(0, 0, '{"a": 1}', "t", "f"),
        Notice("warning", "the answer holds a web_search_tool_result block, which cannot be shown here"),
    ]


@pytest.mark.parametrize("payload", [b"no", b'{"type":5}', b"\xff", b"[]"])
def test_a_payload_that_is_none(payload: bytes) -> None:
    made, _ = reader()
    (fault,) = made.feed(payload)
    assert isinstance(fault, Fault)
    assert made.feed(b'{"type":"ping"}') == made.end() == []


@pytest.mark.parametrize(
    ("status", "type_", "message", "kind"),
    [
        (400, "invalid_request_error", "bad field", "bad_request"),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 5 maximum", "too_long"),
        (400, "invalid_request_error", "Your credit balance is too low", "quota"),
        (401, "authentication_error", "invalid key", "unauthenticated"),
        (402, "billing_error", "pay", "quota"),
        (403, "permission_error", "no", "forbidden"),
        (404, "not_found_error", "model: x", "no_model"),
        (413, "request_too_large", "big", "too_large"),
        (429, "rate_limit_error", "slow down", "rate_limited"),
        (500, "api_error", "oops", "upstream_error"),
        (504, "timeout_error", "late", "upstream_timeout"),
        (529, "overloaded_error", "Overloaded", "overloaded"),
        (418, "a_new_error", "tea", "upstream_error"),
    ],
)
def test_errors(status: int, type_: str, message: str, kind: str) -> None:
    body = {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"}
    error = read_error(status, json.dumps(body).encode())
    assert error.kind == kind
    assert message in error.message


@pytest.mark.parametrize(("status", "kind"), [(400, "bad_request"), (502, "upstream_error"), (529, "overloaded")])
@pytest.mark.parametrize("body", [b"<html>no</html>", b"", b"[]", b"\xff"])
def test_errors_that_are_not_anthropics(status: int, kind: str, body: bytes) -> None:
    assert read_error(status, body).kind == kind


def test_models() -> None:
    assert read_models(b'{"data":[{"id":"claude-opus-5-5","type":"model"}],"has_more":false}') == ("claude-opus-5-5",)
    with pytest.raises(ServingError, match="unreadable"):
        read_models(b"{}")
