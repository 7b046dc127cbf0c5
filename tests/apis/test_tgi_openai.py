"""OpenAI's routes as TGI shapes them: every field null, its own grammars, reasons and errors; and requests in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apis.tgi_listeners import Speaker, tgi
from msgspec import UNSET

from trunkcall.core.requests import Format, TextPrompt

pytestmark = pytest.mark.anyio

TURN = {"role": "user", "content": "a b"}
CHAT: dict[str, Any] = {"model": "tgi", "messages": [TURN]}
NULLS = dict.fromkeys(
    "repetition_penalty frequency_penalty logit_bias logprobs top_logprobs max_tokens n presence_penalty stop stream seed"
    " temperature top_p tools tool_choice response_format stream_options max_completion_tokens".split()
)
SCHEMA = {"properties": {"a": {"type": "integer"}}}


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    frames = body.split(b"\n\n")[:-1]
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames if frame != b"data: [DONE]"]


async def test_a_chat_as_tgi_answers_it() -> None:
    async with tgi(Speaker("x", " y"), model_id="org/name") as running:
        message = {**TURN, "name": None, "tool_calls": None, "tool_call_id": None}
        told = await running.told("/v1/chat/completions", {**CHAT, **NULLS, "messages": [message]})
        assert told == {
            "object": "chat.completion",
            "id": "",
            "created": 7,
            "model": "org/name",
            "system_fingerprint": "3.3.7-native",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "x y"},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }


@pytest.mark.parametrize(("compat", "done"), [("1", False), ("2", True), ("3", True)])
async def test_a_streamed_chat(compat: str, done: bool) -> None:
    async with tgi(Speaker("x", " y"), compat=compat) as running:
        asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 9}
        reply = await running.post("/v1/chat/completions", asked)
        assert reply.body.endswith(b"data: [DONE]\n\n") is done
        *pieces, last = chunks_of(reply.body)
        deltas = [piece["choices"][0]["delta"] for piece in pieces]
        assert deltas == [{"role": "assistant", "content": text, "tool_calls": None} for text in ("x", " y", "")]
        assert {piece["id"] for piece in pieces} == {""}
        assert [piece["choices"][0]["finish_reason"] for piece in pieces] == [None, None, "stop"]
        assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)


async def test_completions() -> None:
    async with tgi(Speaker("x", " y")) as running:
        one = await running.told("/v1/completions", {**NULLS, "prompt": "a", "max_tokens": 1, "suffix": None})
        assert (one["object"], one["id"], one["choices"]) == (
            "text_completion", "", [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "length"}],
        )  # fmt: skip
        several = await running.told("/v1/completions", {"prompt": ["a", "b", "c", "d"]})
        assert [choice["text"] for choice in several["choices"]] == ["x y"] * 4
        reply = await running.post("/v1/completions", {"prompt": ["a", "b"], "stream": True})
        assert reply.body.endswith(b"data: [DONE]\n\n")
        told = [chunk["choices"][0] for chunk in chunks_of(reply.body)]
        assert [(choice["index"], choice["text"]) for choice in told] == [
            (0, "x"), (0, " y"), (0, ""), (1, "x"), (1, " y"), (1, ""),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "asked", "error_type", "text"),
    [
        ("completions", {"prompt": "a", "suffix": "b"}, "suffix not supported", "Suffix is not supported"),
        ("completions", {"prompt": list("abcde")}, "batch size exceeded", "batch size of 4"),
        ("completions", {"prompt": "a b", "max_tokens": 63}, "validation", "must be <= 64. Given: 2 `inputs` tokens and 63"),
        ("completions", {"prompt": ["a", "a " * 70]}, "validation", "less than 63 tokens. Given: 71"),
        ("completions", {}, "validation", "prompt: this field is required"),
        ("chat/completions", {}, "validation", "messages: this field is required"),
        ("chat/completions", {"messages": []}, "validation", "messages"),
        ("chat/completions", {**CHAT, "max_tokens": 63}, "validation", "Given: 2 `inputs` tokens and 63"),
        ("chat/completions", {**CHAT, "stop": list("abcde")}, "validation", "`stop` supports up to 4 stop sequences. Given: 5"),
        ("chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 6}, "validation", "`top_n_tokens` must be >= 0"),
        ("chat/completions", {**CHAT, "tools": [], "response_format": {"type": "json", "value": SCHEMA}}, "tool_error", "Tool error: "),
        ("chat/completions", {**CHAT, "response_format": {"type": "json", "value": {}}}, "validation", "grammar is not valid: "),
        ("chat/completions", {**CHAT, "response_format": {"type": "xml"}}, "validation", "response_format.type: 'xml'"),
        ("chat/completions", {**CHAT, "temperature": "hot"}, "validation", "temperature: "),
    ],
)  # fmt: skip
async def test_what_is_refused(path: str, asked: dict[str, Any], error_type: str, text: str) -> None:
    async with tgi(Speaker("x")) as running:
        for stream in (False, True):
            reply = await running.post(f"/v1/{path}", {**asked, "stream": stream})
            told = json.loads(reply.body)
            assert (reply.status, told["error_type"]) == (422, error_type)
            assert text in told["error"]


@pytest.mark.parametrize(
    ("response_format", "shape"),
    [
        ({"type": "json", "value": SCHEMA}, Format("schema", schema=SCHEMA)),
        ({"type": "json_object", "value": SCHEMA}, Format("schema", schema=SCHEMA)),
        ({"type": "json_object"}, Format("json")),
        ({"type": "regex", "value": "a+"}, Format("regex", source="a+")),
        ({"type": "json_schema", "value": {"name": "n", "schema": SCHEMA}}, Format("schema", schema=SCHEMA, name="n")),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}, Format("schema", schema=SCHEMA, name="n")),
        ({"type": "text"}, UNSET),
    ],
)  # fmt: skip
async def test_shapes_of_answers_in_both_forms(response_format: dict[str, Any], shape: Any) -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        await running.told("/v1/chat/completions", {**CHAT, "response_format": response_format})
        assert speaker.asked[-1].shape.format == shape
    async with tgi(Speaker("x", dropped=("response_format",))) as running:
        reply = await running.post("/v1/chat/completions", {**CHAT, "response_format": response_format})
        assert reply.status == (200 if shape is UNSET else 422)


@pytest.mark.parametrize(
    ("asked", "temperature", "max_tokens"),
    [({}, 1.0, 62), ({"temperature": 0}, 0, 62), ({"temperature": 0.5, "max_tokens": 5}, 0.5, 5), ({"max_completion_tokens": 6}, 1.0, 6)],
)  # fmt: skip
async def test_defaults(asked: dict[str, Any], temperature: float, max_tokens: int) -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        await running.told("/v1/chat/completions", {**CHAT, **asked})
        sampling = speaker.asked[-1].sampling
        assert (sampling.temperature, sampling.max_tokens) == (temperature, max_tokens)
        assert speaker.asked[-1].model == "m0"


@pytest.mark.parametrize(("choice", "name"), [("f", "f"), ({"function": {"name": "f"}}, "f")])
async def test_a_tool_by_its_name_alone(choice: Any, name: str) -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        await running.told("/v1/chat/completions", {**CHAT, "tools": tools, "tool_choice": choice})
        chosen = speaker.asked[-1].shape.tool_choice
        assert chosen is not UNSET
        assert (chosen.mode, chosen.name) == ("named", name)


async def test_a_stop_sequence_stays_and_leaks_into_the_reason() -> None:
    speaker = Speaker("x", " y")
    async with tgi(speaker, Speaker("x", matched=" y"), model="m0") as running:
        told = await running.told("/v1/chat/completions", {**CHAT, "stop": [" y"]})
        assert told["choices"][0]["finish_reason"] == "stop_sequence"
        assert speaker.asked[-1].stops.include
    async with tgi(Speaker("x", matched=" y")) as running:
        # Of an engine that cuts it off.
        (choice,) = (await running.told("/v1/chat/completions", {**CHAT, "stop": " y"}))["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("x y", "stop_sequence")
        reply = await running.post("/v1/completions", {"prompt": "a", "stop": " y", "stream": True})
        assert chunks_of(reply.body)[-1]["choices"][0]["text"] == " y"


async def test_an_answer_without_an_end() -> None:
    async with tgi(Speaker("x", ends=False)) as running:
        reply = await running.post("/v1/chat/completions", CHAT)
        assert (reply.status, json.loads(reply.body)["error_type"]) == (500, "incomplete_generation")
        reply = await running.post("/v1/chat/completions", {**CHAT, "stream": True})
        assert chunks_of(reply.body)[-1]["error"] == {
            "message": "Incomplete generation stream", "http_status_code": 500,
        }  # fmt: skip
        assert b"[DONE]" not in reply.body


async def test_invocations_take_every_shape() -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        assert await running.told("/invocations", {"inputs": "a"}) == [{"generated_text": "ax"}]
        assert (await running.told("/invocations", CHAT))["object"] == "chat.completion"
        assert (await running.told("/invocations", {"prompt": "a"}))["object"] == "text_completion"
        assert (await running.post("/invocations", {"inputs": "a", "stream": True})).body.startswith(b"data:{")
        assert (await running.post("/invocations", b"{")).status == 422


async def test_vertex_asks_all_at_once() -> None:
    speaker = Speaker("x", " y")
    async with tgi(speaker) as running:
        instances = [{"inputs": "a", "stream": True}, CHAT, {"inputs": "b", "parameters": {"max_new_tokens": 1}}]
        assert await running.told("/vertex", {"instances": instances}) == {"predictions": ["x y", "x y", "x"]}
        assert len(running.journal.closed) == 3
        assert len({meter.id for meter in running.journal.closed}) == 3
        reply = await running.post("/vertex", {"instances": [*instances, {"inputs": ""}]})
        assert (reply.status, json.loads(reply.body)["error"]) == (
            422,
            "Input validation error: `inputs` cannot be empty",
        )
        assert (await running.post("/vertex", {"instances": [{}] * 5})).status == 422
        assert await running.told("/vertex", {"instances": []}) == {"predictions": []}
        assert speaker.running == 0


async def test_tokens() -> None:
    async with tgi(Speaker("x")) as running:
        assert await running.told("/tokenize", {"inputs": "a ü"}) == [
            {"id": 0, "text": "a", "start": 0, "stop": 1}, {"id": 1, "text": " ü", "start": 1, "stop": 4},
        ]  # fmt: skip
        told = await running.told("/chat_tokenize", CHAT)
        assert told["templated_text"] == "a b"
        assert [token["text"] for token in told["tokenize_response"]] == ["a", " b"]
    async with tgi(Speaker("x", context=None)) as running:
        assert (await running.post("/tokenize", {"inputs": "a"})).status == 422


async def test_several_prompts_are_one_request() -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        await running.told("/v1/completions", {"prompt": ["a", "b"]})
        assert speaker.asked[0].prompt == TextPrompt(("a", "b"), batched=True)
