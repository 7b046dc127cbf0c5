"""Answers whose tokens are told beside their text, and answers that another host has begun, on real hosts."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
QUESTIONS = (
    "What colour is the sky?",
    "Tell me a story about a cat.",
    "Count from 1 to 10.",
    "héllo 世界 😀",
    "Spell the word elephant.",
    "Tell me a story.",
    "Who are you?",
    "Repeat after me: 日本語 テキスト",
)
PENALTIES = {"frequency_penalty": 0.7, "presence_penalty": 0.3, "repetition_penalty": 1.1}
LONG = {"ignore_eos": True, "max_tokens": 80}
CASES = {
    "greedy": {},
    "penalties": PENALTIES,
    "long": LONG,
    "long with penalties": {**LONG, **PENALTIES, "logit_bias": {"16": 2}},
    "stop strings": {**LONG, "stop": ["the dog", "was a", "quick"]},
    "limited": {"max_tokens": 9},
}
_IDS = re.compile(rb',"token_ids":\[[\d,]*\]')
_OWN = re.compile(rb'"(?:id":"[^"]*|created":\d+)')


def stream(host: Any, path: str, traced: bool = True, **fields: Any) -> bytes:
    body = {"stream": True, "temperature": 0, "max_tokens": 100, "stream_options": {"include_usage": True}, **fields}
    status, _, data = host.call(path, body, {"x-trunkcall-traced": "1"} if traced else {})
    assert status == 200, data
    return data


def pieces(data: bytes) -> tuple[list[tuple[str, list[int] | None]], str | None, dict[str, int]]:
    """Each frame's text and tokens, the finish reason, the usage."""
    found, finish, usage = [], None, {}
    for frame in data.split(b"\n\n"):
        if not frame.startswith(b"data: {"):
            continue
        said = json.loads(frame[6:])
        usage = said.get("usage") or usage
        for choice in said["choices"]:
            text = choice["delta"].get("content") if "delta" in choice else choice["text"]
            finish = choice.get("finish_reason") or finish
            if text:
                found.append((text, choice.get("token_ids")))
    return found, finish, usage


def asked(path: str, question: str) -> dict[str, Any]:
    if path == TEXT:
        return {"prompt": f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"}
    return {"messages": [{"role": "user", "content": question}]}


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("case", CASES)
def test_a_traced_answer_is_the_same_but_for_its_tokens(pocket: Any, path: str, case: str) -> None:
    for question in QUESTIONS:
        fields = {**asked(path, question), **CASES[case]}
        plain, traced = (stream(pocket, path, on, **fields) for on in (False, True))
        shown = [_OWN.sub(b"", one).split(b"\n\n") for one in (plain, _IDS.sub(b"", traced))]
        # The last frame but one tells the usage, whose cached tokens depend on what came before.
        assert shown[0][:-3] == shown[1][:-3]
        assert pieces(plain)[1:2] == pieces(traced)[1:2]


@pytest.mark.slow
@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("case", CASES)
def test_what_was_begun_goes_on_as_if_unbroken(pocket: Any, path: str, case: str) -> None:
    chance = random.Random(case)
    cuts = unsure = 0
    for question in QUESTIONS:
        fields = {**asked(path, question), **CASES[case]}
        whole, finish, usage = pieces(stream(pocket, path, **fields))
        for _ in range(5):
            cut = chance.randrange(1, max(2, len(whole)))
            if any(ids is None for _, ids in whole[:cut]):
                unsure += 1
                continue
            begun = [id for _, ids in whole[:cut] for id in ids or ()]
            left = {**fields, "max_tokens": fields.get("max_tokens", 100) - len(begun)}
            if left["max_tokens"] < 1:
                continue
            rest, end, more = pieces(stream(pocket, path, **left, begun_token_ids=begun))
            assert [*whole[:cut], *rest] == whole
            assert end == finish
            assert more["prompt_tokens"] - len(begun) == usage["prompt_tokens"]
            assert more["completion_tokens"] + len(begun) == usage["completion_tokens"]
            cuts += 1
    assert cuts > 20, (cuts, unsure)
    assert unsure <= 4, (cuts, unsure)


def test_without_the_header_or_where_more_is_wanted_no_token_is_told(pocket: Any) -> None:
    ask = asked(CHAT, QUESTIONS[0])
    wanted = [{"logprobs": True}, {"n": 2}, {"response_format": {"type": "json_object"}}, {"timings_per_token": True}]
    for fields in wanted:
        assert b"token_ids" not in stream(pocket, CHAT, **ask, **fields)
    assert b"token_ids" not in stream(pocket, CHAT, False, **ask)
    assert b"token_ids" in stream(pocket, CHAT, **ask)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"n": 2}),
        (CHAT, {"stream": False}),
        (CHAT, {"response_format": {"type": "json_object"}}),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "add"}}]}),
        (TEXT, {"echo": True}),
        (TEXT, {"prompt": ["a", "b"]}),
    ],
)
def test_what_its_tokens_do_not_decide_cannot_go_on(pocket: Any, path: str, fields: dict[str, Any]) -> None:
    body = {**asked(path, "Hi"), "stream": True, "begun_token_ids": [314], **fields}
    status, _, data = pocket.call(path, body)
    assert status == 400
    assert json.loads(data)["error"]["param"] == "begun_token_ids"
