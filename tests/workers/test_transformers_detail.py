"""Each token that a transformers host writes, streamed, whole, and as the model itself says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from transformers_child import POCKET, TEXT, Child

pytest.importorskip("torch", reason="DETAIL NOT CHECKED: install trunkcall[transformers]")
pytest.importorskip("transformers", reason="DETAIL NOT CHECKED: install trunkcall[transformers]")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]

DETAIL: dict[str, Any] = {"return_token_ids": True, "logprobs": 2, "temperature": 0}


@pytest.fixture(scope="module")
def host() -> Iterator[Child]:
    child = Child(POCKET, slots=4, threads=1)
    assert child.report.get("address"), child.report
    yield child
    child.stop()


def entries(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [token for one in choices for token in (one["logprobs"] or {}).get("content", [])]


def streamed(host: Child, **fields: Any) -> list[dict[str, Any]]:
    return [choice for chunk in host.stream(TEXT, **fields) for choice in chunk["choices"]]


def probabilities(told: list[dict[str, Any]]) -> list[float]:
    return [one["logprob"] for one in told]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "The capital of France is", "max_tokens": 12},
        {"prompt": "The capital of France is", "max_tokens": 40, "stop": ["zz"], "typical_p": 0.9},
        {"prompt": "日本 é🎉 日本 é🎉 日本", "max_tokens": 30, "logit_bias": {"165": 100, "248": 90}},
    ],
)
def test_streamed_as_whole_and_as_the_model_says(host: Child, fields: dict[str, Any]) -> None:
    whole = host.ask(TEXT, **fields, **DETAIL)["choices"][0]
    pieces = streamed(host, **fields, **DETAIL)
    told = whole["logprobs"]["content"]
    bare = [
        [(one["id"], one["token"], one["bytes"], one.get("special")) for one in each]
        for each in (told, entries(pieces))
    ]
    assert bare[0] == bare[1]
    assert probabilities(told) == pytest.approx(probabilities(entries(pieces)), abs=1e-3)
    assert (
        whole["token_ids"] == [one["id"] for one in told] == [id for one in pieces for id in one.get("token_ids", [])]
    )
    written = b"".join(bytes(one["bytes"]) for one in told if not one.get("special"))
    assert written.decode(errors="ignore") == whole["text"].replace("\ufffd", "")
    assert bool(told[-1].get("special")) == (whole["finish_reason"] == "stop")
    assert all(one["top_logprobs"][0]["logprob"] >= one["top_logprobs"][1]["logprob"] for one in told)
    assert all("id" in top for one in told for top in one["top_logprobs"])


def test_a_stop_string_is_kept_and_holds_nothing_back(host: Child) -> None:
    fields = {"prompt": "The capital of France", "temperature": 0, "max_tokens": 20}
    text = host.ask(TEXT, **fields)["choices"][0]["text"]
    stop = text[5:9]
    end = text.index(stop) + len(stop)
    kept = {**fields, "stop": [stop], "include_stop_str_in_output": True, "return_token_ids": True}
    whole = host.ask(TEXT, **kept)["choices"][0]
    assert (whole["text"], whole["stop_reason"], whole["finish_reason"]) == (text[:end], stop, "stop")
    pieces = streamed(host, **kept)
    assert "".join(one["text"] for one in pieces) == text[:end]
    assert pieces[-1]["stop_reason"] == stop
    cut = host.ask(TEXT, **{**kept, "include_stop_str_in_output": False})["choices"][0]
    assert cut["text"] == text[: end - len(stop)]
    assert cut["token_ids"] == whole["token_ids"], "those of the stop string are told although it is cut off"


def test_the_probabilities_of_a_prompt(host: Child) -> None:
    text = "The capital of é is Paris. " * 40
    fields = {"prompt": text, "echo": True, "max_tokens": 2, **DETAIL}
    whole = host.ask(TEXT, **fields)["choices"][0]
    pieces = streamed(host, **fields)
    assert "".join(one["text"] for one in pieces) == whole["text"]
    assert whole["text"].startswith(text)
    ids = whole["prompt_token_ids"]
    assert len(ids) > 256, "more than one pass"
    told = whole["logprobs"]["content"][: len(ids)]
    assert [one["id"] for one in told] == ids
    assert b"".join(bytes(one["bytes"]) for one in told).decode() == text
    assert (told[0]["logprob"], whole["logprobs"]["token_logprobs"][0]) == (None, None)
    for place in (1, 5, 255, 256, 257, len(ids) - 1):
        said = host.ask(TEXT, prompt=ids[:place], max_tokens=1, logit_bias={str(ids[place]): 1e6}, **DETAIL)
        (token,) = said["choices"][0]["logprobs"]["content"]
        assert (token["id"], token["logprob"]) == (ids[place], pytest.approx(told[place]["logprob"], abs=1e-3))


def test_what_each_token_of_a_text_writes(host: Child) -> None:
    text = "Hallo é🎉"
    told = host.ask("/tokenize", prompt=text, return_pieces=True)
    assert b"".join(map(bytes, told["pieces"])).decode() == text
    assert len(told["pieces"]) == told["count"]
    assert "pieces" not in host.ask("/tokenize", prompt=text)
