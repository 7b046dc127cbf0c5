"""The tap: what passes is what came, and usage, finish and errors are noted on the way."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.openai import ChatTap, note_answer

DATA = Path(__file__).parent / "data" / "openai"
STREAMS = {path.stem: path.read_bytes() for path in sorted(DATA.glob("*.sse"))}

USAGES = {
    "chat_openai": Usage(9, 5, 4, 2),
    "chat_vllm": Usage(11, 4),
    "chat_llamacpp": Usage(20, 1, 19),
    "chat_tools": None,
    "completion_logprobs": Usage(3, 1),
}
FINISHES = {
    "chat_openai": "length",
    "chat_vllm": "stop",
    "chat_llamacpp": "stop",
    "chat_tools": "tool_calls",
    "completion_logprobs": "stop",
}


def meter() -> Meter:
    return Meter("r1", model="m", protocol="openai", stream=True)


def run(pieces: list[bytes], tap: ChatTap) -> bytes:
    return b"".join(tap.feed(piece) for piece in pieces) + tap.end()


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def payloads(data: bytes) -> list[Any]:
    reader = SseReader()
    found = reader.feed(data) + reader.end()
    return [payload.decode() if payload == b"[DONE]" else json.loads(payload) for payload in found]


def frame(content: str, *, index: int = 0, model: str = "up", finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": {"content": content}, "logprobs": None, "finish_reason": finish}
    return (
        b"data: %b\n\n"
        % json.dumps({"id": "x", "model": model, **more, "choices": [choice]}, separators=(",", ":")).encode()
    )


LONG = [frame(word) for word in "one two three four five six seven".split()]
LAST = frame("", finish="stop")
COUNT = b'data: {"id":"x","model":"up","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAMS["long"] = b"".join([*LONG, LAST, COUNT, DONE])
USAGES["long"] = Usage(3, 7)
FINISHES["long"] = "stop"


@pytest.mark.parametrize("name", STREAMS)
@given(places=st.lists(st.integers(0, 5000), max_size=8))
@settings(max_examples=30)
def test_every_byte_passes_and_is_noted(name: str, places: list[int]) -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=True, hold_usage=False, rename=None)
    assert run(split(STREAMS[name], places), tap) == STREAMS[name]
    assert (noted.usage, noted.finish, noted.error) == (USAGES[name], FINISHES[name], "")
    assert noted.chunks > 0 and noted.first is not None


@pytest.mark.parametrize("name", STREAMS)
@given(places=st.lists(st.integers(0, 5000), max_size=8), hold=st.booleans())
@settings(max_examples=30)
def test_renaming_and_holding_change_only_that(name: str, places: list[int], hold: bool) -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=True, hold_usage=hold, rename=("up", 'shown "name"'))
    out = payloads(run(split(STREAMS[name], places), tap))
    expected: list[Any] = []
    for payload in payloads(STREAMS[name]):
        if isinstance(payload, dict):
            if hold and payload["choices"] == [] and payload.get("usage"):
                continue
            expected.append({**payload, "model": 'shown "name"'})
        else:
            expected.append(payload)
    assert out == expected
    assert (noted.usage, noted.finish) == (USAGES[name], FINISHES[name])


def test_a_held_usage_frame_leaves_all_other_bytes() -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=True, hold_usage=True, rename=None)
    assert [tap.feed(piece) for piece in (*LONG, LAST, COUNT, DONE)] == [*LONG, LAST, b"", DONE]
    assert noted.usage == Usage(3, 7)


def test_progress_counts_pieces() -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=True, hold_usage=False, rename=None)
    for piece in LONG:
        tap.feed(piece)
    assert noted.chunks == 7
    tap.feed(b"".join(LONG))
    assert noted.chunks == 14


def test_a_telling_frame_after_plain_ones_in_one_batch_is_seen() -> None:
    for rename in (None, ("up", "down")):
        noted = meter()
        tap = ChatTap(noted, streamed=True, hold_usage=True, rename=rename)
        for _ in range(3):
            tap.feed(LONG[0])
        out = tap.feed(LONG[1] + LAST + COUNT + LONG[2])
        assert noted.finish == "stop"
        assert noted.usage == Usage(3, 7)
        assert b"usage" not in out


def test_a_model_of_another_name_is_renamed_too() -> None:
    tap = ChatTap(meter(), streamed=True, hold_usage=False, rename=("up", "shown"))
    out = tap.feed(LONG[0]) + tap.feed(LONG[1]) + tap.feed(LONG[2] + frame("x", model="up-2024")) + tap.feed(LONG[3])
    assert [payload["model"] for payload in payloads(out)] == ["shown"] * 5


def test_only_the_outermost_model_of_a_reply_is_renamed() -> None:
    nested = frame("a", extra={"model": "up"})
    tap = ChatTap(meter(), streamed=True, hold_usage=False, rename=("up", "shown"))
    out = payloads(tap.feed(LONG[0]) + tap.feed(LONG[1]) + tap.feed(nested))
    assert [payload["model"] for payload in out] == ["shown"] * 3
    assert out[2]["extra"] == {"model": "up"}


def test_words_in_the_text_are_not_taken_for_keys() -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=True, hold_usage=True, rename=None)
    text = '"finish_reason":"stop"}],"usage":{"prompt_tokens":1},"error":1'
    assert tap.feed(frame(text)) == frame(text)
    assert (noted.finish, noted.usage, noted.error) == ("", None, "")


def test_an_error_in_the_stream_is_noted_and_passes() -> None:
    noted = meter()
    error = b'data: {"error":{"message":"CUDA out of memory","code":500}}\n\n'
    tap = ChatTap(noted, streamed=True, hold_usage=True, rename=("up", "shown"))
    assert tap.feed(LONG[0] + error).endswith(error)
    assert noted.error == "out_of_memory"


def test_an_unfinished_last_frame_is_sent_at_the_end() -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=True, hold_usage=False, rename=None)
    assert tap.feed(LAST[:-1]) == b""
    assert tap.end() == LAST[:-1]
    assert noted.finish == "stop"
    tap = ChatTap(noted, streamed=True, hold_usage=False, rename=None)
    assert tap.feed(b'data: {"broken') + tap.end() == b'data: {"broken'


WHOLE = b'{"id":"x","model":"up","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":7,"total_tokens":10}}'
VECTORS = b'{"object":"list","data":[{"index":0,"embedding":[1.0]}],"model":"up","usage":{"prompt_tokens":4,"total_tokens":4}}'


@given(places=st.lists(st.integers(0, 5000), max_size=4))
def test_whole_answers(places: list[int]) -> None:
    noted = meter()
    tap = ChatTap(noted, streamed=False, hold_usage=False, rename=None)
    assert run(split(WHOLE, places), tap) == WHOLE
    assert (noted.usage, noted.finish) == (Usage(3, 7), "length")
    tap = ChatTap(noted, streamed=False, hold_usage=False, rename=("up", "shown"))
    assert run(split(WHOLE, places), tap) == WHOLE.replace(b'"up"', b'"shown"')


def test_note_answer() -> None:
    noted = meter()
    assert note_answer(VECTORS, noted) == VECTORS
    assert noted.usage == Usage(4, 0)
    assert note_answer(VECTORS, noted, "shown") == VECTORS.replace(b'"up"', b'"shown"')
    assert note_answer(b"<html>", noted, "shown") == b"<html>"
