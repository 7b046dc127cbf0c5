"""The grammars of shapes, without a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Format, Generate, MessagesPrompt
from trunkcall.core.requests import Shape as Shaped
from trunkcall.protocols.openai import read_chat
from trunkcall.workers.transformers_shapes import Shape, shape_of

TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "g"}},
]
STRICT = {"type": "function", "function": {"name": "s", "strict": True}}
JSON = {"type": "json_object"}


def shape(*, shown: bool = True, **fields: Any) -> Shape | None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], **fields}
    return shape_of(read_chat(json.dumps(body).encode()), tools=shown)


@pytest.mark.parametrize(
    ("fields", "param", "start"),
    [
        ({}, None, ""),
        ({"response_format": {"type": "text"}}, None, ""),
        ({"response_format": JSON}, "response_format", "start: answer"),
        ({"structured_outputs": {"regex": "a/b"}}, "structured_outputs", "start: answer"),
        ({"tools": TOOLS}, None, ""),
        ({"tools": TOOLS, "tool_choice": "required"}, "tools", "start: calls"),
        ({"tools": TOOLS, "tool_choice": "required", "response_format": JSON}, "tools", "start: calls"),
        ({"tools": TOOLS, "response_format": JSON}, "response_format", "start: answer | calls"),
        ({"tools": [STRICT]}, "tools", "start: (before body)* rest"),
        ({"tools": [STRICT], "parallel_tool_calls": False}, "tools", "start: (before body)? rest"),
    ],
)
def test_when_answers_have_a_shape(fields: dict[str, Any], param: str | None, start: str) -> None:
    found = shape(**fields)
    assert (found.param if found else None) == param
    assert (found.lark.partition("\n")[0] if found else "") == start


def test_calls() -> None:
    both = shape(tools=TOOLS, tool_choice="required")
    named = shape(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "g"}})
    assert both is not None and named is not None
    assert "body: body_0 | body_1" in both.lark
    assert "calls: call\n" in both.lark
    assert '"lenient": true' in both.lark
    assert '"name\\": \\"f' in both.lark and '"name\\": \\"f' not in named.lark
    several = shape(tools=TOOLS, tool_choice="required", parallel_tool_calls=True)
    assert several is not None and "calls: call (" in several.lark
    assert shape(tools=TOOLS, tool_choice="none", response_format=JSON) is not None
    assert shape(shown=False, tools=TOOLS, tool_choice="required") is None


def test_a_tool_that_is_not_there_and_a_schema_without_end() -> None:
    with pytest.raises(ServingError) as caught:
        shape(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "h"}})
    assert (caught.value.kind, caught.value.param) == ("bad_request", "tool_choice")
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    request = Generate(model="m", prompt=MessagesPrompt(()), shape=Shaped(format=Format("schema", schema=deep)))
    with pytest.raises(ServingError) as caught:
        shape_of(request, tools=False)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "response_format")
