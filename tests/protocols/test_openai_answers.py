"""Answers: what a client reads fits the public API, streamed and whole, and is read back as the same events."""

from __future__ import annotations

import base64
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocols.openai_schema import check

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    Notice,
    PromptIds,
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
from trunkcall.core.ports import Emitter
from trunkcall.core.requests import Generate, Vectors
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.openai import (
    ChatEmitter,
    ChatStreamReader,
    CompletionEmitter,
    CompletionStreamReader,
    emit_embeddings,
    failure,
    model_entry,
    models_list,
    read_chat,
    read_chat_answer,
    read_completion,
    read_completion_answer,
    read_embedding,
    read_embedding_answer,
)

START = Start("77", "internal", 1760000000)


def chat(**fields: Any) -> Generate:
    return read_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}).encode())


def completion(**fields: Any) -> Generate:
    return read_completion(json.dumps({"model": "m", "prompt": "p", **fields}).encode())


def run(emitter: Emitter, *events: Event) -> bytes:
    return b"".join(emitter.feed(event) for event in events) + emitter.end()


def chunks(data: bytes, schema: str) -> list[dict[str, Any]]:
    """The chunks of a stream, each checked; the last payload must be [DONE]."""
    *payloads, done = SseReader().feed(data)
    assert done == b"[DONE]"
    found = [json.loads(payload) for payload in payloads]
    for value in found:
        check(schema, value)
    return found


CHUNK = "CreateChatCompletionStreamResponse"
TOKEN = TokenLogprob("é", -0.5, None, (TokenLogprob("é", -0.5), TokenLogprob("e", -1.0, (101,))))


def test_a_streamed_chat() -> None:
    emitter = ChatEmitter(chat(stream=True), stream=True)
    assert emitter.content_type == b"text/event-stream"
    assert emitter.feed(Queue(2)) == b": queue position 2\n\n"
    assert emitter.feed(Queue(0, "loading for 3 s")) == b": queue position 0, loading for 3 s\n\n"
    assert emitter.feed(START) == b""
    first = emitter.feed(Text(0, 'a"\n'))
    head = b'data: {"id":"chatcmpl-77","object":"chat.completion.chunk","created":1760000000,"model":"m","choices":[{"index":0,"delta":'
    tail = b',"logprobs":null,"finish_reason":null}]}\n\n'
    assert first == head + b'{"role":"assistant","content":""}' + tail + head + b'{"content":"a\\"\\n"}' + tail
    assert emitter.feed(Text(0, "é")) == head + '{"content":"é"}'.encode() + tail
    assert emitter.feed(Usage(1, 2)) == b""
    assert emitter.feed(Finish(0, "length")) == head + b'{},"logprobs":null,"finish_reason":"length"}]}\n\n'
    assert emitter.end() == b"data: [DONE]\n\n"
    assert emitter.end() == b""


CHAT_NOTHING = {"index": 0, "delta": {}, "logprobs": None}
TEXT_NOTHING = {"index": 0, "text": "", "logprobs": None}


@pytest.mark.parametrize(
    ("make", "request_", "nothing"),
    [(ChatEmitter, chat(stream=True), CHAT_NOTHING), (CompletionEmitter, completion(stream=True), TEXT_NOTHING)],
)
def test_notices_are_chunks_that_add_nothing(make: Any, request_: Generate, nothing: dict[str, Any]) -> None:
    early, middle, late = Notice("info", "loaded"), Notice("warning", 'slow\n"day'), Notice("warning", "cut")
    events = (early, START, Text(0, "a"), middle, Text(0, "b"), Finish(0, "length"), late)
    told = [{"level": event.level, "text": event.text} for event in (early, middle, late)]
    stream = run(make(request_, True), *events)
    found = [json.loads(payload) for payload in SseReader().feed(stream)[:-1]]
    noticed = [chunk for chunk in found if "notices" in chunk]
    assert [chunk.pop("notices") for chunk in noticed] == [[one] for one in told]
    assert [chunk["choices"] for chunk in noticed] == [
        [{**nothing, "finish_reason": reason}] for reason in (None, None, "length")
    ]
    assert len({tuple(chunk.keys()) for chunk in found}) == 1
    # What the tap learns about a stream from its first chunk holds for these too.
    assert stream.count(b',"logprobs":null,"finish_reason":null}]}\n\n') == len(found) - 2
    assert json.loads(run(make(request_, False), *events))["notices"] == told
    assert "notices" not in json.loads(run(make(request_, False), START, Finish(0, "stop")))


