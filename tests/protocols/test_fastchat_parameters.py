"""A worker's parameters written: prompts by its template, limits, what is dropped or lost, and read again."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    AudioPart,
    Format,
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    Reporting,
    Sampling,
    Shape,
    Stops,
    Templating,
    TextPart,
    TextPrompt,
    ThinkingPart,
    TokenPrompt,
    Tool,
    ToolCallPart,
)
from trunkcall.protocols.fastchat import NEUTRAL, emit_generate, named, read_generate, render, templated


def read(raw: bool = False, **fields: Any) -> Generate:
    return read_generate(json.dumps({"prompt": "p", **fields}).encode(), "m", raw)


def emit(request: Generate, template: Any = NEUTRAL, room: int | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    body, dropped = emit_generate(request, "other", template, room)
    return json.loads(body), dropped


def asked(*messages: Message, **fields: Any) -> Generate:
    return Generate(model="m", prompt=MessagesPrompt(messages), **fields)


USER = Message("user", (TextPart("hi"),))


def test_what_only_this_protocol_knows_is_kept_and_sent_on() -> None:
    request = read(use_beam_search=True, odd={"a": 1}, model="theirs")
    assert {name: bytes(raw) for name, raw in request.extra["fastchat"].items()} == {
        "use_beam_search": b"true",
        "odd": b'{"a": 1}',
    }
    fields, dropped = emit(request)
    assert (fields["model"], fields["use_beam_search"], fields["odd"], dropped) == ("other", True, {"a": 1}, ())


def test_emits_a_conversation_by_the_workers_template() -> None:
    request = asked(
        Message("system", (TextPart("s"),)),
        Message("user", (ImagePart("http://x/1.png"), TextPart("hi"))),
        sampling=Sampling(max_tokens=None, temperature=0.5, top_k=3, n=2, frequency_penalty=None),
        stops=Stops(strings=("x",), token_ids=(5,)),
        reporting=Reporting(stream=True, echo=True),
    )
    fields, dropped = emit(request, named("zero_shot"), 77)
    assert fields == {
        "model": "other",
        "prompt": "s\n### Human: <image>\nhi\n### Assistant:",
        "echo": False,
        "images": ["http://x/1.png"],
        "stop": ["x", "###"],
        "stop_token_ids": [5],
        "temperature": 0.5,
        "top_k": 3,
        "max_new_tokens": 77,
    }
    assert dropped == ()


@pytest.mark.parametrize(
    ("asked_for", "room", "sent"),
    [(UNSET, None, None), (UNSET, 9, 9), (None, 9, 9), (5, 9, 5), (50, 9, 9), (5, None, 5)],
)
def test_asks_for_no_more_than_there_is_room(asked_for: Any, room: int | None, sent: int | None) -> None:
    fields, _ = emit(asked(USER, sampling=Sampling(max_tokens=asked_for)), room=room)
    assert fields.get("max_new_tokens") == sent


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"shape": Shape(tools=(Tool("f"),))}, ("tools",)),
        ({"shape": Shape(format=Format("json"))}, ("response_format",)),
        ({"shape": Shape(format=Format("text"))}, ()),
        ({"sampling": Sampling(seed=1, min_p=0.1, n=3, best_of=4)}, ("min_p", "seed")),
        ({"sampling": Sampling(seed=None)}, ()),
        ({"stops": Stops(include=True)}, ("include_stop_str_in_output",)),
        ({"user": "me"}, ("user",)),
        ({"templating": Templating(chat_template="x")}, ("chat_template",)),
        ({"extra": {"openai": {"odd": b"1"}}}, ("odd",)),
    ],
)
def test_names_what_is_dropped(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    assert set(emit(asked(USER, **fields))[1]) == set(names)


def test_names_what_messages_lose() -> None:
    messages = (
        Message("user", (AudioPart("", "wav"), TextPart("hi")), name="me"),
        Message("assistant", (ThinkingPart("hm"), ToolCallPart("1", "f", "{}"))),
        Message("tool", (TextPart("42"),), tool_call_id="1"),
        Message("system", (TextPart("s"),)),
    )
    fields, dropped = emit(asked(*messages))
    assert dropped == (
        "messages[0].name",
        "messages[0].content[0]",
        "messages[1].reasoning_content",
        "messages[1].tool_calls",
        "messages[2].role",
        "messages[3].role",
    )
    assert "42" in fields["prompt"]
    system = asked(Message("system", (TextPart("s"),)), USER)
    assert emit(system, named("gemma"))[1] == ("messages[0].role",)
    assert emit(system, named("chatml"))[1] == ()


def test_an_override_and_a_continuation() -> None:
    request = asked(
        Message("system", (TextPart("s"),)),
        USER,
        Message("assistant", (TextPart("so"),)),
        templating=Templating(system_override="o", continue_final_message=True),
    )
    fields, dropped = emit(request, named("raw"))
    assert (fields["prompt"], dropped) == ("ohiso", ())


def test_a_conversation_becomes_the_text_of_a_template() -> None:
    template = named("zero_shot")
    conversation = asked(Message("user", (TextPart("Hi"),)))
    made = templated(conversation, template)
    assert made.prompt == TextPrompt((render(template, (Message("user", (TextPart("Hi"),)),)),))
    assert made.stops.strings == ("###",)
    for kept in (
        made,
        asked(Message("user", (ImagePart("data:image/png;base64,AA=="),))),
        msgspec.structs.replace(conversation, shape=Shape(tools=(Tool("f"),))),
    ):
        assert templated(kept, template) is kept


def test_asks_for_an_echo_only_for_its_probabilities() -> None:
    text = Generate(model="m", prompt=TextPrompt(("p",)), reporting=Reporting(echo=True, logprobs=0))
    assert emit(text)[0] == {"model": "other", "prompt": "p", "echo": True, "logprobs": 1}
    plain = Generate(model="m", prompt=TextPrompt(("p",)), reporting=Reporting(echo=True))
    assert emit(plain, None) == ({"model": "other", "prompt": "p", "echo": False}, ())


@pytest.mark.parametrize("prompt", [TextPrompt(("a", "b"), True), TokenPrompt(((1,),))])
def test_refuses_prompts_that_it_cannot_say(prompt: Any) -> None:
    with pytest.raises(ServingError) as caught:
        emit(Generate(model="m", prompt=prompt))
    assert (caught.value.kind, caught.value.param) == ("unsupported", "prompt")


@given(
    st.text().filter(lambda text: isinstance(read(prompt=text).prompt, TextPrompt)),
    st.integers(1, 9999),
    st.floats(1e-4, 2),
    st.lists(st.text(min_size=1), max_size=2),
)
def test_what_is_emitted_is_read_again(text: str, limit: int, temperature: float, stops: list[str]) -> None:
    request = Generate(
        model="m",
        prompt=TextPrompt((text,)),
        sampling=Sampling(max_tokens=limit, temperature=temperature),
        stops=Stops(strings=tuple(stops) or UNSET),
        reporting=Reporting(stream=True, usage_in_stream=True),
    )
    body, dropped = emit_generate(request, "m", None, None)
    assert (read_generate(body, "m"), dropped) == (request, ())
