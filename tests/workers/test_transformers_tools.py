"""Tool calls in streamed text."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.workers.transformers_tools import Call, CallReader

CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Paris"}}\n</tool_call>'
MADE = Call("weather", '{"place": "Paris"}')


def read(pieces: Iterable[str]) -> list[str | Call]:
    """Calls and texts, neighbouring texts joined."""
    reader = CallReader()
    made: list[str | Call] = []
    for found in (*(one for piece in pieces for one in reader.feed(piece)), *reader.flush()):
        if isinstance(found, str) and made and isinstance(made[-1], str):
            made[-1] += found
        else:
            made.append(found)
    return made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (CALL, [MADE]),
        (f"I look. {CALL}", ["I look. ", MADE]),
        (f"{CALL}\n{CALL}\n", [MADE, MADE]),
        (f"{CALL}\nDone.", [MADE, "\nDone."]),
        (CALL.removesuffix("</tool_call>"), [MADE]),
        ('<tool_call>{"name": "now"}</tool_call>', [Call("now", "{}")]),
        (
            '<tool_call>{"name":"f","arguments":{"a": 1.0, "a":9007199254740993}}',
            [Call("f", '{"a": 1.0, "a":9007199254740993}')],
        ),
        ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', [Call("f", '{"a": 1}')]),
        ("<tool_call>oops</tool_call>", ["<tool_call>oops</tool_call>"]),
        ('<tool_call>{"arguments": {}}', ['<tool_call>{"arguments": {}}']),
        ("a <tool", ["a <tool"]),
        ("no call", ["no call"]),
        ("", []),
    ],
)
def test_calls_and_text(text: str, made: list[str | Call]) -> None:
    assert read([text]) == made
    assert read(text) == made


@given(st.lists(st.sampled_from([CALL, "<tool_call>", "</tool_call>", "text", " ", "<", "\n"]), max_size=6), st.data())
def test_pieces_make_no_difference(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(pieces) == read([text])


def test_text_is_not_held_back_longer_than_needed() -> None:
    reader = CallReader()
    assert reader.feed("hello ") == ["hello "]
    assert reader.feed("<tool_") == []
    assert reader.feed("box>") == ["<tool_box>"]
