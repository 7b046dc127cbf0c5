"""Token ids, pieces of characters, probabilities and marks through the protocols that can carry them, and out of others."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.events import UNLIKELY, Event, Finish, PromptIds, PromptTokens, Start, Text, TokenLogprob
from trunkcall.core.requests import Generate, Reporting, TextPrompt, TokenPrompt
from trunkcall.protocols.fastchat_emitter import FrameEmitter
from trunkcall.protocols.frames import DONE, SseReader
from trunkcall.protocols.openai import (
    ChatEmitter,
    ChatStreamReader,
    CompletionEmitter,
    CompletionStreamReader,
    emit_chat,
    emit_completion,
    read_chat,
    read_chat_answer,
    read_completion,
    read_completion_answer,
    requested_fields,
)

START = Start("x", "m", 1)
END = TokenLogprob("</s>", -0.5, tuple(b"</s>"), id=2, special=True)
ENDING = (Text(0, "", (2,), (END,)), Finish(0, "stop", "ab"))


def token(raw: bytes, id: int, logprob: float = -1.0, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(raw.decode(errors="replace"), logprob, tuple(raw), top, id=id)


@st.composite
def answers(draw: st.DrawFn) -> list[Text]:
    """A text whose tokens end anywhere in its UTF-8; each goes out with the character that it completes."""
    made: list[Text] = []
    for letter in draw(st.text(min_size=1, max_size=10)):
        raw = letter.encode()
        edges = sorted({0, len(raw), *draw(st.lists(st.integers(0, len(raw)), max_size=3))})
        pieces = [raw[a:b] for a, b in pairwise(edges)]
        tokens = tuple(
            token(piece, draw(st.integers(0, 99)), draw(st.floats(-9, 0)), (token(b"\xe6", 7, -2.0), END))
            for piece in pieces
        )
        made.append(Text(0, letter, tuple(one.id or 0 for one in tokens), tokens))
    return made


def carried(events: list[Event], *, chat: bool, stream: bool) -> list[Event]:
    """Emitted, and read again."""
    body = {"model": "m", "stream": stream, "return_token_ids": True}
    if chat:
        request = read_chat(
            msgspec.json.encode({**body, "messages": [{"role": "user", "content": "a"}], "logprobs": True})
        )
        emitter, reader = ChatEmitter(request, stream), ChatStreamReader()
    else:
        request = read_completion(msgspec.json.encode({**body, "prompt": "a", "logprobs": 2}))
        emitter, reader = CompletionEmitter(request, stream), CompletionStreamReader(request)
    data = b"".join(emitter.feed(event) for event in events) + emitter.end()
    if not stream:
        return read_chat_answer(data) if chat else read_completion_answer(data, request)
    return [event for payload in SseReader().feed(data) for event in reader.feed(payload)] + reader.end()


@given(answers(), st.booleans(), st.booleans())
def test_every_token_survives(texts: list[Text], chat: bool, stream: bool) -> None:
    back = [event for event in carried([START, *texts, *ENDING], chat=chat, stream=stream) if isinstance(event, Text)]
    tokens = [one for event in (*texts, ENDING[0]) for one in event.logprobs or ()]
    assert [one for event in back for one in event.logprobs or ()] == tokens
    assert [id for event in back for id in event.token_ids or ()] == [one.id for one in tokens]
    assert "".join(event.text for event in back) == "".join(event.text for event in texts)


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_the_stop_string_survives(chat: bool, stream: bool) -> None:
    assert carried([START, Text(0, "a", (1,)), *ENDING], chat=chat, stream=stream)[-1] == Finish(0, "stop", "ab")


def test_offsets_count_characters_and_not_their_pieces() -> None:
    texts = [Text(0, "é", (1, 2), (token(b"\xc3", 1), token(b"\xa9", 2))), Text(0, "b", (3,), (token(b"b", 3),))]
    request = read_completion(b'{"model":"m","prompt":"a","logprobs":0,"return_token_ids":true}')
    emitter = CompletionEmitter(request, False)
    for event in (START, *texts, *ENDING):
        emitter.feed(event)
    told = json.loads(emitter.end())["choices"][0]["logprobs"]
    assert told["text_offset"] == [0, 0, 1, 2]
    assert [one.get("special") for one in told["content"]] == [None, None, None, True]


@pytest.mark.parametrize("stream", [True, False])
def test_who_did_not_ask_sees_no_marks(stream: bool) -> None:
    events: list[Event] = [START, Text(0, "a", (1,), (token(b"a", 1),)), *ENDING]
    for request, emitter in (
        (read_chat(b'{"model":"m","messages":[{"role":"user","content":"a"}],"logprobs":true}'), ChatEmitter),
        (read_completion(b'{"model":"m","prompt":"a","logprobs":0}'), CompletionEmitter),
    ):
        made = emitter(request, stream)
        data = b"".join(made.feed(event) for event in events) + made.end()
        assert b"</s>" not in data and b'"id":1' not in data and b"stop_reason" not in data and b"-1.0" in data
    frames = FrameEmitter(Generate(model="m", prompt=TextPrompt(("a",)), reporting=Reporting(logprobs=0)), stream)
    data = b"".join(frames.feed(event) for event in events) + frames.end()
    assert b"</s>" not in data and b'"tokens":["a"]' in data


def test_vllms_ids_beside_its_probabilities() -> None:
    reader = CompletionStreamReader(read_completion(b'{"model":"m","prompt":"a"}'))
    logprobs = {"tokens": ["x", "y"], "token_logprobs": [-1, None], "top_logprobs": [{"x": -1}, None]}
    choice: dict[str, Any] = {"index": 0, "text": "xy", "logprobs": logprobs, "token_ids": [5, 6]}
    _, text = reader.feed(json.dumps({"id": "i", "choices": [choice]}).encode())
    assert isinstance(text, Text) and text.logprobs is not None
    assert [(one.id, one.logprob) for one in text.logprobs] == [(5, -1.0), (6, UNLIKELY)]


@pytest.mark.parametrize("ids", [[1, 20, 21], None])
def test_the_probabilities_of_a_prompt(ids: list[int] | None) -> None:
    """They are asked for as an echo, which the caller never sees; a mark in front of the text is no part of it."""
    prompt = TextPrompt(("Hi you",))
    request = Generate(model="m", prompt=prompt, reporting=Reporting(prompt_logprobs=True))
    body, dropped = emit_completion(request, "m")
    assert (json.loads(body)["echo"], json.loads(body)["logprobs"], dropped) == (True, 0, ())
    assert "prompt_logprobs" in requested_fields(request) and "echo" not in requested_fields(request)
    reader = CompletionStreamReader(request)
    content = [
        {"token": "<s>", "logprob": None, "bytes": list(b"<s>"), "special": True},
        {"token": "Hi", "logprob": -1.0, "bytes": list(b"Hi")},
        {"token": " you", "logprob": -2.0, "bytes": list(b" you")},
        {"token": "!", "logprob": -3.0, "bytes": list(b"!")},
    ]
    choice: dict[str, Any] = {"index": 0, "text": "Hi you!", "logprobs": {"content": content}, "finish_reason": "stop"}
    if ids is not None:
        choice["prompt_token_ids"] = ids
    told = reader.feed(json.dumps({"id": "i", "choices": [choice]}).encode()) + reader.feed(DONE)
    (before,) = [event for event in told if isinstance(event, PromptTokens)]
    assert [one.id for one in before.tokens] == (ids or [None] * 3)
    assert [one.special for one in before.tokens] == [True, False, False]
    assert before.tokens[0].logprob == UNLIKELY
    (after,) = [event for event in told if isinstance(event, Text)]
    assert after.text == "!" and after.logprobs is not None and len(after.logprobs) == 1
    assert ([event for event in told if isinstance(event, PromptIds)] == []) == (ids is None)


def test_where_the_probabilities_of_a_prompt_cannot_be_asked_for() -> None:
    wanted = Reporting(prompt_logprobs=True)
    chat = msgspec.structs.replace(
        read_chat(b'{"model":"m","messages":[{"role":"user","content":"a"}]}'), reporting=wanted
    )
    assert emit_chat(chat, "m")[1] == ("prompt_logprobs",)
    ids = Generate(model="m", prompt=TokenPrompt(((1, 2),)), reporting=wanted)
    assert emit_completion(ids, "m")[1] == ("prompt_logprobs",)