class _Noticing(BaseHTTPRequestHandler):
    """Answers each call with one word and one notice on either side of it."""

    def do_POST(self) -> None:
        stream = json.loads(self.rfile.read(int(self.headers["content-length"]))).get("stream", False)
        make = (
            ChatEmitter(chat(), stream)
            if self.path.endswith("/chat/completions")
            else CompletionEmitter(completion(), stream)
        )
        events = (START, Notice("info", "a"), Text(0, "yes"), Notice("warning", "b"), Finish(0, "stop"))
        data = run(make, *events)
        self.send_response(200)
        self.send_header("content-type", make.content_type.decode())
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_the_official_sdk_shows_notices() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Noticing) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/v1"
            with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as client:
                asked: list[Any] = [{"role": "user", "content": "x"}]
                chats = list(client.chat.completions.create(model="m", messages=asked, stream=True))
                whole_chat = client.chat.completions.create(model="m", messages=asked)
                completions = list(client.completions.create(model="m", prompt="x", stream=True))
                whole_completion = client.completions.create(model="m", prompt="x")
        finally:
            server.shutdown()
    told = [{"level": "info", "text": "a"}, {"level": "warning", "text": "b"}]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chats) == "yes"
    assert "".join(chunk.choices[0].text for chunk in completions) == "yes"
    for found in (chats, completions, [whole_chat], [whole_completion]):
        assert [notice for part in found for notice in (part.model_extra or {}).get("notices", [])] == told


def test_usage_comes_last_and_only_when_asked_for() -> None:
    events = (START, Text(0, "a"), Usage(3, 4, 2, 1), Finish(0, "stop"))
    asked = chat(stream=True, stream_options={"include_usage": True})
    found = chunks(run(ChatEmitter(asked, stream=True), *events), CHUNK)
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert not any("usage" in value for value in found[:-1])
    assert not any("usage" in value for value in chunks(run(ChatEmitter(chat(), stream=True), *events), CHUNK))


def test_the_id_keeps_a_prefix_that_it_has() -> None:
    found = chunks(run(ChatEmitter(chat(), stream=True), Start("chatcmpl-1", "x", 1, "fp"), Finish(0, "stop")), CHUNK)
    assert {value["id"] for value in found} == {"chatcmpl-1"}
    assert found[0]["system_fingerprint"] == "fp"


def test_every_choice_begins_with_its_role() -> None:
    events = (
        START,
        Text(1, "b"),
        Text(0, "a"),
        Text(1, "c"),
        Finish(0, "stop"),
        Finish(2, "cancelled"),
        Finish(1, "stop"),
    )
    found = [value["choices"][0] for value in chunks(run(ChatEmitter(chat(n=3), stream=True), *events), CHUNK)]
    roles = [choice["index"] for choice in found if "role" in choice["delta"]]
    assert roles == [1, 0, 2]
    for index in range(3):
        own = [choice for choice in found if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1]["finish_reason"] == "stop"


def test_streamed_logprobs_tools_thinking_and_ids() -> None:
    events = (
        START,
        Thinking(0, "hm"),
        Text(0, "é", (5,), (TOKEN,)),
        Refusal(0, "no"),
        ToolCall(0, 0, "", "c", "f"),
        ToolCall(0, 0, "{}"),
        PromptTokens((TOKEN,)),
        Finish(0, "tool_calls"),
    )
    found = [
        value["choices"][0] for value in chunks(run(ChatEmitter(chat(return_token_ids=True), True), *events), CHUNK)
    ]
    assert [choice["delta"] for choice in found[1:]] == [
        {"reasoning_content": "hm"},
        {"content": "é"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "", "name": "f"}, "id": "c", "type": "function"}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert found[2]["token_ids"] == [5]
    assert found[2]["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [
                    {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                    {"token": "e", "logprob": -1.0, "bytes": [101]},
                ],
            }
        ],
        "refusal": None,
    }
    quiet = chunks(run(ChatEmitter(chat(), True), START, Text(0, "a"), Text(0, "é", (5,)), Finish(0, "stop")), CHUNK)
    assert not any("token_ids" in value["choices"][0] for value in quiet)


