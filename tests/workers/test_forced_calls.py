"""A tool call that must be made: what the engine is held to, and the same call out of any pieces of its text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.workers.forced_calls import ForcedCall, format_of

CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: Any = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def schema(*tools: dict[str, Any]) -> Any:
    made = format_of(list(tools))
    return made and json.loads(bytes(made))["json_schema"]["schema"]


def test_the_format_has_a_branch_for_each_tool() -> None:
    one = {
        "type": "object",
        "properties": {"name": {"const": "f"}, "arguments": CITY},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    assert schema(tool(parameters=CITY)) == one
    first, second = schema(tool(parameters=CITY), tool("g"))["anyOf"]
    assert first == one
    assert second["properties"] == {"name": {"const": "g"}, "arguments": {"type": "object"}}


@pytest.mark.parametrize(
    "broken", [{}, {"function": 5}, tool(5), tool(parameters={"properties": {"a": {"$ref": "#/$defs/a"}}})]
)
def test_what_cannot_be_held_to_a_format(broken: dict[str, Any]) -> None:
    assert format_of([tool(), broken]) is None


def told(pieces: list[str], finish: str = "stop") -> tuple[str, str, str]:
    """Name, arguments and end of the call."""
    call, name, arguments = ForcedCall(), "", ""
    choices = [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]
    choices += [{"delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    choices.append({"delta": {}, "finish_reason": finish})
    for choice in choices:
        call.edit(choice)
        assert not choice["delta"].get("content")
        for fragment in choice["delta"].get("tool_calls", ()):
            assert fragment["index"] == 0
            assert ("id" in fragment) == (not name)
            name += fragment["function"].get("name", "")
            arguments += fragment["function"]["arguments"]
    return name, arguments, str(choices[-1]["finish_reason"])


values = st.recursive(
    st.integers() | st.text() | st.none(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)
)


@given(st.text(min_size=1), st.dictionaries(st.text(), values, max_size=3), st.sampled_from([None, 1]), st.data())
def test_any_pieces_are_the_same_call(name: str, arguments: Any, indent: int | None, data: st.DataObject) -> None:
    text = json.dumps({"name": name, "arguments": arguments}, indent=indent, ensure_ascii=data.draw(st.booleans()))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found, said, finish = told(pieces)
    assert (found, json.loads(said), finish) == (name, arguments, "tool_calls")
    assert said == said.strip()


def test_a_call_that_is_cut_off_says_so() -> None:
    assert told(['{"name": "f", "argu', 'ments": {"a": {"b": 1}'], "length") == ("f", '{"a": {"b": 1}', "length")
    assert told(['{"na'], "length") == ("", "", "length")
