"""Requests: what a caller writes is read exactly, refused with the field's name, and re-emitted."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw
from protocols.openai_schema import check

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    AudioPart,
    FilePart,
    Format,
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    RefusalPart,
    Sampling,
    Shape,
    Templating,
    TextPart,
    TextPrompt,
    ThinkingPart,
    TokenPrompt,
    Tool,
    ToolCallPart,
    ToolChoice,
    UnknownPart,
    UnknownTool,
)
from trunkcall.protocols.openai import (
    emit_chat,
    emit_completion,
    emit_embedding,
    read_chat,
    read_completion,
    read_embedding,
    requested_fields,
)

HELLO = {"role": "user", "content": "hello"}


def chat(**fields: Any) -> Generate:
    return read_chat(json.dumps({"model": "m", "messages": [HELLO], **fields}).encode())


def messages(*given: Any) -> tuple[Message, ...]:
    prompt = chat(messages=given).prompt
    assert isinstance(prompt, MessagesPrompt)
    return prompt.messages


def emitted(request: Generate) -> dict[str, Any]:
    body, dropped = emit_chat(request, "m")
    assert dropped == ()
    return json.loads(body)


def completion(**fields: Any) -> Generate:
    return read_completion(json.dumps({"model": "m", "prompt": "p", **fields}).encode())


# --- refusals -------------------------------------------------------------------------------------

M = b'{"model":"m","messages":[{"role":"user","content":"x"}],'


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "not valid JSON"),
        (b"{}", "model", "required"),
        (b'{"model":"m"}', "messages", "required"),
        (b'{"model":"m","messages":[]}', "messages", "length >= 1"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "messages[0].role", "required"),
        (b'{"model":"m","messages":[{"role":"king","content":"x"}]}', "messages[0].role", "king"),
        (b'{"model":"m","messages":[{"role":"user","content":5}]}', "messages[0].content", "expected `str | array"),
        (b'{"model":"m","messages":[{"role":"user"}]}', "messages[0].content", "text or a list"),
        (b'{"model":"m","messages":[{"role":"user","content":null}]}', "messages[0].content", "text or a list"),
        (b'{"model":"m","messages":[{"role":"tool","content":"x"}]}', "messages[0].tool_call_id", "required"),
        (b'{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}', "messages[0].content[0].type", "req"),
        (b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":1}]}]}', "messages[0].content[0].text", "str"),
        (b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}', "messages[0].content[0].image_url.url", "required"),
        (b'{"model":"m","messages":[{"role":"user","content":["x"]}]}', "messages[0].content[0]", "expected `object`"),
        (b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f"}}]}]}', "messages[0].tool_calls[0].function.arguments", "required"),
        (b'{"model":"m","messages":"x"}', "messages", "expected `array`"),
        (M + b'"temperature":"hot"}', "temperature", "expected `float | null`"),
        (M + b'"temperature":2.1}', "temperature", "<= 2"),
        (M + b'"temperature":-1}', "temperature", ">= 0"),
        (M + b'"top_p":1.01}', "top_p", "<= 1"),
        (M + b'"n":0}', "n", ">= 1"),
        (M + b'"n":129}', "n", "<= 128"),
        (M + b'"n":true}', "n", "int"),
        (M + b'"logprobs":true,"top_logprobs":21}', "top_logprobs", "<= 20"),
        (M + b'"top_logprobs":2}', "top_logprobs", "`logprobs`"),
        (M + b'"presence_penalty":-2.5}', "presence_penalty", ">= -2"),
        (M + b'"frequency_penalty":3}', "frequency_penalty", "<= 2"),
        (M + b'"max_tokens":-1}', "max_tokens", ">= 0"),
        (M + b'"max_completion_tokens":1.5}', "max_completion_tokens", "int"),
        (M + b'"seed":9223372036854775808}', "seed", "<="),
        (M + b'"logit_bias":{"5":"x"}}', "logit_bias", "float"),
        (M + b'"stop":["a",5]}', "stop[1]", "str"),
        (M + b'"stream":"true"}', "stream", "bool"),
        (M + b'"stream_options":{"include_usage":"x"}}', "stream_options.include_usage", "bool"),
        (M + b'"stream_options":3}', "stream_options", "object"),
        (M + b'"tools":[{"type":"function","function":{}}]}', "tools[0].function.name", "required"),
        (M + b'"tools":[{"type":"function"}]}', "tools[0].function", "required"),
        (M + b'"tool_choice":"any"}', "tool_choice", "'any'"),
        (M + b'"tool_choice":{"type":"function"}}', "tool_choice.function", "required"),
        (M + b'"response_format":{"type":"json_schema"}}', "response_format.json_schema", "required"),
        (M + b'"response_format":{"x":1}}', "response_format.type", "required"),
        (M + b'"response_format":{"type":"json_object"},"grammar":"root ::= x"}', "grammar", "combined"),
        (M + b'"guided_regex":"a","grammar":"root ::= x"}', "structured_outputs", "combined"),
        (M + b'"structured_outputs":{"regex":1}}', "structured_outputs.regex", "str"),
        (M + b'"x":"\xc3("}', None, "UTF-8"),
    ],
)  # fmt: skip
def test_refused_chats(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        read_chat(body)
    assert caught.value.kind == "bad_request"
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"best_of": 21}, "best_of"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"echo": "yes"}, "echo"),
    ],
)
def test_refused_completions(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as caught:
        completion(**fields)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": {}}, "input"),
        ({"input": []}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
    ],
)
def test_refused_embeddings(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as caught:
        read_embedding(json.dumps({"model": "m", "input": "x", **fields}).encode())
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


# --- reading --------------------------------------------------------------------------------------


def test_unset_null_and_a_value_stay_different() -> None:
    assert chat().sampling == Sampling()
    request = chat(temperature=None, top_p=0, seed=5, stop=None, logprobs=None, response_format=None)
    assert request.sampling == Sampling(temperature=None, top_p=0.0, seed=5)
    assert request.stops.strings is None
    assert request.reporting.logprobs is None
    assert request.shape.format is None
    assert {"temperature", "seed", "stop"} <= emitted(request).keys()
    assert "temperature" not in emitted(chat())


def test_all_kinds_of_parts() -> None:
    text, image, audio, file, refusal = (
        {"type": "text", "text": "t"},
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}},
        {"type": "refusal", "refusal": "no"},
    )
    video = {"type": "video_url", "video_url": {"url": "u"}}
    (message,) = messages({"role": "user", "content": [text, image, audio, file, refusal, video]})
    assert message.plain is False
    assert message.parts[:5] == (
        TextPart("t"),
        ImagePart("data:x", "low"),
        AudioPart("AA==", "wav"),
        FilePart(UNSET, "a.pdf", "AA=="),
        RefusalPart("no"),
    )
    unknown = message.parts[5]
    assert isinstance(unknown, UnknownPart)
    assert (unknown.protocol, json.loads(bytes(unknown.raw))) == ("openai", video)


def test_an_assistant_turn_with_thinking_refusal_and_calls() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    (message,) = messages(
        {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm", "tool_calls": [call]}
    )
    assert message.parts == (ThinkingPart("hm"), RefusalPart("no"), ToolCallPart("c1", "f", "{}"))


def test_deprecated_function_calls_become_paired_tool_calls() -> None:
    request = chat(
        messages=[
            HELLO,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "5"},
        ],
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    assert isinstance(request.prompt, MessagesPrompt)
    _, called, result = request.prompt.messages
    assert called.parts == (ToolCallPart("call_1", "f", "{}"),)
    assert (result.role, result.tool_call_id, result.name) == ("tool", "call_1", "f")
    assert request.shape.tools == (Tool("f", parameters={"type": "object"}),)
    assert request.shape.tool_choice == ToolChoice("named", "f")
    body = emitted(request)
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert "functions" not in body and "function_call" not in body


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "text"}, Format("text")),
        ({"type": "json_object"}, Format("json")),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": None}}, Format("schema", schema={"type": "object"}, name="a", strict=None)),
    ],
)  # fmt: skip
def test_response_formats(given: dict[str, Any], expected: Format) -> None:
    assert chat(response_format=given).shape.format == expected


@pytest.mark.parametrize("given", [{"guided_regex": "a+"}, {"structured_outputs": {"regex": "a+"}}])
def test_a_regular_expression_goes_out_under_both_names(given: dict[str, Any]) -> None:
    for request, emit in ((chat(**given), emit_chat), (completion(**given), emit_completion)):
        assert request.shape.format == Format("regex", source="a+")
        body, dropped = emit(request, "m")
        sent = json.loads(body)
        assert (sent["structured_outputs"], sent["guided_regex"], dropped) == ({"regex": "a+"}, "a+", ())
        assert request.extra == {}


def test_other_structured_outputs_go_raw() -> None:
    for asked in ({"choice": ["a"]}, {"regex": "a", "backend": "x"}):
        request = chat(structured_outputs=asked)
        assert request.shape.format is UNSET
        assert emitted(request)["structured_outputs"] == asked


def test_completions_have_shapes_too() -> None:
    request = completion(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}}})
    assert request.shape.format == Format("schema", schema={}, name="a")
    assert json.loads(emit_completion(request, "m")[0])["response_format"]["json_schema"]["schema"] == {}


def test_an_unknown_response_format_goes_raw() -> None:
    given = {"type": "structural_tag", "tags": [1]}
    request = chat(response_format=given)
    assert request.shape.format is UNSET
    assert emitted(request)["response_format"] == given
    assert requested_fields(request) == ("response_format",)


def test_extensions_reach_the_neutral_model() -> None:
    request = chat(
        top_k=5, min_p=0.1, typical_p=0.9, repetition_penalty=1.1, min_tokens=2, ignore_eos=True, stop_token_ids=[7],
        chat_template="{{x}}", chat_template_kwargs={"enable_thinking": False}, continue_final_message=True,
        add_generation_prompt=False, grammar="root ::= x", return_token_ids=True, include_stop_str_in_output=True,
    )  # fmt: skip
    assert request.extra == {}
    assert request.sampling == Sampling(
        top_k=5, min_p=0.1, typical_p=0.9, repetition_penalty=1.1, min_tokens=2, ignore_eos=True
    )
    assert request.templating == Templating(UNSET, "{{x}}", {"enable_thinking": False}, True)
    assert request.shape.format == Format("grammar", source="root ::= x")
    assert request.stops.token_ids == (7,) and request.stops.include
    assert request.reporting.token_ids


def test_whole_biases_are_emitted_as_the_integers_of_the_public_api() -> None:
    assert b'"logit_bias":{"5":-100,"6":0.5}' in emit_chat(chat(logit_bias={"5": -100, "6": 0.5}), "m")[0]


def test_max_tokens_keeps_its_spelling() -> None:
    old, new, both = chat(max_tokens=5), chat(max_completion_tokens=6), chat(max_tokens=5, max_completion_tokens=6)
    assert [request.sampling.max_tokens for request in (old, new, both)] == [5, 6, 6]
    assert emitted(old)["max_tokens"] == 5
    assert emitted(new)["max_completion_tokens"] == 6 and "max_tokens" not in emitted(new)
    assert (emitted(both)["max_tokens"], emitted(both)["max_completion_tokens"]) == (5, 6)
    assert requested_fields(new) == ("max_completion_tokens",)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", TextPrompt(("a",))),
        ("", TextPrompt(("",))),
        (["a"], TextPrompt(("a",), batched=True)),
        (["a", "b"], TextPrompt(("a", "b"), batched=True)),
        ([1, 2], TokenPrompt(((1, 2),))),
        ([[1], [2]], TokenPrompt(((1,), (2,)), batched=True)),
    ],
)
def test_prompts(prompt: Any, expected: TextPrompt | TokenPrompt) -> None:
    request = completion(prompt=prompt, echo=True, logprobs=0, suffix="s")
    assert request.prompt == expected
    body, dropped = emit_completion(request, "up")
    assert dropped == ()
    assert json.loads(body) == {
        "model": "up", "prompt": prompt, "echo": True, "logprobs": 0, "suffix": "s"
    }  # fmt: skip


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_embeddings_round_trip(given: Any) -> None:
    fields = {"input": given, "dimensions": 8, "encoding_format": "base64", "user": "u", "truncate": True}
    body, dropped = emit_embedding(read_embedding(json.dumps({"model": "m", **fields}).encode()), "up")
    assert (json.loads(body), dropped) == ({"model": "up", **fields}, ())


# --- what has no word of ours ---------------------------------------------------------------------


def test_unmodelled_fields_are_named_and_put_back() -> None:
    fields: dict[str, Any] = {
        "metadata": {"a": "b"},
        "service_tier": None,
        "odd.name[0]": 1,
        "": 2,
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "tools": [
            {"type": "function", "function": {"name": "f", "x": 1}, "cache_control": {}},
            {"type": "custom", "custom": {"name": "c"}},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "z": 1}, "y": 2},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "t"}],
                "refusal": "r",
                "audio": {"id": "a"},
                "reasoning": "hm",
                "tool_calls": [
                    {"id": "1", "type": "custom", "custom": {"name": "c", "input": ""}},
                    {"id": "2", "type": "function", "function": {"name": "f", "arguments": "", "w": 1}, "v": 2},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [{"id": "3", "type": "custom", "custom": {}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "odd key": 1}}]},
        ],
    }
    request = chat(**fields)
    assert set(request.extra["openai"]) == {
        "metadata",
        "service_tier",
        '["odd.name[0]"]',
        '[""]',
        "stream_options.include_obfuscation",
        "tools[0].function.x",
        "tools[0].cache_control",
        "response_format.json_schema.z",
        "response_format.y",
        "messages[0].content[0].cache_control",
        "messages[1].refusal",
        "messages[1].audio",
        "messages[1].reasoning",
        "messages[1].tool_calls[0]",
        "messages[1].tool_calls[1].function.w",
        "messages[1].tool_calls[1].v",
        "messages[2].tool_calls[0]",
        "messages[3].content[0].image_url.odd key",
    }
    assert isinstance(request.shape.tools, tuple) and isinstance(request.shape.tools[1], UnknownTool)
    assert emitted(request) == {"model": "m", **fields}


def test_fields_of_other_protocols_are_reported() -> None:
    request = msgspec.structs.replace(
        chat(metadata={}),
        prompt=MessagesPrompt((Message("user", (TextPart("x"), UnknownPart("anthropic", Raw(b"{}"))), plain=False),)),
        shape=Shape(tools=(Tool("f"), UnknownTool("anthropic", Raw(b"{}"))), format=Format("regex", source="a+")),
        extra={"anthropic": {"top_a": Raw(b"1"), "nothing": Raw(b"null"), "spelling": Raw(b"")}, "openai": {}},
    )
    body, dropped = emit_chat(request, "up")
    assert dropped == ("top_a", "messages[0].content[1]", "tools[1]")
    assert json.loads(body)["messages"] == [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    assert set(requested_fields(request)) == {"tools", "structured_outputs", "guided_regex", *dropped}


def test_a_place_that_is_gone_is_reported() -> None:
    request = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}])
    shorter = msgspec.structs.replace(request, prompt=MessagesPrompt((Message("user", (TextPart("a"),)),)))
    assert emit_chat(shorter, "up")[1] == ("messages[0].content[0].x",)


def test_what_completions_cannot_say_is_reported() -> None:
    request = msgspec.structs.replace(
        completion(),
        shape=Shape(tools=(), reasoning_effort="low", format=Format("grammar", source="g")),
        templating=Templating(system_override="s", chat_template="t"),
    )
    body, dropped = emit_completion(request, "up")
    assert set(dropped) == {"tools", "reasoning_effort", "chat_template", "system_override"}
    assert json.loads(body) == {"model": "up", "prompt": "p", "grammar": "g"}


def test_a_prompt_of_the_wrong_kind_is_unsupported() -> None:
    for emit, request in ((emit_chat, completion()), (emit_completion, chat())):
        with pytest.raises(ServingError) as caught:
            emit(request, "up")
        assert caught.value.kind == "unsupported"


def test_a_system_override_replaces_or_precedes() -> None:
    override = Templating(system_override="new")
    system = {"role": "system", "content": "new"}
    for turns_given in ([HELLO], [{"role": "system", "content": "old"}, HELLO]):
        request = msgspec.structs.replace(chat(messages=turns_given), templating=override)
        assert emitted(request)["messages"] == [system, {"role": "user", "content": "hello"}]


def test_requested_fields_names_what_the_caller_set() -> None:
    request = chat(
        temperature=1, stop="a", stream=True, metadata={}, max_tokens=None, messages=[{**HELLO, "weight": 1}]
    )
    assert set(requested_fields(request)) == {"temperature", "stop", "metadata", "max_tokens", "messages[0].weight"}
    assert requested_fields(completion()) == ()
    assert requested_fields(read_embedding(b'{"model":"m","input":"x","dimensions":3}')) == ("dimensions",)


# --- round trips ----------------------------------------------------------------------------------

texts = st.text(max_size=6)
raws = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
maps = st.dictionaries(texts, raws, max_size=2)


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    """An object with unknown fields beside the known ones."""
    known = st.fixed_dictionaries(required, optional=optional or {})
    names = texts.filter(lambda name: name not in {"type", "refusal", "name", "function", "json_schema", "reasoning"})
    return st.tuples(st.dictionaries(names, raws, max_size=1), known).map(lambda pair: {**pair[0], **pair[1]})


def nullable(strategy: Any) -> Any:
    return st.none() | strategy


parts = st.one_of(
    record({"type": st.just("text"), "text": texts}),
    record({"type": st.just("refusal"), "refusal": texts}),
    record({"type": st.just("image_url"), "image_url": record({"url": texts}, {"detail": texts})}),
    record({"type": st.just("input_audio"), "input_audio": record({"data": texts, "format": texts})}),
    record({"type": st.just("file"), "file": record({}, {"file_id": texts, "filename": texts, "file_data": texts})}),
    record({"type": st.just("video_url"), "video_url": raws}),
)
calls = st.one_of(
    record({"id": texts, "type": st.just("function"), "function": record({"name": texts, "arguments": texts})}),
    record({"id": texts, "type": st.just("custom"), "custom": raws}),
)
contents = texts | st.lists(parts, max_size=3)
turns = st.one_of(
    record({"role": st.sampled_from(["system", "developer", "user"]), "content": contents}, {"name": texts}),
    record({"role": st.just("tool"), "content": contents, "tool_call_id": texts}),
    record(
        {"role": st.just("assistant"), "content": nullable(contents)},
        {
            "refusal": texts,
            "reasoning_content": texts,
            "reasoning": texts,
            "tool_calls": st.lists(calls, min_size=1, max_size=2),
        },
    ),
)
functions = record({"name": texts}, {"description": texts, "parameters": maps, "strict": nullable(st.booleans())})
tools = record({"type": st.just("function"), "function": functions}) | record(
    {"type": st.just("custom"), "custom": raws}
)
schemas = record({"name": texts}, {"description": texts, "schema": maps, "strict": nullable(st.booleans())})
formats = st.one_of(
    record({"type": st.just("text")}),
    record({"type": st.just("json_object")}),
    record({"type": st.just("json_schema"), "json_schema": schemas}),
    record({"type": st.just("other")}),
)
common: dict[str, Any] = {
    "temperature": nullable(st.floats(0, 2)),
    "top_p": nullable(st.floats(0, 1)),
    "top_k": nullable(st.integers(-1, 100)),
    "seed": nullable(st.integers(-(2**63), 2**63 - 1)),
    "n": nullable(st.integers(1, 128)),
    "max_tokens": nullable(st.integers(0, 9999)),
    "presence_penalty": nullable(st.floats(-2, 2)),
    "logit_bias": nullable(st.dictionaries(st.integers(0, 9).map(str), st.integers(-100, 100), max_size=2)),
    "stop": nullable(st.lists(texts, max_size=6)),
    "stop_token_ids": st.lists(st.integers(0, 9), max_size=2),
    "user": texts,
    "metadata": raws,
    "store": raws,
}
chats = record(
    {"model": st.just("m"), "messages": st.lists(turns, min_size=1, max_size=3)},
    {
        **common,
        "max_completion_tokens": nullable(st.integers(0, 9999)),
        "logprobs": st.booleans(),
        "tools": st.lists(tools, max_size=2),
        "tool_choice": st.sampled_from(["none", "auto", "required"])
        | st.builds(lambda name: {"type": "function", "function": {"name": name}}, texts)
        | st.builds(lambda value: {"type": "allowed_tools", "allowed_tools": value}, raws),
        "response_format": nullable(formats),
        "parallel_tool_calls": nullable(st.booleans()),
        "reasoning_effort": nullable(texts),
        "chat_template_kwargs": maps,
    },
)
completions = record(
    {"model": st.just("m"), "prompt": texts | st.lists(texts, min_size=1, max_size=3)},
    {**common, "logprobs": nullable(st.integers(0, 5)), "best_of": nullable(st.integers(0, 20)), "suffix": texts},
)


@given(chats)
def test_chats_round_trip(given: dict[str, Any]) -> None:
    request = read_chat(json.dumps(given).encode())
    body, dropped = emit_chat(request, "m")
    assert dropped == ()
    assert floats(json.loads(body)) == floats(given)
    assert read_chat(body) == request


@given(completions)
def test_completions_round_trip(given: dict[str, Any]) -> None:
    request = read_completion(json.dumps(given).encode())
    body, dropped = emit_completion(request, "m")
    assert dropped == ()
    assert floats(json.loads(body)) == floats(given)
    assert read_completion(body) == request


def floats(body: dict[str, Any]) -> dict[str, Any]:
    return {key: float(value) if type(value) is int and key != "seed" else value for key, value in body.items()}


def test_an_emitted_chat_fits_the_public_schema() -> None:
    request = chat(
        temperature=1,
        logprobs=True,
        top_logprobs=3,
        stream=True,
        stream_options={"include_usage": True},
        stop="x",
        logit_bias={"5": 1},
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        tool_choice="auto",
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
        reasoning_effort="low",
        messages=[
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "5"},
        ],
    )
    check("CreateChatCompletionRequest", emitted(request))
    check("CreateCompletionRequest", json.loads(emit_completion(completion(logprobs=2, echo=True), "m")[0]))
    body = emit_embedding(read_embedding(b'{"model":"m","input":["a"],"dimensions":3}'), "m")[0]
    check("CreateEmbeddingRequest", json.loads(body))