def test_the_tokens_of_prompts() -> None:
    events = (START, PromptIds(0, (7, 8)), PromptIds(1, (9,)), *(Text(index, "a", (1,)) for index in range(4)))
    ends = tuple(Finish(index, "stop") for index in range(4))
    request = completion(prompt=["x", "y"], n=2, return_token_ids=True)
    whole = json.loads(run(CompletionEmitter(request, False), *events, *ends))["choices"]
    assert [(one["prompt_token_ids"], one["token_ids"]) for one in whole] == [([7, 8], [1])] * 2 + [([9], [1])] * 2
    body = run(CompletionEmitter(request, False), *events, *ends)
    back = [event for event in read_completion_answer(body, request) if isinstance(event, PromptIds)]
    assert back == [PromptIds(0, (7, 8)), PromptIds(1, (9,))]
    *payloads, _ = SseReader().feed(run(CompletionEmitter(request, True), *events, *ends))
    streamed = [one for payload in payloads for one in json.loads(payload)["choices"]]
    told = [(one["index"], one["prompt_token_ids"]) for one in streamed if "prompt_token_ids" in one]
    assert told == [(0, [7, 8]), (1, [7, 8]), (2, [9]), (3, [9])]
    answer = (START, PromptIds(0, (7, 8)), Text(0, "a", (1,)), Finish(0, "stop"))
    assert json.loads(run(ChatEmitter(chat(return_token_ids=True), False), *answer))["prompt_token_ids"] == [7, 8]
    found = chunks(run(ChatEmitter(chat(return_token_ids=True), True), *answer), CHUNK)
    assert [value.get("prompt_token_ids") for value in found] == [[7, 8], None, None]
    for stream in (True, False):
        unasked = (ChatEmitter(chat(), stream), CompletionEmitter(completion(), stream))
        assert all(b"token_ids" not in run(emitter, *answer) for emitter in unasked)


ERROR = ServingError("upstream_error", "it died")


@pytest.mark.parametrize(
    "make", [lambda stream: ChatEmitter(chat(), stream), lambda stream: CompletionEmitter(completion(), stream)]
)
def test_faults(make: Any) -> None:
    emitter = make(True)
    emitter.feed(START)
    told = emitter.feed(Fault(ERROR))
    error, done = SseReader().feed(told)
    assert json.loads(error) == json.loads(failure(ERROR).body)
    assert (done, emitter.end()) == (b"[DONE]", b"")
    whole = make(False)
    whole.feed(START)
    with pytest.raises(ServingError) as caught:
        whole.feed(Fault(ERROR))
    assert caught.value is ERROR
    assert whole.fault(ERROR) == failure(ERROR).body


def test_a_whole_chat() -> None:
    emitter = ChatEmitter(chat(n=2), stream=False)
    assert emitter.content_type == b"application/json"
    body = json.loads(
        run(
            emitter,
            Queue(1),
            START,
            Text(1, "b"),
            Thinking(1, "h"),
            Thinking(1, "m"),
            ToolCall(0, 1, "[]", "d", "g"),
            ToolCall(0, 0, "{", "c", "f"),
            ToolCall(0, 0, "}"),
            Text(1, "é", None, (TOKEN,)),
            Finish(0, "tool_calls"),
            Finish(1, "stop"),
            Usage(1, 2),
        )
    )
    check("CreateChatCompletionResponse", body)
    assert (body["id"], body["object"], body["created"], body["model"]) == (
        "chatcmpl-77",
        "chat.completion",
        1760000000,
        "m",
    )
    first, second = body["choices"]
    assert first["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "d", "type": "function", "function": {"name": "g", "arguments": "[]"}},
        ],
    }
    assert (first["logprobs"], first["finish_reason"]) == (None, "tool_calls")
    assert second["message"] == {"role": "assistant", "content": "bé", "refusal": None, "reasoning_content": "hm"}
    assert second["logprobs"]["content"][0]["token"] == "é"
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_whole_chat_that_said_nothing_or_refused() -> None:
    empty = json.loads(run(ChatEmitter(chat(), False), START, Finish(0, "stop")))
    assert empty["choices"][0]["message"]["content"] == ""
    assert "usage" not in empty
    refused = json.loads(run(ChatEmitter(chat(), False), START, Refusal(0, "n"), Refusal(0, "o"), Finish(0, "stop")))
    assert refused["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": "no"}


