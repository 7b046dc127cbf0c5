"""Emitting calls: what a request asks reaches a form, or is named as dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    Generate,
    Message,
    MessagesPrompt,
    Sampling,
    Secret,
    Stops,
    Templating,
    TextPart,
    TextPrompt,
    TokenPrompt,
)
from trunkcall.protocols.forms import emit_form, read_form
from trunkcall.protocols.kuwa import Modelfile, emit_fields, read_call, read_generate, read_history
from trunkcall.protocols.openai import read_chat

HELLO = '[{"isbot":false,"msg":"hello"}]'

texts = st.text(st.sampled_from("\"'# \nab") | st.characters(exclude_categories=["Cs"]))


def said(request: Generate) -> list[tuple[str, str]]:
    """Roles and texts of the messages."""
    assert isinstance(request.prompt, MessagesPrompt)
    return [(message.role, message.parts[0].text) for message in request.prompt.messages]  # pyright: ignore


def conversation(*messages: tuple[str, str], **more: Any) -> Generate:
    made = tuple(Message(role, (TextPart(text),)) for role, text in messages)  # pyright: ignore
    return Generate(model="m", prompt=MessagesPrompt(made), **more)


def chat(*messages: Any, **fields: Any) -> Generate:
    given = messages or ({"role": "user", "content": "hello"},)
    return read_chat(json.dumps({"model": "m", "messages": given, **fields}).encode())


def emitted(request: Generate) -> tuple[dict[str, str], tuple[str, ...]]:
    return emit_fields(request, name="x", history_id="-4", user_id="7")


def arrived(request: Generate) -> Generate:
    """The request as it is read from the form that it became."""
    body = emit_form(emitted(request)[0])
    return read_generate(read_call(read_form(None, body), None), "m")


def test_a_form():
    request = conversation(
        *(("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")),
        sampling=Sampling(temperature=0.1, max_tokens=5, seed=None, ignore_eos=True),
        stops=Stops(("END",)),
        templating=Templating(chat_template="{{ messages }}"),
        credential=Secret("sk-secret"),
        user="7",
        extra={"kuwa": {"llm_delay": Raw(b"0.5"), "mine": Raw(b'"x"'), "nothing": Raw(b"null")}},
    )
    fields, dropped = emitted(request)
    assert dropped == ()
    modelfile = Modelfile.from_json(fields.pop("modelfile"))
    assert modelfile == Modelfile("Be brief.", template="{{ messages }}", parameters=modelfile.parameters)
    assert modelfile.parameters == {
        "llm_temperature": 0.1,
        "llm_max_tokens": 5,
        "llm_ignore_eos": True,
        "llm_stop": "END",
        "llm_delay": 0.5,
        "mine": "x",
    }
    assert read_history(fields.pop("input")) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    tokens = {"openai_token": "sk-secret", "third_party_token": "sk-secret"}
    assert fields == {"name": "x", "history_id": "-4", "user_id": "7", **tokens}


def test_a_text_is_one_turn():
    fields, dropped = emitted(Generate(model="m", prompt=TextPrompt(("hi",)), templating=Templating("Be brief.")))
    assert (fields["input"], dropped) == (HELLO.replace("hello", "hi"), ())
    assert Modelfile.from_json(fields["modelfile"]).override_system_prompt == "Be brief."
    assert not {"openai_token", "third_party_token"} & fields.keys()


@pytest.mark.parametrize("prompt", [TokenPrompt(((1, 2),)), TextPrompt(("a", "b"), True)])
def test_prompts_that_kuwa_has_no_way_to_say(prompt):
    with pytest.raises(ServingError) as caught:
        emitted(Generate(model="m", prompt=prompt))
    assert (caught.value.kind, caught.value.param) == ("unsupported", "prompt")


IMAGE = {"type": "image_url", "image_url": {"url": "http://a.b/c.png"}}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools", "tool_choice"}),
        ({"response_format": {"type": "json_object"}}, {"response_format"}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs", "top_logprobs"}),
        ({"logprobs": False, "n": 1, "stop": None, "temperature": None}, set()),
        ({"n": 2}, {"n"}),
        ({"logit_bias": {"5": 1}}, {"logit_bias"}),
        ({"stop": ["a", "b"]}, {"stop"}),
        ({"stop": "5"}, {"stop"}),
        ({"stop": ["a"], "stop_token_ids": [1]}, {"stop_token_ids"}),
        ({"max_completion_tokens": 5, "top_k": 3, "store": True}, {"store"}),
        ({"chat_template": "{# note #}"}, {"chat_template"}),
        ({"user": "8"}, {"user"}),
        ({"user": "7"}, set()),
    ],
)
def test_what_is_dropped_is_named(fields, dropped):
    assert set(emitted(chat(**fields))[1]) == dropped


@pytest.mark.parametrize(
    ("messages", "history", "system", "early", "dropped"),
    [
        ([("system", "a"), ("developer", "b"), ("user", "c")], [("user", "c")], "a\n\nb", [], set()),
        ([("user", "a"), ("system", "b")], [("user", "a")], "b", [], {"messages[1].role"}),
        ([("system", "# a"), ("user", "b")], [("user", "# a\n\nb")], "", [], {"messages[0].role"}),
        (
            [("system", "# a"), ("assistant", "b"), ("user", "c")],
            [("user", "# a"), ("assistant", "b"), ("user", "c")],
            *("", [], {"messages[0].role"}),
        ),
        (
            [("assistant", "a"), ("assistant", "b"), ("user", "c")],
            *([("assistant", "b"), ("user", "c")], "", ["a"], set()),
        ),
        (
            [("assistant", "#"), ("assistant", "b"), ("user", "c")],
            *([("assistant", "b"), ("user", "c")], "", [], {"messages[0]"}),
        ),
    ],
)
def test_turns(messages, history, system, early, dropped):
    fields, names = emitted(conversation(*messages))
    assert [(turn["role"], turn["content"]) for turn in read_history(fields["input"])] == history
    modelfile = Modelfile.from_json(fields["modelfile"])
    assert modelfile.override_system_prompt == system
    assert [turn["content"] for turn in modelfile.messages] == early
    assert set(names) == dropped


def test_parts_that_are_dropped_are_named():
    request = chat(
        {"role": "user", "name": "bob", "content": [{"type": "text", "text": "see"}, IMAGE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "b", "reasoning_content": "hm", "refusal": "no"},
        {"role": "user", "content": ""},
    )
    fields, dropped = emitted(request)
    assert [turn["content"] for turn in read_history(fields["input"])] == ["see", "bno", ""]
    assert dropped == (
        *("messages[0].name", "messages[0].content[1]", "messages[1].tool_calls", "messages[2]"),
        *("messages[3].reasoning_content", "messages[3].refusal"),
    )


def test_a_system_override_with_a_mark():
    request = conversation(("system", "old"), ("user", "a"), templating=Templating("# new"))
    fields, dropped = emitted(request)
    assert read_history(fields["input"]) == [{"role": "user", "content": "# new\n\na"}]
    assert dropped == ("system_override",)


@given(texts, texts, st.text(min_size=1).filter(str.strip), st.floats(0, 2), st.integers(0, 2**40))
def test_round_trip(system, answer, question, temperature, tokens):
    messages = [("system", system), ("user", "a"), ("assistant", answer), ("user", question)]
    sampling = Sampling(temperature=temperature, max_tokens=tokens)
    request = conversation(*messages, sampling=sampling)
    _, dropped = emitted(request)
    back = arrived(request)
    if "#" in system:
        assert dropped == ("messages[0].role",)
        assert said(back)[0] == ("user", f"{system}\n\na")
    else:
        assert dropped == ()
        expected = messages if system else messages[1:]
        assert said(back) == [turn for turn in expected if turn != ("assistant", "")]
    assert back.sampling == sampling
