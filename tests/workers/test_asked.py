"""What a request asks of the engine, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.workers.asked import Abilities, Asked, read_chat, read_completion, read_embedding
from trunkcall.workers.forced_calls import format_of

MESSAGES = [{"role": "user", "content": "hi"}]
ALL = Abilities(True, True, True, True)
TOOLS = [{"type": "function", "function": {"name": "f"}}]


NONE = Abilities()


def chat(able: Abilities = NONE, **fields: Any) -> Asked:
    return read_chat(json.dumps({"messages": MESSAGES, **fields}).encode(), able)


def completion(**fields: Any) -> Asked:
    return read_completion(json.dumps({"prompt": "a", **fields}).encode())


def engine(asked: Asked) -> list[dict[str, Any]]:
    return [json.loads(body) for body in asked.bodies]


def test_the_engine_always_streams_with_progress_and_usage() -> None:
    for asked in (chat(), completion(), chat(stream=True, stream_options={"include_usage": False})):
        (body,) = engine(asked)
        assert body["stream"] is True
        assert body["return_progress"] is True
        assert body["stream_options"] == {"include_usage": True}
        assert not asked.usage
    assert chat(stream=True, stream_options={"include_usage": True}).usage


@pytest.mark.parametrize(
    ("fields", "sent", "told"),
    [
        ({}, {}, False),
        ({"return_token_ids": False}, {}, False),
        ({"return_token_ids": None}, {}, False),
        ({"return_token_ids": True}, {"logprobs": True, "top_logprobs": 1, "post_sampling_probs": True}, True),
        (
            {"return_token_ids": True, "logprobs": True, "top_logprobs": 3},
            {"logprobs": True, "top_logprobs": 3},
            True,
        ),
        ({"return_token_ids": True, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {}, False),
    ],
)
def test_tokens_are_asked_for_with_probabilities(fields: dict[str, Any], sent: dict[str, Any], told: bool) -> None:
    asked = chat(**fields)
    (body,) = engine(asked)
    names = ("logprobs", "top_logprobs", "post_sampling_probs", "return_token_ids")
    assert {name: body[name] for name in names if name in body} == sent
    assert asked.ids == told
    assert asked.dropped == (("return_token_ids",) if fields.get("return_token_ids") and not told else ())


def test_tools_that_must_not_be_called_are_not_shown() -> None:
    asked = chat(ALL, tools=TOOLS, tool_choice="none", parallel_tool_calls=True, return_token_ids=True)
    (body,) = engine(asked)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()
    assert (asked.dropped, asked.ids) == ((), True)


G = {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}


def test_a_named_tool_is_the_only_one() -> None:
    (body,) = engine(chat(ALL, tools=[*TOOLS, G], tool_choice={"type": "function", "function": {"name": "g"}}))
    assert body["tools"] == [G]
    assert body["response_format"] == json.loads(bytes(format_of([G]) or b""))
    other = chat(ALL, tools=[G], tool_choice={"type": "allowed_tools", "allowed_tools": {}})
    assert (other.dropped, "tool_choice" in engine(other)[0]) == (("tool_choice",), False)
    without = chat(tools=[G], tool_choice={"type": "function", "function": {"name": "g"}})
    assert without.dropped == ("tools", "tool_choice")
    for wrong in ({"name": "h"}, {}, "g", None):
        with pytest.raises(ServingError) as caught:
            chat(ALL, tools=[G], tool_choice={"type": "function", "function": wrong})
        assert (caught.value.kind, caught.value.param) == ("bad_request", "tool_choice")


@pytest.mark.parametrize(
    ("fields", "forced"),
    [
        ({"tool_choice": "required"}, True),
        ({"tool_choice": "required", "response_format": {"type": "text"}}, True),
        ({"tool_choice": "auto"}, False),
        # The caller says what an answer looks like, or reads it himself.
        ({"tool_choice": "required", "response_format": {"type": "json_object"}}, False),
        ({"tool_choice": "required", "grammar": 'root ::= "a"'}, False),
        ({"tool_choice": "required", "parse_tool_calls": False}, False),
        ({"tool_choice": "required", "tools": [{"type": "function"}]}, False),
    ],
)
def test_where_a_call_must_be_made_the_answer_is_held_to_one(fields: dict[str, Any], forced: bool) -> None:
    asked = chat(ALL, **{"tools": [G], **fields})
    (body,) = engine(asked)
    assert asked.forced == forced
    assert ("tool_choice" in body) != forced
    assert (body.get("response_format") == json.loads(bytes(format_of([G]) or b""))) == forced
    assert asked.dropped == ()


def test_tokens_of_completions_are_asked_for_with_probabilities() -> None:
    asked = completion(prompt=["a", [1, 2]], return_token_ids=True)
    assert asked.ids and asked.logprobs is None and list(asked.prompts) == ["a", [1, 2]]
    assert all((body["logprobs"], body["post_sampling_probs"]) == (1, True) for body in engine(asked))
    (body,) = engine(completion(return_token_ids=True, logprobs=2))
    assert (body["logprobs"], "post_sampling_probs" in body) == (2, False)


@pytest.mark.parametrize(
    ("fields", "able", "dropped"),
    [
        ({}, Abilities(), ()),
        ({"store": None, "metadata": None, "user": "u", "safety_identifier": "s"}, Abilities(), ()),
        ({"store": False, "service_tier": "auto", "modalities": ["text"], "verbosity": "medium"}, Abilities(), ()),
        (
            {"store": True, "service_tier": "flex", "verbosity": "low"},
            Abilities(),
            ("store", "service_tier", "verbosity"),
        ),
        (
            {"audio": {}, "prediction": {}, "web_search_options": {}},
            Abilities(),
            ("audio", "prediction", "web_search_options"),
        ),
        ({"top_k": 1, "min_p": 0.1, "grammar": "x", "logit_bias": {"5": 1}, "seed": 1, "stop": "x"}, Abilities(), ()),
        ({"tools": TOOLS}, Abilities(), ("tools",)),
        ({"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True}, Abilities(), ("tools",)),
        ({"tools": TOOLS, "tool_choice": "required"}, Abilities(), ("tools", "tool_choice")),
        ({"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": True}, ALL, ()),
        ({"tools": TOOLS, "parallel_tool_calls": True}, Abilities(True, True), ("parallel_tool_calls",)),
        ({"tools": TOOLS, "parallel_tool_calls": False}, Abilities(True, True), ()),
        ({"tools": []}, Abilities(), ()),
        ({"reasoning_effort": "low"}, Abilities(), ("reasoning_effort",)),
        ({"reasoning_effort": "low"}, ALL, ()),
    ],
)
def test_dropped_fields_of_chat(fields: dict[str, Any], able: Abilities, dropped: tuple[str, ...]) -> None:
    asked = chat(able, **fields)
    assert asked.dropped == dropped
    (body,) = engine(asked)
    assert not set(dropped) - {"parallel_tool_calls"} & body.keys()


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"suffix": "x"}, ("suffix",)),
        ({"suffix": "", "best_of": 1}, ()),
        ({"best_of": 3}, ("best_of",)),
        ({"best_of": 3, "n": 3}, ()),
        ({"echo": True}, ()),
        ({"echo": True, "logprobs": 1}, ()),
        ({"include_stop_str_in_output": True, "stop": "x"}, ()),
        ({"echo": True, "prompt": [1, 2]}, ("echo",)),
        ({"messages": []}, ("messages",)),
    ],
)
def test_dropped_fields_of_completions(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    asked = completion(**fields)
    assert asked.dropped == dropped
    assert not {"suffix", "best_of", "echo", "n"} & engine(asked)[0].keys()


def test_answers_are_asked_for_one_by_one() -> None:
    asked = completion(prompt=["a", "b"], n=2, seed=7, echo=True)
    assert [(body["prompt"], body["seed"]) for body in engine(asked)] == [("a", 7), ("a", 8), ("b", 7), ("b", 8)]
    assert asked.echo == ("a", "b")
    assert not any("n" in body or "seed" in body for body in engine(chat(n=3)))
    assert len(chat(n=3).bodies) == 3


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a"], ["a"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]]), (["a", "b"], ["a", "b"])],
)
def test_prompts(prompt: Any, prompts: list[Any]) -> None:
    assert [body["prompt"] for body in engine(completion(prompt=prompt))] == prompts


def test_names_that_differ() -> None:
    (body,) = engine(chat(repetition_penalty=1.1, temperature=None))
    assert body["repeat_penalty"] == 1.1
    assert not {"repetition_penalty", "temperature"} & body.keys()


@pytest.mark.parametrize(
    ("fields", "asks", "wanted"),
    [
        ({"logprobs": True}, 1, 0),
        ({"logprobs": True, "top_logprobs": 0}, 1, 0),
        ({"logprobs": True, "top_logprobs": 3}, 3, 3),
        ({"logprobs": False}, None, None),
        ({"logprobs": None}, None, None),
    ],
)
def test_logprobs(fields: dict[str, Any], asks: int | None, wanted: int | None) -> None:
    asked = chat(**fields)
    assert asked.logprobs == wanted
    assert engine(asked)[0].get("top_logprobs") == asks


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 129}, "n"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 5}}, "stream_options.include_usage"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"tools": {}}, "tools"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
    ],
)
def test_wrong_values_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as caught:
        chat(**fields)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


def test_too_many_answers() -> None:
    with pytest.raises(ServingError, match="1024"):
        completion(prompt=["a"] * 100, n=100)


def test_embeddings() -> None:
    body, dropped = read_embedding(b'{"input":"a","dimensions":5,"user":"u","encoding_format":"base64"}')
    assert json.loads(body) == {"input": "a", "user": "u", "encoding_format": "base64"}
    assert dropped == ("dimensions",)
    for wrong in (b"{}", b'{"input":[]}', b'{"input":""}', b'{"input":"a","encoding_format":"int8"}', b"x", b"\xff"):
        with pytest.raises(ServingError):
            read_embedding(wrong)


@pytest.mark.parametrize(("role", "dropped"), [("assistant", ()), ("user", ("continue_final_message",))])
def test_a_last_message_of_the_assistant_is_continued_anyway(role: str, dropped: tuple[str, ...]) -> None:
    body = {"model": "m", "messages": [{"role": role, "content": "x"}], "continue_final_message": True}
    asked = read_chat(json.dumps(body).encode(), Abilities())
    assert asked.dropped == dropped


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"logprobs": True, "top_logprobs": 2}, ("logprobs",)),
        ({"logprobs": False, "return_token_ids": False}, ()),
        ({"return_token_ids": True}, ("return_token_ids",)),
        ({"logprobs": True, "max_tokens": 1}, ()),
        ({"logprobs": True, "max_completion_tokens": 1}, ()),
    ],
)
def test_what_a_draft_model_keeps_a_chat_from_telling(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    asked = read_chat(body, Abilities(), drafted=True)
    assert asked.dropped == dropped
    if dropped:
        assert not {"logprobs", "top_logprobs", "return_token_ids"} & json.loads(asked.bodies[0]).keys()
        assert (asked.logprobs, asked.ids) == (None, False)
    assert read_chat(body, Abilities()).dropped == ()


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"logprobs": 0}, ("logprobs",)),
        ({"logprobs": 3, "echo": True}, ("logprobs",)),
        ({"logprobs": 3, "echo": True, "max_tokens": 1}, ()),
        ({"include_stop_str_in_output": True, "stop": "x"}, ("include_stop_str_in_output",)),
        ({"include_stop_str_in_output": True}, ()),
    ],
)
def test_what_a_draft_model_keeps_a_completion_from_telling(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    body = json.dumps({"prompt": "hi", **fields}).encode()
    asked = read_completion(body, drafted=True)
    assert (asked.dropped, asked.scored and bool(dropped)) == (dropped, False)
    assert read_completion(body).dropped == ()
