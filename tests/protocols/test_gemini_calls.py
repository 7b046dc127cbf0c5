"""Gemini requests: the same as Google's package sends, and the names of what cannot be said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw
from protocols.cloud_cases import (
    HELLO,
    MEDIA,
    PIXEL,
    SCHEMA,
    STRICT,
    TOOL,
    asked,
    call,
    called,
    camel_case,
    image,
    recorded,
)

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Count, Embed, Generate, Message, MessagesPrompt, TextPart, TextPrompt, TokenPrompt
from trunkcall.protocols.gemini import continued, emit_count, emit_embedding, emit_generate

RECORDED = recorded("gemini")
SAME: dict[str, Generate] = {
    "plain": asked(),
    "sampling": asked(
        [{"role": "system", "content": "Be brief."}, *HELLO],
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        max_completion_tokens=7,
        stop=["END", "!"],
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=3,
    ),
    "schema and thinking": asked(response_format=STRICT, reasoning_effort="low"),
    "media": asked(MEDIA),
    "tools": asked(called("fc-1"), tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}}),
}


def nothing(id: str) -> None:
    """Remembers no call."""


def emitted(request: Generate, model: str = "gemini-3-flash") -> tuple[Any, tuple[str, ...]]:
    body, dropped = emit_generate(request, model, nothing)
    return json.loads(body), dropped


@pytest.mark.parametrize("name", SAME)
def test_the_same_as_googles_package(name: str) -> None:
    kept = {"fc-1": b"c2lnbmVk"}
    body, dropped = emit_generate(SAME[name], "gemini-3-flash", kept.get)
    assert (json.loads(body), dropped) == (camel_case(RECORDED[name][2]), ())


def test_embeddings_counts_and_continuations_are_googles_too() -> None:
    body, dropped = emit_embedding(Embed(model="m", inputs=("a", "b"), dimensions=2), "embed")
    assert (json.loads(body), dropped) == (RECORDED["embeddings"][2], ())
    text = Count(model="m", prompt=TextPrompt(("hello",)))
    assert json.loads(emit_count(text, "gemini-3-flash")) == RECORDED["count"][2]
    again = continued(emit_generate(asked(), "gemini-3-flash", nothing)[0], "dG9rZW4=")
    assert json.loads(again) == RECORDED["continued"][2]


def test_a_count_holds_the_instructions() -> None:
    turns = (Message("system", (TextPart("Be brief."),)), Message("user", (TextPart("hello"),)))
    body = json.loads(emit_count(Count(model="m", prompt=MessagesPrompt(turns)), "g"))
    told = body["generateContentRequest"]
    assert told["model"] == "models/g"
    assert told["systemInstruction"]["parts"] == [{"text": "Be brief."}]


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"n": 1, "temperature": None, "stop": None, "logprobs": None, "seed": None, "store": None}, ()),
        ({"response_format": {"type": "text"}, "parallel_tool_calls": True}, ()),
        ({"logit_bias": {"1": 2}, "user": "u", "store": True}, ("logit_bias", "user", "store")),
        ({"min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 1}, ("min_p", "repetition_penalty", "min_tokens")),
        ({"parallel_tool_calls": False, "tools": [TOOL]}, ("parallel_tool_calls",)),
        ({"top_k": -1}, ("top_k",)),
        ({"grammar": "root ::= x"}, ("grammar",)),
        ({"tools": [{"type": "web"}, TOOL]}, ("tools[0]",)),
        ({"tool_choice": {"type": "allowed_tools"}}, ("tool_choice",)),
        ({"reasoning_effort": "none"}, ("reasoning_effort",)),
        ({"reasoning_effort": "boundless"}, ("reasoning_effort",)),
    ],
)
def test_what_cannot_be_said_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert set(emitted(asked(**fields))[1]) == set(dropped)


@pytest.mark.parametrize(
    ("messages", "contents", "dropped"),
    [
        (
            [*HELLO, {"role": "system", "content": "Now in French."}],
            [{"role": "user", "parts": [{"text": "hello"}]}],
            ("messages[1].role",),
        ),
        (
            [{"role": "user", "name": "Ann", "content": [image("data:image/png;base64," + PIXEL, detail="low")]}],
            [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]}],
            ("messages[0].name", "messages[0].content[0].image_url.detail"),
        ),
        (
            [*HELLO, {"role": "assistant", "content": "", "reasoning_content": "hm"}, *HELLO],
            [
                {"role": "user", "parts": [{"text": "hello"}]},
                {"role": "user", "parts": [{"text": "hello"}]},
            ],
            ("messages[1].reasoning_content",),
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}],
            [{"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}]}],
            (),
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "file", "file": {"filename": "a.csv", "file_data": "YSxi"}},
                        {"type": "file", "file": {"file_id": "https://host/files/1"}},
                        {"type": "odd"},
                    ],
                }
            ],
            [
                {
                    "role": "user",
                    "parts": [
                        {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}},
                        {"fileData": {"fileUri": "https://host/files/1"}},
                    ],
                }
            ],
            ("messages[0].content[2]",),
        ),
    ],
)
def test_messages(messages: Any, contents: Any, dropped: tuple[str, ...]) -> None:
    body, named = emitted(asked(messages))
    assert (body["contents"], set(named)) == (contents, set(dropped))


def test_calls_without_a_signature_say_so_to_models_that_want_one() -> None:
    request = asked(called("a", "b"))
    later, earlier = (emitted(request, model)[0]["contents"] for model in ("gemini-3-flash", "gemini-2.5-pro"))
    assert [part.get("thoughtSignature") for part in later[1]["parts"]] == ["skip_thought_signature_validator", None]
    assert [part.get("thoughtSignature") for part in earlier[1]["parts"]] == [None, None]
    results = [part["functionResponse"] for part in later[2]["parts"]]
    assert [(one["id"], one["name"], one["response"]) for one in results] == [
        ("a", "get_weather", {"output": "sun"}),
        ("b", "get_weather", {"output": "rain"}),
    ]


def test_a_result_that_is_an_object_stays_one() -> None:
    messages = [*called("a")[:2], {"role": "tool", "tool_call_id": "a", "content": '{"sun": 9007199254740993}'}]
    body, _ = emitted(asked(messages))
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"sun": 9007199254740993}


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-3-flash", "none", {"includeThoughts": False, "thinkingLevel": "MINIMAL"}),
        ("gemini-4-argon", "xhigh", {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
    ],
)
def test_thinking(model: str, effort: str, config: dict[str, Any]) -> None:
    body, _ = emitted(asked(reasoning_effort=effort), model)
    assert body["generationConfig"]["thinkingConfig"] == config


@pytest.mark.parametrize(
    ("choice", "mode"), [("none", {"mode": "NONE"}), ("auto", {"mode": "AUTO"}), ("required", {"mode": "ANY"})]
)
def test_choices_of_tools(choice: str, mode: dict[str, Any]) -> None:
    body, _ = emitted(asked(tools=[TOOL], tool_choice=choice))
    assert body["toolConfig"]["functionCallingConfig"] == mode


def test_one_text_is_a_turn_and_own_fields_go_out() -> None:
    own = {"gemini": {"safetySettings": Raw(b'[{"category":"X","threshold":"OFF"}]')}, "kuwa": {"llm_x": Raw(b"1")}}
    body, dropped = emitted(Generate(model="m", prompt=TextPrompt(("once",)), extra=own))
    assert body["contents"] == [{"role": "user", "parts": [{"text": "once"}]}]
    assert body["safetySettings"] == [{"category": "X", "threshold": "OFF"}]
    assert dropped == ("llm_x",)


@pytest.mark.parametrize(
    ("request_", "kind", "param"),
    [
        (Generate(model="m", prompt=TextPrompt(("a", "b"))), "unsupported", "prompt"),
        (Generate(model="m", prompt=TokenPrompt(((1, 2),))), "unsupported", "prompt"),
        (asked([{"role": "user", "content": [image("data:image/png;base64,%%")]}]), "bad_request", "image_url.url"),
        (asked([{"role": "user", "content": [image("data:oops")]}]), "bad_request", "image_url.url"),
        (
            asked([*HELLO, {"role": "assistant", "content": None, "tool_calls": [call("a", "{nope")]}]),
            "bad_request",
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            asked([*HELLO, {"role": "tool", "tool_call_id": "lost", "content": "x"}]),
            "bad_request",
            "messages[1].tool_call_id",
        ),
        (
            asked([{"role": "user", "content": [{"type": "file", "file": {"file_data": "no base64"}}]}]),
            "bad_request",
            "file.file_data",
        ),
    ],
)
def test_what_cannot_be_asked(request_: Generate, kind: str, param: str) -> None:
    with pytest.raises(ServingError) as caught:
        emitted(request_)
    assert caught.value.kind == kind
    assert (caught.value.param or "").endswith(param)


def test_token_ids_have_no_vectors() -> None:
    with pytest.raises(ServingError, match="not token ids") as caught:
        emit_embedding(Embed(model="m", inputs=((1, 2),)), "e")
    assert (caught.value.kind, caught.value.param) == ("unsupported", "input")
    assert emit_embedding(Embed(model="m", inputs=("a",), user="u"), "e")[1] == ("user",)


def test_a_tool_without_parameters_and_a_strict_one() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    strict = {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}
    body, dropped = emitted(asked(tools=[bare, strict]))
    assert body["tools"] == [{"functionDeclarations": [{"name": "now"}, {"name": "f", "parametersJsonSchema": SCHEMA}]}]
    assert dropped == ("tools[1].function.strict",)
