"""FastChat's answers written from events: growing texts, the repeat at the end, log probabilities, echo, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    Notice,
    PromptTokens,
    Queue,
    Refusal,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.core.requests import Generate, Reporting, TextPrompt
from trunkcall.protocols.fastchat import FrameEmitter

START = Start("id", "m", 0)


def request(**reporting: Any) -> Generate:
    return Generate(model="m", prompt=TextPrompt(("hi ",)), reporting=Reporting(**reporting))


def emitted(events: list[Event], made: FrameEmitter) -> list[dict[str, Any]]:
    sent = b"".join(made.feed(event) for event in events) + made.end()
    assert sent.endswith(b"\0") == (made.content_type != b"application/json")
    return [json.loads(one) for one in sent.removesuffix(b"\0").split(b"\0")]


def frame(text: str, prompt: int, completion: int, reason: str | None = None, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"text": text, "error_code": 0, "usage": usage, "finish_reason": reason, "logprobs": None, **more}


TWO: list[Event] = [START, Queue(1), Text(0, "a"), Text(0, "b\u016e"), Finish(0, "length"), Usage(7, 2)]


def test_a_stream_repeats_its_text_with_the_reason() -> None:
    assert emitted(TWO, FrameEmitter(request(), True)) == [
        frame("a", 0, 1),
        frame("ab\u016e", 0, 2),
        frame("ab\u016e", 7, 2, "length"),
    ]


def test_the_first_piece_at_once_then_fewer_frames_and_none_of_the_text_lost() -> None:
    made = FrameEmitter(request(), True, interval=2)
    assert made.feed(Text(0, "", (1,))) == b""
    assert b'"text":"a"' in made.feed(Text(0, "a"))
    five: list[Event] = [*(Text(0, letter) for letter in "xyzuv"), Finish(0, "stop"), Usage(7, 7)]
    found = emitted(five, made)
    assert [one["text"] for one in found] == ["axy", "axyzu", "axyzuv", "axyzuv"]
    assert found[-1]["usage"]["prompt_tokens"] == 7


def test_a_whole_answer_is_one_object() -> None:
    assert emitted(TWO, FrameEmitter(request(), False)) == [frame("ab\u016e", 7, 2, "length")]
    assert FrameEmitter(request(), False).content_type == b"application/json"


def test_an_empty_answer_has_one_frame() -> None:
    assert emitted([START, Finish(0, "stop")], FrameEmitter(request(), True)) == [frame("", 0, 0, "stop")]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "stop"),
        ("content_filter", "stop"),
        ("cancelled", "abort"),
    ],
)
def test_names_the_end_as_workers_do(reason: Any, word: str) -> None:
    assert emitted([START, Finish(0, reason)], FrameEmitter(request(), False))[0]["finish_reason"] == word


def test_thoughts_are_marked_as_models_mark_them() -> None:
    events: list[Event] = [
        START,
        Thinking(0, "hm"),
        Thinking(0, "m"),
        Text(0, "so"),
        Refusal(0, "no"),
        Finish(0, "stop"),
    ]
    assert emitted(events, FrameEmitter(request(), False))[0]["text"] == "<think>\nhmm\n</think>\n\nsono"
    only = emitted([START, Thinking(0, "hm"), Finish(0, "length")], FrameEmitter(request(), True))
    assert [one["text"] for one in only] == ["<think>\nhm", "<think>\nhm\n</think>\n\n", "<think>\nhm\n</think>\n\n"]


def test_log_probabilities_with_and_without_the_prompt() -> None:
    prompt = PromptTokens((TokenLogprob("h", -1.0), TokenLogprob("i ", -2.0)))
    answer = Text(0, "a", None, (TokenLogprob("a", -3.0, None, (TokenLogprob("b", -4.0),)),))
    events: list[Event] = [START, prompt, answer, Finish(0, "stop")]
    asked = request(echo=True, logprobs=1)
    told = emitted(events, FrameEmitter(asked, True, before="hi "))
    assert [one["text"] for one in told] == ["hi a", "hi a"]
    assert told[0]["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    assert told[-1]["logprobs"] == {
        "text_offset": [0, 1, 3],
        "tokens": ["h", "i ", "a"],
        "token_logprobs": [None, -2.0, -3.0],
        "top_logprobs": [{}, {}, {"b": -4.0}],
    }
    alone = emitted(events, FrameEmitter(asked, False))[0]
    assert (alone["text"], alone["logprobs"]["text_offset"], alone["logprobs"]["tokens"]) == ("a", [0], ["a"])
    assert emitted(events, FrameEmitter(request(), False))[0]["logprobs"] is None


def test_counts_tokens_until_they_are_told() -> None:
    told = emitted([START, Text(0, "ab", (1, 2, 3)), Text(0, "c"), Finish(0, "stop")], FrameEmitter(request(), True))
    assert [one["usage"]["completion_tokens"] for one in told] == [3, 4, 4]


def test_a_presumed_prompt_counts_until_it_is_told() -> None:
    said: list[Event] = [START, Text(0, "a"), Finish(0, "stop")]
    for events, prompts in ((said, [9, 9]), ([*said, Usage(7, 1)], [9, 7])):
        told = emitted(events, FrameEmitter(request(), True, presumed=9))
        assert [one["usage"]["prompt_tokens"] for one in told] == prompts


def test_notices_stand_in_the_last_object() -> None:
    events: list[Event] = [START, Notice("warning", "w"), Text(0, "a"), Finish(0, "stop")]
    assert emitted(events, FrameEmitter(request(), True)) == [
        frame("a", 0, 1),
        frame("a", 0, 1, "stop", notices=[{"level": "warning", "text": "w"}]),
    ]


def test_what_nobody_can_ask_for_is_passed_over() -> None:
    events: list[Event] = [
        START,
        Text(1, "other"),
        ToolCall(0, 0, "{}", "1", "f"),
        Finish(1, "length"),
        Finish(0, "stop"),
    ]
    assert emitted(events, FrameEmitter(request(), False)) == [frame("", 0, 0, "stop")]


def test_a_fault_is_a_frame_in_a_stream_and_an_error_before() -> None:
    fault = Fault(ServingError("overloaded", "try later"))
    assert FrameEmitter(request(), True).feed(fault) == b'{"text":"try later","error_code":42903}\0'
    with pytest.raises(ServingError, match="try later"):
        FrameEmitter(request(), False).feed(fault)