PROMPT = (TokenLogprob("p", -9999.0), TokenLogprob("q", -2.0, None, (TokenLogprob("q", -2.0),)))
AFTER = Text(0, "xy", None, (TokenLogprob("x", -1.0), TokenLogprob("y", -3.0)))


def test_completions_with_echo_and_logprobs() -> None:
    request = completion(prompt="pq", echo=True, logprobs=1, stream=True)
    events = (START, PromptTokens(PROMPT), AFTER, Text(0, "z", None, (TokenLogprob("z", -4.0),)), Finish(0, "length"))
    whole = json.loads(run(CompletionEmitter(request, False), *events))
    logprobs = {
        "tokens": ["p", "q", "x", "y", "z"],
        "token_logprobs": [None, -2.0, -1.0, -3.0, -4.0],
        "top_logprobs": [None, {"q": -2.0}, {}, {}, {}],
        "text_offset": [0, 1, 2, 3, 4],
    }
    assert whole["choices"] == [{"index": 0, "text": "pqxyz", "logprobs": logprobs, "finish_reason": "length"}]
    assert (whole["id"], whole["object"]) == ("cmpl-77", "text_completion")
    streamed = [
        json.loads(data)["choices"][0] for data in SseReader().feed(run(CompletionEmitter(request, True), *events))[:-1]
    ]
    assert [choice["text"] for choice in streamed] == ["pq", "xy", "z", ""]
    joined = {key: [item for choice in streamed[:-1] for item in choice["logprobs"][key]] for key in logprobs}
    assert joined == logprobs
    assert streamed[-1]["finish_reason"] == "length"


def test_completions_of_a_batch_stand_in_index_order() -> None:
    request = completion(prompt=["a", "b"], n=2, echo=True)
    events = [
        START,
        *(Text(index, str(index)) for index in (3, 0, 2, 1)),
        *(Finish(index, "stop") for index in range(4)),
    ]
    body = json.loads(run(CompletionEmitter(request, False), *events))
    check("CreateCompletionResponse", body)
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [
        (0, "a0"),
        (1, "a1"),
        (2, "b2"),
        (3, "b3"),
    ]
    said = dict.fromkeys(range(4), "")
    # The schema has no word for chunks of completions: their finish_reason is null but in the last.
    for payload in SseReader().feed(run(CompletionEmitter(request, True), *events))[:-1]:
        choice = json.loads(payload)["choices"][0]
        said[choice["index"]] += choice["text"]
    assert list(said.values()) == ["a0", "a1", "b2", "b3"]


def test_a_streamed_completion() -> None:
    emitter = CompletionEmitter(completion(stream=True, stream_options={"include_usage": True}), True)
    events = (START, Thinking(0, "hm"), Text(0, "a"), Text(0, "b"), Finish(0, "tool_calls"), Usage(1, 2))
    *pieces, usage, done = SseReader().feed(run(emitter, *events))
    assert done == b"[DONE]"
    assert [json.loads(piece)["choices"] for piece in pieces] == [
        [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "b", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
    ]
    assert json.loads(usage)["usage"]["total_tokens"] == 3
    assert (json.loads(usage)["choices"], json.loads(usage)["object"]) == ([], "text_completion")


def test_token_prompts_are_echoed_when_the_engine_told_their_text() -> None:
    request = completion(prompt=[1, 2], echo=True)
    body = json.loads(run(CompletionEmitter(request, False), START, PromptTokens(PROMPT), AFTER, Finish(0, "stop")))
    assert body["choices"][0]["text"] == "pqxy"
    body = json.loads(run(CompletionEmitter(request, False), START, AFTER, Finish(0, "stop")))
    assert body["choices"][0]["text"] == "xy"


# --- round trips ----------------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=6)
notices = st.builds(Notice, st.sampled_from(["info", "warning"]), texts)
pieces = st.one_of(
    st.builds(Text, st.integers(0, 1), texts),
    st.builds(Thinking, st.integers(0, 1), texts),
    st.builds(Refusal, st.integers(0, 1), texts),
    st.builds(
        lambda index, text: Text(index, text, (3, 4), (TokenLogprob(text, -1.5, (7,)),)), st.integers(0, 1), texts
    ),
    st.builds(lambda index, text: ToolCall(index, 0, text), st.integers(0, 1), texts),
    notices,
)
usages = st.none() | st.builds(
    Usage, st.integers(0, 99), st.integers(0, 99), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)
)


