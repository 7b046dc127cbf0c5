"""The chat template shows tools, calls and results as the corpus taught them."""

import json
from itertools import islice
from typing import Any

import pytest

from pocket.corpus import documents
from pocket.score import SHIPPED, answers
from pocket.template import tool_call, tool_list, tool_response


def _tool(name: str, required: list[str], *properties: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {key: {"type": "string"} for key in properties}, "required": required}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


_TOOLS: list[dict[str, Any]] = [
    _tool("get_weather", ["city"], "city", "unit"),
    _tool("add", ["a", "b"], "a", "b"),
    _tool("search", [], "query", "limit"),
    {"type": "function", "function": {"name": "now"}},
]


def test_the_template_shows_what_the_corpus_taught() -> None:
    pytest.importorskip("xllamacpp", reason="install xllamacpp to render with llama.cpp")
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "assistant", "content": "The answer is 3."},
        {"role": "user", "content": "Thanks!"},
    ]
    listed = tool_list(["get_weather(city)", "add(a, b)", "search(query, limit)", "now()"])

    def turns(*said: tuple[str, str]) -> str:
        return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in said) + "<|im_start|>assistant\n"

    after = (
        ("user", "What is 1 + 2?"),
        ("assistant", tool_call("add", {"a": 1, "b": 2})),
        ("user", tool_response("3")),
        ("assistant", "The answer is 3."),
        ("user", "Thanks!"),
    )
    asked = ((talk, _TOOLS), (talk[1:], _TOOLS), (talk, None))
    shown = answers(
        SHIPPED,
        [
            {"messages": messages, "rendered": True, **({"tools": offered} if offered else {})}
            for messages, offered in asked
        ],
    )
    assert shown == [
        turns(("system", f"Be kind.\n{listed}"), *after),
        turns(("system", listed), *after),
        turns(("system", "Be kind."), *after),
    ]


def test_the_corpus_holds_whole_calls() -> None:
    calls = [
        message.text
        for document in islice(documents(5), 2000)
        for message in document.messages
        if message.role == "assistant" and "<tool_call>" in message.text
    ]
    assert len(calls) > 100
    for call in calls:
        made = json.loads(call.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
        assert set(made) == {"name", "arguments"}
