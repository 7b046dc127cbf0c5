"""FastChat's dialect of OpenAI's API: defaults, ranges and their words, errors, ids, usage, cards, token checks."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from msgspec import UNSET

from trunkcall.core.errors import STATUS, Kind, ServingError
from trunkcall.core.events import Event, Fault, Finish, Start, Text, Usage
from trunkcall.core.requests import Generate, Message, MessagesPrompt, TextPart, TextPrompt, TokenPrompt
from trunkcall.protocols import fastchat_openai as codec

ASK = [{"role": "user", "content": "hi"}]
REQUEST = Generate(model="tinyrand", prompt=MessagesPrompt((Message("user", (TextPart("hi"),)),)))
ID = "3aBcDeFgHiJkLmNpQrStUv"


def chat(**fields: Any) -> Generate:
    return codec.read_chat(json.dumps({"model": "tinyrand", "messages": ASK, **fields}).encode())


def completion(**fields: Any) -> Generate:
    return codec.read_completion(json.dumps({"model": "tinyrand", "prompt": "hi", **fields}).encode())


def told(error: ServingError, words: codec.ErrorWords = codec.FASTCHAT) -> tuple[int, Any]:
    response = words.failure(error)
    return response.status, json.loads(response.body)


def test_defaults_are_fastchats() -> None:
    asked = chat()
    assert asked.sampling.temperature == 0.7
    assert asked.sampling.max_tokens is UNSET, "what the prompt leaves of the context"
    assert completion().sampling.max_tokens == completion(max_tokens=None).sampling.max_tokens == 16
    assert completion().sampling.temperature == 0.7
    assert chat(temperature=None).sampling.temperature is None
    assert chat(temperature=0).sampling.temperature == 0
    body = json.dumps({"model": "m", "messages": ASK, "top_p": 0.5}).encode()
    own = codec.read_chat(body, codec.Defaults(top_p=0.9)).sampling
    assert (own.temperature, own.top_p) == (UNSET, 0.5)
    assert codec.read_chat(body, codec.Defaults(temperature=1, top_p=0.9)).sampling.temperature == 1


def test_what_fastchat_did_not_have_is_read_too() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    asked = chat(tools=[tool], response_format={"type": "json_object"}, stream=True,
                 stream_options={"include_usage": True}, repetition_penalty=1.2)  # fmt: skip
    assert asked.shape.tools is not UNSET
    assert asked.shape.format is not UNSET
    assert asked.reporting.usage_in_stream
    assert asked.sampling.repetition_penalty == 1.2


def test_messages_as_one_string_are_a_prompt_without_template() -> None:
    asked = chat(messages='USER: "hi"\nASSISTANT:', stop=["\n"], max_tokens=5)
    assert asked.prompt == TextPrompt(('USER: "hi"\nASSISTANT:',))
    assert asked.stops.strings == ("\n",)
    assert asked.sampling.max_tokens == 5
    assert chat(messages="x").sampling.max_tokens is None, "null, which for completions is the rest of the context"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", TextPrompt(("a",))),
        (["a", "b"], TextPrompt(("a", "b"), True)),
        ([1, 2], TokenPrompt(((1, 2),))),
        ([[1], [2, 3]], TokenPrompt(((1,), (2, 3)), True)),
    ],
)
def test_all_shapes_of_a_prompt(prompt: Any, expected: Any) -> None:
    assert completion(prompt=prompt).prompt == expected


def test_functions_of_the_fork_are_understood() -> None:
    asked = chat(messages=[
        *ASK,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    ])  # fmt: skip
    assert isinstance(asked.prompt, MessagesPrompt)
    assert [message.role for message in asked.prompt.messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("read", [chat, completion])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 3}, "3.0 is greater than the maximum of 2 - 'temperature'"),
        ({"temperature": -1}, "-1.0 is less than the minimum of 0 - 'temperature'"),
        ({"max_tokens": 0}, "0 is less than the minimum of 1 - 'max_tokens'"),
        ({"top_p": 2}, "2.0 is greater than the maximum of 1 - 'top_p'"),
        ({"top_p": -0.5}, "-0.5 is less than the minimum of 0 - 'top_p'"),
        ({"n": 0}, "0 is less than the minimum of 1 - 'n'"),
        ({"top_k": 0}, "0 is out of Range. Either set top_k to -1 or >=1."),
        ({"top_k": -2}, "-2 is out of Range. Either set top_k to -1 or >=1."),
    ],
)
def test_out_of_range_is_said_in_fastchats_words(read: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(codec.OutOfRange) as caught:
        read(**fields)
    assert told(caught.value) == (400, {"object": "error", "message": message, "code": 40302})
    assert caught.value.param == next(iter(fields))
    assert told(caught.value, codec.OPENAI)[1]["error"]["param"] == caught.value.param


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"model":"m"}',
        b'{"model":"m","messages":[]}',
        b'{"model":"m","messages":[{"role":"robot","content":"x"}]}',
        b'{"model":"m","messages":"x","temperature":"hot"}',
        b'{"model":"m","messages":"x","max_tokens":1.5}',
        b'{"model":"m","messages":"x","n":true}',
        b'{"model":"m","messages":"\\ud800","stop":5}',
        b"[" * 5000,
    ],
)
def test_what_cannot_be_read_is_a_validation_error(body: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        codec.read_chat(body)
    status, said = told(caught.value)
    assert (status, said["object"], said["code"]) == (400, "error", 40001)
    assert said["message"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_has_a_status_and_a_code(kind: Kind) -> None:
    error = ServingError(kind, "why", retry_after=3)
    status, said = told(error)
    if kind == "unauthenticated":
        assert (status, said) == (
            401,
            {
                "detail": {
                    "error": {
                        "message": "why",
                        "type": "invalid_request_error",
                        "param": None,
                        "code": "invalid_api_key",
                    }
                }
            },
        )
        return
    assert said == {"object": "error", "message": "why", "code": said["code"]}
    assert 40001 <= said["code"] <= 50006
    assert status in (400, 503, STATUS[kind])
    headers = dict(codec.FASTCHAT.failure(error).headers)
    assert headers[b"retry-after"] == b"3"
    assert headers[b"x-trunkcall-failed-by"] == error.failed_by.encode()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no_model", (400, 40301)),
        ("too_long", (400, 40303)),
        ("upstream_error", (400, 50001)),
        ("out_of_memory", (400, 50002)),
        ("no_capacity", (503, 50005)),
        ("unreachable", (503, 50006)),
        ("overloaded", (429, 42903)),
        ("upstream_timeout", (504, 50006)),
    ],
)
def test_codes(kind: Kind, expected: tuple[int, int]) -> None:
    status, said = told(ServingError(kind, "why"))
    assert (status, said["code"]) == expected


def test_only_allowed() -> None:
    assert codec.only_allowed(["b", "a"], "nope") == "Only a&&b allowed now, your model nope"
    assert codec.only_allowed([], "nope").startswith("No model is served now, your model nope")


def answer(make: type[codec.ChatAnswer | codec.CompletionAnswer], events: list[Event], stream: bool) -> bytes:
    emitter = make(REQUEST, stream, codec.FASTCHAT, ID, 1700)
    return b"".join([emitter.feed(event) for event in events]) + emitter.end()


EVENTS: list[Event] = [Start("theirs", "their-model", 5), Text(0, "a"), Text(0, "é"), Finish(0, "length"), Usage(2, 7)]


@pytest.mark.parametrize(("make", "prefix"), [(codec.ChatAnswer, "chatcmpl-"), (codec.CompletionAnswer, "cmpl-")])
def test_a_whole_answer_has_fastchats_id_and_usage(make: Any, prefix: str) -> None:
    body = answer(make, EVENTS, stream=False)
    found = json.loads(body)
    assert (found["id"], found["created"], found["model"]) == (prefix + ID, 1700, "tinyrand")
    assert list(found["usage"].items()) == [("prompt_tokens", 2), ("total_tokens", 9), ("completion_tokens", 7)]
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "length"
    assert (choice.get("text") or choice["message"]["content"]) == "aé"


def test_a_stream_has_the_full_set_in_each_chunk() -> None:
    frames = answer(codec.ChatAnswer, EVENTS, stream=True).decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    for chunk in chunks:
        assert (chunk["id"], chunk["object"], chunk["created"], chunk["model"]) == (
            f"chatcmpl-{ID}", "chat.completion.chunk", 1700, "tinyrand")  # fmt: skip
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert [delta.get("content") for delta in deltas[1:3]] == ["a", "é"]
    assert deltas[3] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "length"]


def test_an_error_in_a_stream_is_told_to_both_kinds_of_clients() -> None:
    frame, done, _ = codec.FASTCHAT.fault(ServingError("upstream_error", "it died")).decode().split("\n\n")
    said = json.loads(frame.removeprefix("data: "))
    assert (said["text"], said["error_code"], said["error"]["message"]) == ("it died", 50001, "it died")
    assert done == "data: [DONE]"
    emitter = codec.ChatAnswer(REQUEST, True, codec.OPENAI, ID, 1)
    assert emitter.fault(ServingError("bug", "x")).endswith(b"data: [DONE]\n\n")
    assert b"error_code" not in emitter.fault(ServingError("bug", "x"))


def test_a_fault_replaces_a_whole_answer() -> None:
    emitter = codec.ChatAnswer(REQUEST, False, codec.FASTCHAT, ID, 1)
    with pytest.raises(ServingError):
        emitter.feed(Fault(ServingError("upstream_error", "x")))
    assert json.loads(emitter.fault(ServingError("upstream_error", "x")))["code"] == 50001


def test_model_cards_are_as_captured() -> None:
    (card, other) = json.loads(codec.model_cards([("tinyrand", 7), ("a", 8)], lambda: "X"))["data"][::-1]
    assert other["id"] == "a"
    assert card == {
        "id": "tinyrand", "object": "model", "created": 7, "owned_by": "fastchat", "root": "tinyrand", "parent": None,
        "permission": [{
            "id": "modelperm-X", "object": "model_permission", "created": 7, "allow_create_engine": False,
            "allow_sampling": True, "allow_logprobs": True, "allow_search_indices": True, "allow_view": True,
            "allow_fine_tuning": False, "organization": "*", "group": None, "is_blocking": False,
        }],
    }  # fmt: skip
    assert json.loads(codec.model_card("tinyrand", 7, "X")) == card


def test_token_check_both_ways() -> None:
    (asked,) = codec.read_token_check(b'{"prompts":[{"model":"m","prompt":"hi","max_tokens":3}]}')
    assert (asked.model, asked.prompt, asked.max_tokens) == ("m", "hi", 3)
    assert codec.emit_checked([codec.Checked(True, 2, 4096)]) == (
        b'{"prompts":[{"fits":true,"tokenCount":2,"contextLength":4096}]}'
    )
    with pytest.raises(ServingError) as caught:
        codec.read_token_check(b'{"prompts":[{"model":"m","prompt":"hi"}]}')
    assert caught.value.param == "prompts[0].max_tokens"


@pytest.mark.parametrize(
    ("body", "engine", "model"),
    [
        (b'{"model":"m","input":"x"}', "", "m"),
        (b'{"model":"m","input":"x"}', "e", "m"),
        (b'{"input":"x"}', "e", "e"),
        (b'{"model":null,"input":["x"]}', "org/e", "org/e"),
    ],
)
def test_an_engines_route_names_the_model(body: bytes, engine: str, model: str) -> None:
    assert codec.read_embedding(body, engine).model == model


def test_embeddings_without_a_model_are_refused() -> None:
    with pytest.raises(ServingError) as caught:
        codec.read_embedding(b'{"input":"x"}')
    assert caught.value.param == "model"
