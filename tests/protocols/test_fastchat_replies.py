"""FastChat's growing texts read to events: recorded streams, any cut of the bytes, half characters, failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Notice, PromptTokens, Start, Text, TokenLogprob, Usage
from trunkcall.core.requests import Generate, Reporting, Sampling, TextPrompt
from trunkcall.protocols import fastchat_frames
from trunkcall.protocols.fastchat import FrameEmitter, FrameReader
from trunkcall.testing import check_events

DATA = Path(__file__).parent / "data" / "fastchat"
PLAIN = Generate(model="m", prompt=TextPrompt(("hello world",)))
ECHO = Generate(model="m", prompt=TextPrompt(("hello world",)), reporting=Reporting(echo=True, logprobs=0))


def events_of(data: bytes, request: Generate = PLAIN, cuts: list[int] | None = None, index: int = 0) -> list[Event]:
    reader = FrameReader(request, index)
    events: list[Event] = [Start("id", "m", 0)]
    at = 0
    for cut in [*sorted(cuts or ()), len(data)]:
        events += reader.feed(data[at:cut])
        at = cut
    events += reader.end()
    check_events(events)
    return events[1:]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def frame(text: str, **fields: Any) -> bytes:
    return json.dumps({"text": text, "error_code": 0, **fields}).encode() + b"\0"


def last_text(name: str) -> str:
    return json.loads((DATA / name).read_bytes().split(b"\0")[-2])["text"]


@pytest.mark.parametrize("cut", [1, 2, 3, 17, 10_000])
def test_reads_recorded_streams(cut: int) -> None:
    data = (DATA / "plain.stream").read_bytes()
    events = events_of(data, cuts=list(range(cut, len(data), cut)))
    assert events == [
        Text(0, "f"),
        Text(0, "r6"),
        Text(0, " wor^"),
        Usage(2, 4),
        Finish(0, "length"),
    ]
    halves = (DATA / "halves.stream").read_bytes()
    events = events_of(halves, cuts=list(range(cut, len(halves), cut)))
    assert text_of(events) == last_text("halves.stream")
    assert "\u016e" in text_of(events)


def test_reads_a_whole_answer() -> None:
    assert events_of((DATA / "whole.json").read_bytes()) == [Text(0, "fr6 wor^"), Usage(2, 4), Finish(0, "length")]


def test_takes_the_echo_out() -> None:
    events = events_of((DATA / "echo_logprobs.stream").read_bytes(), ECHO)
    told = events[0]
    assert isinstance(told, PromptTokens)
    assert [(token.token, round(token.logprob, 2)) for token in told.tokens] == [("hello", -9999.0), (" world", -5.89)]
    assert text_of(events) == "fr6 wor^"
    tokens = [token.token for event in events if isinstance(event, Text) for token in event.logprobs or ()]
    assert tokens == ["f", "r", "6", " wor", "^"]
    second = Generate(model="m", prompt=ECHO.prompt, reporting=ECHO.reporting, sampling=Sampling(n=2))
    again = events_of((DATA / "echo_logprobs.stream").read_bytes(), second, index=1)
    assert not any(isinstance(event, PromptTokens) for event in again)


@pytest.mark.parametrize(
    ("frames", "texts"),
    [
        ([""], []),
        (["a", "a", "ab", "ab"], ["a", "b"]),
        (["a\ufffd", "a\u016e"], ["a", "\u016e"]),
        (["\ufffd\ufffd", "\ufffd\ufffd"], ["\ufffd\ufffd"]),
        (["\ufffdx"], ["\ufffdx"]),
        (["abc", "ab", "abcd"], ["abc", "d"]),
        (["ab", "xyz"], ["ab", "z"]),
    ],
)
def test_tells_what_is_new(frames: list[str], texts: list[str]) -> None:
    events = events_of(b"".join(frame(text) for text in frames))
    assert [event.text for event in events if isinstance(event, Text)] == texts
    assert events[-1] == Finish(0, "stop")


@pytest.mark.parametrize(
    ("word", "reason"), [("stop", "stop"), ("length", "length"), ("abort", "cancelled"), ("x", "stop")]
)
def test_reads_why_it_ended(word: str, reason: str) -> None:
    assert events_of(frame("a") + frame("a", finish_reason=word))[-1] == Finish(0, reason)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"", "upstream_error", "empty answer"),
        (b"<html>Bad gateway</html>", "upstream_error", "is a worker's"),
        (b'"text"\0', "upstream_error", "is a worker's"),
        (b'{"text":5}\0', "upstream_error", "is a worker's"),
        (b'{"txt":"a"}\0', "upstream_error", "is a worker's"),
        (frame("a")[:-9], "upstream_error", "is a worker's"),
        (b'{"text":"\xff\xfe"}\0', "upstream_error", "is a worker's"),
        (b"[" * 100_000 + b"\0", "upstream_error", "is a worker's"),
        ((DATA / "error.stream").read_bytes(), "upstream_error", "could not convert string to float: 'warm'"),
        ((DATA / "no_worker.stream").read_bytes(), "no_capacity", "registered"),
        (frame("part") + b'{"text":"boom","error_code":50002}\0' + frame("part two"), "out_of_memory", "boom"),
    ],
)
def test_failures_are_faults_in_the_upstreams_words(data: bytes, kind: str, said: str) -> None:
    events = events_of(data)
    assert isinstance(events[-1], Fault)
    assert events[-1].error.kind == kind
    assert said in events[-1].error.message
    assert "NETWORK ERROR" not in events[-1].error.message
    reader = FrameReader(PLAIN)
    reader.feed(data)
    reader.end()
    assert (reader.feed(frame("a")), reader.end()) == ([], [])


def test_reads_what_only_python_calls_json() -> None:
    data = b'{"text":"a\\ud83d","logprobs":{"tokens":["a","b"],"token_logprobs":[-Infinity,NaN]}}\0'
    unlikely = (TokenLogprob("a", -9999.0), TokenLogprob("b", -9999.0))
    assert events_of(data) == [Text(0, "a", None, unlikely), Text(0, "\ufffd"), Finish(0, "stop")]


def test_tells_notices_of_another_trunkcall() -> None:
    data = frame("a") + frame("a", finish_reason="stop", notices=[{"level": "warning", "text": "w"}])
    assert Notice("warning", "w") in events_of(data)


def test_limits_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastchat_frames, "FRAME_LIMIT", 100)
    reader = FrameReader(PLAIN)
    (fault,) = reader.feed(b"x" * 101)
    assert isinstance(fault, Fault)


def test_knows_when_all_is_said() -> None:
    reader = FrameReader(PLAIN)
    reader.feed(frame("a"))
    assert not reader.complete
    reader.feed(frame("a", finish_reason="stop"))
    assert reader.complete


pieces = st.lists(st.text(), max_size=6)


@given(pieces, st.lists(st.integers(0, 2000), max_size=8), st.booleans())
def test_any_text_survives_any_cut(texts: list[str], cuts: list[int], escaped: bool) -> None:
    whole = "".join(texts)
    data = b""
    so_far = ""
    for text in texts:
        so_far += text
        data += json.dumps({"text": so_far, "error_code": 0}, ensure_ascii=escaped).encode() + b"\0"
    data += frame(whole, finish_reason="stop")
    events = events_of(data, cuts=[cut % (len(data) + 1) for cut in cuts])
    assert text_of(events) == whole


@given(st.text(min_size=1), st.integers(1, 8), st.data())
def test_half_characters_are_never_told_early(text: str, width: int, data: st.DataObject) -> None:
    """As a tokenizer of bytes has it: each step decodes a prefix of the UTF-8."""
    raw = text.replace("\ufffd", "?").encode()
    steps = [raw[:end].decode(errors="replace") for end in range(width, len(raw), width)]
    sent = b"".join(frame(step) for step in steps) + frame(raw.decode(), finish_reason="stop")
    cut = data.draw(st.integers(0, len(sent)))
    events = events_of(sent, cuts=[cut])
    assert text_of(events) == raw.decode()
    assert not any("\ufffd" in event.text for event in events if isinstance(event, Text))


@given(pieces, st.integers(1, 3), st.booleans())
def test_what_the_emitter_writes_is_read_again(texts: list[str], interval: int, stream: bool) -> None:
    emitter = FrameEmitter(PLAIN, stream, interval=interval)
    sent = b"".join(emitter.feed(Text(0, text)) for text in texts)
    sent += emitter.feed(Usage(3, 4)) + emitter.feed(Finish(0, "length")) + emitter.end()
    events = events_of(sent)
    assert text_of(events) == "".join(texts)
    assert events[-2:] == [Usage(3, 4), Finish(0, "length")]


def test_a_fault_of_the_emitter_is_read_again() -> None:
    emitter = FrameEmitter(PLAIN, True)
    sent = emitter.feed(Text(0, "a")) + emitter.fault(ServingError("too_long", "the prompt is too long"))
    (_, fault) = events_of(sent)
    assert isinstance(fault, Fault)
    assert (fault.error.kind, fault.error.message) == ("too_long", "the prompt is too long")
