"""What a request asks of the batch, and what of it is dropped."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import MessagesPrompt
from trunkcall.protocols.openai import read_chat, read_completion
from trunkcall.workers.transformers_asked import Asked, Defaults, ask, conversation
from trunkcall.workers.transformers_words import Words

DEFAULTS = Defaults(temperature=0.5, top_k=7, ends=(2,))
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Spelled:
    """Words whose tokens are the letters; a conversation is rendered as its JSON."""

    size = 300
    takes_effort = False

    def __init__(self, *, tools: bool = True) -> None:
        self.takes_tools = tools

    def tokens(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(text.encode())

    def render(self, messages: Any, tools: Any, arguments: Any, *, unfinished: bool) -> str:
        return msgspec.json.encode([messages, tools, arguments, unfinished]).decode()


def asked(*, context: int = 1000, **fields: Any) -> Asked:
    read = read_completion if "prompt" in fields else read_chat
    if "prompt" not in fields:
        fields.setdefault("messages", [{"role": "user", "content": "hi"}])
    request = read(msgspec.json.encode({"model": "m", **fields}))
    return ask(request, cast(Words, Spelled()), DEFAULTS, context)


def rendered(**fields: Any) -> Any:
    return msgspec.json.decode(bytes(asked(**fields).prompts[0]))


def test_defaults_are_the_models_and_null_is_no_value() -> None:
    for fields in ({}, {"temperature": None, "top_k": None, "max_tokens": None}):
        (wanted,) = asked(prompt="abc", **fields).wanted
        assert (wanted.rules.temperature, wanted.rules.top_k, wanted.rules.top_p) == (0.5, 7, 1.0)
        assert (wanted.max_tokens, wanted.ends, wanted.seed) == (997, {2}, None)
    (wanted,) = asked(prompt="abc", temperature=0, top_k=-1).wanted
    assert (wanted.rules.temperature, wanted.rules.top_k) == (0, 0)


def test_each_answer_has_a_seed_of_its_own() -> None:
    found = asked(prompt=["a", "b"], n=2, seed=5)
    assert [(one.prompt, one.seed) for one in found.wanted] == [((97,), 5), ((97,), 6), ((98,), 5), ((98,), 6)]
    assert found.prompts == ((97,), (98,))


def test_ends_and_bans() -> None:
    (wanted,) = asked(prompt="a", stop_token_ids=[9], min_tokens=3, ignore_eos=True, stop="x").wanted
    assert wanted.ends == {2, 9}
    assert (wanted.rules.banned, wanted.rules.ending, wanted.rules.min_tokens) == ((2,), (2, 9), 3)
    assert asked(prompt="a", stop=["x", "y"]).stops == ("x", "y")


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({}, ()),
        ({"temperature": 1, "logprobs": True, "top_logprobs": 2, "user": "u", "store": False, "metadata": {}}, ()),
        ({"service_tier": "auto", "response_format": {"type": "text"}, "tools": []}, ()),
        ({"response_format": None, "tool_choice": None, "reasoning_effort": None, "parallel_tool_calls": True}, ()),
        ({"service_tier": "flex", "store": True}, ("service_tier", "store")),
        ({"response_format": {"type": "json_object"}}, ()),
        ({"response_format": {"type": "json_object"}, "ignore_eos": True}, ("ignore_eos",)),
        ({"grammar": 'root ::= "a"'}, ("grammar",)),
        ({"reasoning_effort": "low"}, ("reasoning_effort",)),
        ({"tools": [TOOL], "tool_choice": "auto"}, ()),
        ({"tools": [TOOL], "tool_choice": "required"}, ()),
        ({"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}, ()),
        ({"tool_choice": "required"}, ("tool_choice",)),
        ({"tools": [TOOL], "parallel_tool_calls": False}, ("parallel_tool_calls",)),
        ({"tools": [TOOL, {"type": "web_search"}]}, ("tools[1]",)),
        ({"prompt": "a", "best_of": 1}, ()),
        ({"prompt": "a", "best_of": 3}, ("best_of",)),
        ({"prompt": "a", "echo": True}, ()),
        ({"prompt": "a", "echo": True, "logprobs": 1}, ()),
        ({"prompt": [97], "echo": True}, ("echo",)),
    ],
)
def test_dropped(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert asked(**fields).dropped == dropped


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [TOOL], "tool_choice": "none"}, None),
        ({"tools": [TOOL]}, None),
        ({"tools": [TOOL], "tool_choice": "required"}, "tools"),
    ],
)
def test_shapes(fields: dict[str, Any], param: str | None) -> None:
    found = asked(**fields, ignore_eos=True)
    assert (found.shape.param if found.shape else None) == param
    assert found.wanted[0].rules.banned == ((2,) if param is None else ())


def test_tools_need_a_template_that_shows_them() -> None:
    without = ask(
        read_chat(msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [TOOL]})),
        cast(Words, Spelled(tools=False)),
        DEFAULTS,
        1000,
    )
    assert (without.dropped, without.calls, without.shape) == (("tools",), False, None)
    assert rendered(tools=[TOOL])[1] == [TOOL]
    assert rendered(tools=[TOOL], tool_choice="none")[1] is None
    assert asked(tools=[TOOL]).calls
    assert not asked(tools=[TOOL], tool_choice="none").calls


def test_a_conversation_for_templates() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "[1"}},
        ]},
        {"role": "tool", "tool_call_id": "1", "content": "7"},
    ]  # fmt: skip
    made, _, arguments, unfinished = rendered(
        messages=messages, chat_template_kwargs={"thinking": False}, continue_final_message=True
    )
    assert made[0] == {"role": "system", "content": "Be brief."}
    assert made[1]["content"] == ""
    assert [call["function"]["arguments"] for call in made[1]["tool_calls"]] == [{"a": 1}, "[1"]
    assert made[2]["content"] == "7"
    assert (arguments, unfinished) == ({"thinking": False}, True)


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"prompt": "abc", "context": 3}, "too_long", "prompt"),
        ({"messages": [{"role": "user", "content": "hi"}], "context": 3}, "too_long", "messages"),
        ({"prompt": ""}, "bad_request", "prompt"),
        ({"prompt": [300]}, "bad_request", "prompt"),
        ({"prompt": "a", "max_tokens": 0}, "bad_request", "max_tokens"),
        ({"prompt": "a", "logit_bias": {"300": 1}}, "bad_request", "logit_bias"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "bad_request", "logit_bias"),
        ({"prompt": "a", "repetition_penalty": 0}, "bad_request", "repetition_penalty"),
        ({"prompt": ["a"] * 9, "n": 128}, "bad_request", "n"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "unsupported",
            "messages[0].content[0]",
        ),
    ],
)
def test_refusals_name_the_field(fields: dict[str, Any], kind: str, param: str) -> None:
    with pytest.raises(ServingError) as caught:
        asked(**fields)
    assert (caught.value.kind, caught.value.param) == (kind, param)


def test_texts_of_a_conversation_only() -> None:
    request = read_chat(b'{"model":"m","messages":[{"role":"assistant","content":null,"refusal":"no"}]}')
    assert isinstance(request.prompt, MessagesPrompt)
    assert conversation(request.prompt)[0]["content"] == ""
