"""Anthropic requests: the same as its package sends, and the names of what cannot be said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw
from protocols.cloud_cases import HELLO, MEDIA, SCHEMA, STRICT, TOOL, asked, call, called, image, recorded

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, TextPrompt, TokenPrompt
from trunkcall.protocols.anthropic import SAMPLED, emit_message

VERSION = "2026-10-21"
RECORDED = recorded("anthropic")
SAME: dict[str, Generate] = {
    "plain": asked(),
    "settings": asked(
        [{"role": "developer", "content": "Be brief."}, *HELLO], max_tokens=7, stop=["END", "!"], user="u-1"
    ),
    "schema and thinking": asked(response_format=STRICT, reasoning_effort="low"),
    "media": asked(MEDIA),
    "tools": asked(
        called("toolu_1", "toolu_2"),
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        parallel_tool_calls=False,
    ),
}


def nothing(id: str) -> None:
    """Remembers no call."""


def emitted(request: Generate, version: str = VERSION) -> tuple[Any, tuple[str, ...]]:
    body, dropped = emit_message(request, "claude-opus-5-5", version, nothing)
    return json.loads(body), dropped


@pytest.mark.parametrize("name", SAME)
def test_the_same_as_anthropics_package(name: str) -> None:
    assert emitted(SAME[name]) == (RECORDED[name][2], ())


@pytest.mark.parametrize(
    ("version", "sent", "dropped"),
    [
        (VERSION, {}, {"temperature", "top_p", "top_k"}),
        (SAMPLED, {"temperature": 1.0, "top_p": 0.9, "top_k": 5}, {"temperature"}),
    ],
)
def test_sampling_by_version(version: str, sent: dict[str, float], dropped: set[str]) -> None:
    body, named = emitted(asked(temperature=1.5, top_p=0.9, top_k=5), version)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert set(named) == dropped


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"n": 1, "temperature": None, "stop": None, "max_tokens": None, "tools": None, "store": None}, ()),
        ({"response_format": {"type": "text"}, "parallel_tool_calls": False}, ()),
        ({"n": 2, "seed": 1, "logprobs": True, "logit_bias": {"1": 2}}, ("n", "seed", "logprobs", "logit_bias")),
        ({"response_format": {"type": "json_object"}}, ("response_format",)),
        ({"frequency_penalty": 0.5, "min_p": 0.1}, ("frequency_penalty", "min_p")),
        ({"tools": [TOOL, {"type": "web"}]}, ("tools[1]",)),
        ({"tool_choice": {"type": "allowed_tools"}}, ("tool_choice",)),
        ({"reasoning_effort": "minimal"}, ("reasoning_effort",)),
        ({"reasoning_effort": "boundless"}, ("reasoning_effort",)),
    ],
)
def test_what_cannot_be_said_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert set(emitted(asked(**fields))[1]) == set(dropped)


@pytest.mark.parametrize(
    ("fields", "thinking", "effort"),
    [
        ({"reasoning_effort": "max"}, {"type": "adaptive", "display": "summarized"}, "max"),
        ({"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ({"reasoning_effort": "high", "tools": [TOOL], "tool_choice": "required"}, None, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"type": "enabled", "budget_tokens": 2000}, None),
        ({}, None, None),
    ],
)
def test_thinking(fields: dict[str, Any], thinking: Any, effort: str | None) -> None:
    body, dropped = emitted(asked(**fields))
    assert (body.get("thinking"), body.get("output_config", {}).get("effort"), dropped) == (thinking, effort, ())


@pytest.mark.parametrize(
    ("messages", "sent", "dropped"),
    [
        (
            [*HELLO, {"role": "system", "content": "Now in French."}],
            [{"role": "user", "content": "hello"}],
            ("messages[1].role",),
        ),
        (
            [*HELLO, *HELLO, {"role": "assistant", "content": "", "reasoning_content": "hm"}],
            [{"role": "user", "content": [{"type": "text", "text": "hello"}] * 2}],
            ("messages[2].reasoning_content",),
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain,gr%C3%BC%C3%9F"}},
                        {"type": "file", "file": {"filename": "b.pdf", "file_data": "JVBERi0="}},
                        {"type": "file", "file": {"file_id": "file_1"}},
                        {"type": "file", "file": {"filename": "c.json", "file_data": "e30="}},
                        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                    ],
                }
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "title": "a.txt",
                            "source": {"type": "text", "media_type": "text/plain", "data": "grüß"},
                        },
                        {
                            "type": "document",
                            "title": "b.pdf",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                        },
                        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                    ],
                }
            ],
            ("messages[0].content[3]", "messages[0].content[4]"),
        ),
        (
            [*called("a")[:2], {"role": "tool", "tool_call_id": "a", "content": [image("https://host/a.png")]}],
            [
                {"role": "user", "content": "weather?"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "a", "name": "get_weather", "input": {"place": "Paris"}}],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "a",
                            "content": [{"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}],
                        }
                    ],
                },
            ],
            (),
        ),
    ],
)
def test_messages(messages: Any, sent: Any, dropped: tuple[str, ...]) -> None:
    body, named = emitted(asked(messages))
    assert (body["messages"], set(named)) == (sent, set(dropped))


def test_an_answer_comes_back_as_it_was_given_unless_the_caller_changed_it() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
        {"type": "tool_use", "id": "a", "name": "get_weather", "input": {"place": "Paris"}},
    ]
    kept = {"a": json.dumps(blocks).encode()}
    body, _ = emit_message(asked(called("a")), "m", VERSION, kept.get)
    assert json.loads(body)["messages"][1] == {"role": "assistant", "content": blocks}
    turns = called("a")
    turns[1]["content"] = "and more"
    body, _ = emit_message(asked(turns), "m", VERSION, kept.get)
    assert json.loads(body)["messages"][1]["content"] == [{"type": "text", "text": "and more"}, blocks[1]]


def test_one_text_is_a_turn_and_own_fields_go_out() -> None:
    own = {"anthropic": {"service_tier": Raw(b'"standard_only"')}, "kuwa": {"llm_x": Raw(b"1")}}
    body, dropped = emitted(Generate(model="m", prompt=TextPrompt(("once",)), extra=own))
    assert (body["messages"], body["service_tier"]) == ([{"role": "user", "content": "once"}], "standard_only")
    assert dropped == ("llm_x",)


@pytest.mark.parametrize("choice", ["none", "auto", "required"])
def test_choices_of_tools(choice: str) -> None:
    body, _ = emitted(asked(tools=[TOOL], tool_choice=choice))
    assert body["tool_choice"] == {"type": {"required": "any"}.get(choice, choice)}


def test_a_single_call_at_a_time_needs_a_choice() -> None:
    strict = {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}
    body, _ = emitted(asked(tools=[strict, {"type": "function", "function": {"name": "g"}}], parallel_tool_calls=False))
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["tools"] == [
        {"name": "f", "input_schema": SCHEMA, "strict": True},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("request_", "kind", "param"),
    [
        (Generate(model="m", prompt=TextPrompt(("a", "b"))), "unsupported", "prompt"),
        (Generate(model="m", prompt=TokenPrompt(((1, 2),))), "unsupported", "prompt"),
        (asked([{"role": "user", "content": [image("data:image/png;base64,%%")]}]), "bad_request", "image_url.url"),
        (
            asked([*HELLO, {"role": "assistant", "content": None, "tool_calls": [call("a", "[]")]}]),
            "bad_request",
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            asked([{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/plain,%ff"}}]}]),
            "bad_request",
            "messages[0].content[0].file.file_data",
        ),
    ],
)
def test_what_cannot_be_asked(request_: Generate, kind: str, param: str) -> None:
    with pytest.raises(ServingError) as caught:
        emitted(request_)
    assert caught.value.kind == kind
    assert (caught.value.param or "").endswith(param)
