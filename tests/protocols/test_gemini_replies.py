"""Gemini answers: golden streams however they are cut, odd ends, errors, embeddings and counts."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Notice, Start, Text, Thinking, TokenLogprob, ToolCall, Usage
from trunkcall.core.requests import Tokens, Vectors
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.gemini import (
    GenerateReader,
    read_count,
    read_embedding_answer,
    read_error,
    read_models,
)
from trunkcall.testing import check_events

DATA = Path(__file__).parent / "data" / "gemini"
START = Start("r-1", "gemini-3-flash", 7)

GOLDEN: dict[str, list[Event]] = {
    "text": [START, Text(0, "Grüße"), Text(0, ", Welt"), Finish(0, "stop"), Usage(4, 3, 2)],
    "thinking_tools": [
        START,
        Thinking(0, "**Weather**\n\nTwo places."),
        ToolCall(0, 0, '{"place": "Paris"}', "fc-1", "get_weather"),
        ToolCall(0, 1, "{}", "fc-2", "get_weather"),
        Finish(0, "tool_calls"),
        Usage(20, 27, None, 15),
    ],
    "prompt_blocked": [
        START,
        Notice("warning", "the upstream refused the prompt: SAFETY (DANGEROUS_CONTENT)"),
        Finish(0, "content_filter"),
        Usage(7, 0),
    ],
    "answer_blocked": [
        START,
        Text(0, "Take"),
        Notice("warning", "the upstream cut the answer off: SAFETY (DANGEROUS_CONTENT)"),
        Finish(0, "content_filter"),
        Usage(7, 1),
    ],
    "logprobs": [
        START,
        Text(0, "ja", None, (TokenLogprob("ja", -0.25, None, (TokenLogprob("ja", -0.25), TokenLogprob("x", -5.0))),)),
        Finish(0, "length"),
        Usage(2, 1),
    ],
}


def reader(choices: int = 1) -> tuple[GenerateReader, dict[str, bytes]]:
    kept: dict[str, bytes] = {}
    return GenerateReader(7, choices, kept.__setitem__), kept


def read(made: GenerateReader, pieces: list[bytes]) -> list[Event]:
    frames = SseReader()
    payloads = [payload for piece in pieces for payload in frames.feed(piece)] + frames.end()
    return [event for payload in payloads for event in made.feed(payload)]


def told(*answers: dict[str, Any], choices: int = 1) -> list[Event]:
    made, _ = reader(choices)
    events = [event for answer in answers for event in made.feed(json.dumps(answer).encode())]
    return events + made.end()


def candidate(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    made = {"content": {"role": "model", "parts": list(parts)}, **more}
    return {"candidates": [made | ({"finishReason": finish} if finish else {})]}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    made, kept = reader()
    events = read(made, [(DATA / f"{name}.sse").read_bytes()]) + made.end()
    assert events == GOLDEN[name]
    check_events(events)
    assert kept == ({"fc-1": b"c2lnbmVk"} if name == "thinking_tools" else {})


@given(name=st.sampled_from(sorted(GOLDEN)), cuts=st.lists(st.integers(0, 800), max_size=12))
@settings(max_examples=60)
def test_however_it_is_cut(name: str, cuts: list[int]) -> None:
    data = (DATA / f"{name}.sse").read_bytes()
    edges = [0, *sorted(cuts), len(data)]
    made, _ = reader()
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert read(made, pieces) + made.end() == GOLDEN[name]


def test_an_answer_in_several_requests_is_one() -> None:
    made, _ = reader()
    events = read(made, [(DATA / "continued.sse").read_bytes()])
    assert (events, made.continuation) == ([START, Text(0, "one"), Text(0, " two")], "dG9rZW4=")
    made.go_on()
    assert made.continuation == ""
    events += read(made, [(DATA / "text.sse").read_bytes()]) + made.end()
    check_events(events)
    assert events[3:] == [Text(0, "Grüße"), Text(0, ", Welt"), Finish(0, "stop"), Usage(5, 6, None, None)]


def test_several_answers_come_whole() -> None:
    whole = {
        "candidates": [
            {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": index}
            for index, text in enumerate("ab")
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
    }
    events = told(whole, choices=2)
    assert events[1:] == [Text(0, "a"), Finish(0, "stop"), Text(1, "b"), Finish(1, "stop"), Usage(1, 2)]
    blocked = told({"promptFeedback": {"blockReason": "OTHER"}}, choices=2)
    assert blocked[2:] == [Finish(0, "content_filter"), Finish(1, "content_filter")]


@pytest.mark.parametrize(
    ("word", "reason", "level"),
    [
        ("STOP", "stop", None),
        ("MAX_TOKENS", "length", None),
        ("CONTINUATION", "length", None),
        ("RECITATION", "content_filter", "warning"),
        ("PROHIBITED_CONTENT", "content_filter", "warning"),
        ("OTHER", "stop", "info"),
        ("A_NEW_WORD", "stop", "info"),
    ],
)
def test_ends(word: str, reason: Any, level: str | None) -> None:
    events = told(candidate({"text": "x"}, finish=word, finishMessage="because"))
    assert events[-1] == Finish(0, reason)
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.level for notice in notices] == ([level] if level else [])
    assert all(f"{word}: because" in notice.text for notice in notices)


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"])
def test_an_end_that_leaves_no_answer_is_a_fault(word: str) -> None:
    events = told(candidate(finish=word, finishMessage="print(1)"), candidate({"text": "late"}))
    assert isinstance(events[-1], Fault)
    assert events[-1].error.kind == "upstream_error"
    assert f"{word}: print(1)" in events[-1].error.message
    assert len(events) == 2


@pytest.mark.parametrize(
    "answers",
    [[], [candidate({"text": "x"}, finish=None)], [{"usageMetadata": {"promptTokenCount": 3}}]],
    ids=["nothing", "cut", "only counts"],
)
def test_a_stream_that_ends_early(answers: list[dict[str, Any]]) -> None:
    last = told(*answers)[-1]
    assert isinstance(last, Fault)
    assert "ended early" in last.error.message


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"not json", "upstream_error"),
        (b'{"candidates":5}', "upstream_error"),
        (b"\xff", "upstream_error"),
        (b'{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}', "overloaded"),
    ],
)
def test_a_payload_that_is_none(payload: bytes, kind: str) -> None:
    made, _ = reader()
    (fault,) = made.feed(payload)
    assert isinstance(fault, Fault)
    assert fault.error.kind == kind
    assert made.feed(b"{}") == made.end() == []


def test_what_cannot_be_shown_is_said_once() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
    ran = {"executableCode": {"language": "PYTHON", "code": "1"}}
    events = told(candidate(picture, picture, ran))
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert len(texts) == 2
    assert "image/png" in texts[0]
    assert "code" in texts[1]


def test_calls_without_ids_get_some() -> None:
    events = told(candidate({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}))
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [call.slot for call in calls] == [0, 1]
    assert calls[0].id and calls[0].id != calls[1].id


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayPerModel"}]}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(
    ("code", "status", "message", "details", "kind", "retry_after"),
    [
        (400, "INVALID_ARGUMENT", "bad field", [], "bad_request", None),
        (400, "INVALID_ARGUMENT", "API key not valid.", [BAD_KEY], "unauthenticated", None),
        (400, "INVALID_ARGUMENT", "input exceeds the maximum number of tokens", [], "too_long", None),
        (401, "UNAUTHENTICATED", "no", [], "unauthenticated", None),
        (403, "PERMISSION_DENIED", "no", [], "forbidden", None),
        (404, "NOT_FOUND", "models/x is not found", [], "no_model", None),
        (429, "RESOURCE_EXHAUSTED", "slow down", [RETRY], "rate_limited", 17.5),
        (429, "RESOURCE_EXHAUSTED", "slow down", [QUOTA, RETRY], "quota", 17.5),
        (500, "INTERNAL", "oops", [], "upstream_error", None),
        (503, "UNAVAILABLE", "overloaded", [], "overloaded", None),
        (504, "DEADLINE_EXCEEDED", "late", [], "upstream_timeout", None),
    ],
)
def test_errors(code: int, status: str, message: str, details: Any, kind: str, retry_after: float | None) -> None:
    error = {"error": {"code": code, "message": message, "status": status, "details": details}}
    for body in (error, [error]):
        read = read_error(code, json.dumps(body).encode())
        assert (read.kind, read.retry_after) == (kind, retry_after)
        assert message in read.message
        assert read.upstream is not None and read.upstream[0] == code


@pytest.mark.parametrize(("status", "kind"), [(400, "bad_request"), (502, "upstream_error"), (503, "overloaded")])
@pytest.mark.parametrize("body", [b"<html>no</html>", b"", b"[]", b"\xff"])
def test_errors_that_are_not_googles(status: int, kind: str, body: bytes) -> None:
    assert read_error(status, body).kind == kind


def test_whole_answers() -> None:
    body = b'{"embeddings":[{"values":[1.0,0.5]},{"values":[0.0,-1.0]}],"usageMetadata":{"promptTokenCount":4}}'
    assert read_embedding_answer(body) == Vectors(((1.0, 0.5), (0.0, -1.0)), 4)
    assert read_count(b'{"totalTokens":3}') == Tokens(3)
    assert read_models(b'{"models":[{"name":"models/gemini-3-flash"}]}') == ("gemini-3-flash",)
    for broken in (read_embedding_answer, read_count, read_models):
        with pytest.raises(ServingError, match="unreadable"):
            broken(b"no")
