"""Each token that llama.cpp writes, streamed, whole, and as the engine itself tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest

COMPLETION = "/v1/completions"
DETAIL = {"return_token_ids": True, "logprobs": 2, "temperature": 0}


def entries(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [token for one in choices for token in (one["logprobs"] or {}).get("content", [])]


def streamed(pocket: Any, **fields: Any) -> list[dict[str, Any]]:
    return [choice for chunk in pocket.stream(COMPLETION, **fields) for choice in chunk["choices"]]


def same(told: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """But for the probabilities, which are not the same to the last bit when a prompt comes from the cache."""
    drop = ("logprob", "top_logprobs")
    bare = [
        [{name: value for name, value in one.items() if name not in drop} for one in each] for each in (told, expected)
    ]
    probabilities = [[one["logprob"] for one in each] for each in (told, expected)]
    return bare[0] == bare[1] and probabilities[0] == pytest.approx(probabilities[1], abs=0.02)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "The capital of France is", "max_tokens": 12},
        {"prompt": "x", "grammar": 'root ::= "日本 é🎉" "b"'},
        {"prompt": "x", "grammar": 'root ::= "ab cde"', "stop": ["cdex"]},
    ],
)
def test_streamed_as_whole_and_as_the_engine_says(pocket: Any, fields: dict[str, Any]) -> None:
    whole = pocket.ask(COMPLETION, **fields, **DETAIL)["choices"][0]
    pieces = streamed(pocket, **fields, **DETAIL)
    told = whole["logprobs"]["content"]
    assert same(entries(pieces), told)
    assert (
        whole["token_ids"] == [one["id"] for one in told] == [id for one in pieces for id in one.get("token_ids", [])]
    )
    written = b"".join(bytes(one["bytes"]) for one in told if not one.get("special"))
    assert written.decode() == whole["text"] == "".join(one["text"] for one in pieces)
    if whole["finish_reason"] == "stop":
        assert told[-1]["special"] and told[-1]["token"] in ("<|im_end|>", "<|endoftext|>")
    own = pocket.ask(COMPLETION, **fields, logprobs=2, temperature=0)["choices"][0]["logprobs"]
    known = {place: one["logprob"] for place, one in enumerate(told) if one["logprob"] != -9999.0}
    assert list(known.values()) == pytest.approx(own["token_logprobs"], abs=0.02)


@pytest.mark.parametrize(
    ("grammar", "stop", "text"),
    [
        ("abcdefg", "de", "abcde"),
        ("ab cdefg", "efg", "ab cdefg"),
        ("a🎉b", "🎉", "a🎉"),
        ("aé🎉b", "é🎉", "aé🎉"),
        ("abc", "x", "abc"),
    ],
)
@pytest.mark.parametrize("detail", [{}, DETAIL])
def test_a_stop_string_is_kept(pocket: Any, grammar: str, stop: str, text: str, detail: dict[str, Any]) -> None:
    fields = {"prompt": "x", "grammar": f'root ::= "{grammar}"', "stop": [stop, "zz"], "max_tokens": 30}
    status, headers, body = pocket.call(COMPLETION, {**fields, **detail, "include_stop_str_in_output": True})
    assert status == 200 and "x-trunkcall-dropped" not in headers
    whole = json.loads(body)["choices"][0]
    assert (whole["text"], whole.get("stop_reason")) == (text, stop if stop in text else None)
    assert ("token_ids" in whole) == bool(detail)
    pieces = streamed(pocket, **fields, **detail, include_stop_str_in_output=True)
    assert "".join(one["text"] for one in pieces) == text
    assert pieces[-1].get("stop_reason") == whole.get("stop_reason")
    cut = pocket.ask(COMPLETION, **fields, **detail)["choices"][0]
    assert cut["text"] == text.removesuffix(stop)


def test_a_stop_string_holds_nothing_back(pocket: Any) -> None:
    pieces = streamed(
        pocket,
        prompt="x",
        grammar='root ::= "abcdefghijkl"',
        stop=["abcdefghijkl"],
        **DETAIL,
        include_stop_str_in_output=True,
    )
    assert sum(bool(one["text"]) for one in pieces) > 3


def test_the_probabilities_of_a_prompt(pocket: Any) -> None:
    text = "The capital of é is Paris"
    fields = {"prompt": text, "echo": True, "max_tokens": 2, **DETAIL}
    whole = pocket.ask(COMPLETION, **fields)["choices"][0]
    pieces = streamed(pocket, **fields)
    assert "".join(one["text"] for one in pieces) == whole["text"]
    assert whole["text"].startswith(text)
    ids = whole["prompt_token_ids"]
    told = whole["logprobs"]["content"][: len(ids)]
    assert [one["id"] for one in told] == ids
    assert b"".join(bytes(one["bytes"]) for one in told).decode() == text
    assert all(-30 < one["logprob"] < 0 for one in told[1:]), "parts of characters too"
    assert (told[0]["logprob"], whole["logprobs"]["token_logprobs"][0]) == (None, None)
    assert same(entries(pieces)[1:], whole["logprobs"]["content"][1:])
    # The same token as an answer has the same probability.
    place = len(ids) - 1
    said = pocket.ask(
        COMPLETION, **{**DETAIL, "prompt": ids[:place], "max_tokens": 1, "logit_bias": {str(ids[-1]): 1e6}}
    )
    (token,) = said["choices"][0]["logprobs"]["content"]
    assert (token["id"], token["logprob"]) == (ids[-1], pytest.approx(told[-1]["logprob"], abs=0.02))
    plain = pocket.ask(COMPLETION, prompt=text, echo=True, logprobs=1, max_tokens=1)["choices"][0]["logprobs"]
    assert "content" not in plain and plain["text_offset"][0] == 0
    assert [one is None for one in plain["token_logprobs"]] == [True, *[False] * (len(plain["tokens"]) - 1)]