def spoken(events: list[Event]) -> dict[Any, Any]:
    """What the events say all in all."""
    said: dict[Any, Any] = {}
    for event in events:
        match event:
            case Text() | Thinking() | Refusal():
                key = (type(event).__name__, event.index)
                said[key] = said.get(key, "") + event.text
                if isinstance(event, Text):
                    said[("ids", event.index)] = said.get(("ids", event.index), ()) + (event.token_ids or ())
                    said[("logprobs", event.index)] = said.get(("logprobs", event.index), ()) + (event.logprobs or ())
            case ToolCall():
                key = ("tool", event.index, event.slot)
                id, name, arguments = said.get(key, (event.id, event.name, ""))
                said[key] = (id, name, arguments + event.arguments)
            case Finish():
                said[("finish", event.index)] = event.reason
            case Notice():
                said["notices"] = (*said.get("notices", ()), event)
            case _:
                said[type(event).__name__] = event
    return {key: value for key, value in said.items() if value not in ("", ())}


@given(st.lists(pieces, max_size=8), usages)
def test_what_a_chat_says_is_read_back(given: list[Any], usage: Usage | None) -> None:
    calls = {event.index for event in given if isinstance(event, ToolCall)}
    events: list[Event] = [
        Start("chatcmpl-1", "m", 5, "fp"),
        PromptIds(0, (1, 2)),
        *(ToolCall(index, 0, "", f"c{index}", "f") for index in calls),
    ]
    events += [*given, Finish(0, "stop"), Finish(1, "length"), *([usage] if usage is not None else [])]
    request = chat(return_token_ids=True, stream=True, stream_options={"include_usage": True})
    streamed = run(ChatEmitter(request, True), *events)
    assert chunks(streamed, CHUNK)
    reader = ChatStreamReader()
    back = [event for payload in SseReader().feed(streamed) for event in reader.feed(payload)] + reader.end()
    assert spoken(back) == spoken(events)
    assert isinstance(back[0], Start)
    body = run(ChatEmitter(request, False), *events)
    check("CreateChatCompletionResponse", json.loads(body))
    assert spoken(read_chat_answer(body)) == spoken(events)


@given(st.lists(st.builds(Text, st.integers(0, 1), texts) | notices, max_size=6), usages, st.booleans())
def test_what_a_completion_says_is_read_back(given: list[Any], usage: Usage | None, echo: bool) -> None:
    events: list[Event] = [Start("cmpl-1", "m", 5), PromptIds(0, (1,)), *given, Finish(0, "stop"), Finish(1, "length")]
    events += [usage] if usage is not None else []
    asked = {"stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True}
    request = completion(prompt="say", n=2, echo=echo, **asked)
    reader = CompletionStreamReader(request)
    streamed = run(CompletionEmitter(request, True), *events)
    back = [event for payload in SseReader().feed(streamed) for event in reader.feed(payload)] + reader.end()
    assert spoken(back) == spoken(events)
    body = run(CompletionEmitter(request, False), *events)
    check("CreateCompletionResponse", json.loads(body))
    assert spoken(read_completion_answer(body, request)) == spoken(events)


# --- embeddings and models ------------------------------------------------------------------------


def test_embeddings() -> None:
    vectors = Vectors(((0.5, -1.25), (3.0, 0.0)), 9)
    plain = emit_embeddings(vectors, read_embedding(b'{"model":"m","input":["a","b"]}'), "m")
    check("CreateEmbeddingResponse", json.loads(plain))
    assert read_embedding_answer(plain) == vectors
    packed = emit_embeddings(vectors, read_embedding(b'{"model":"m","input":"a","encoding_format":"base64"}'), "m")
    data = json.loads(packed)["data"]
    assert [entry["index"] for entry in data] == [0, 1]
    assert struct.unpack("<2f", base64.b64decode(data[0]["embedding"])) == (0.5, -1.25)
    assert read_embedding_answer(packed) == vectors


def test_models() -> None:
    listed = json.loads(models_list([("a", 1), ("b", 2)]))
    check("ListModelsResponse", listed)
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    check("Model", json.loads(model_entry("a", 1)))
    assert json.loads(model_entry("a", 1)) == listed["data"][0]
