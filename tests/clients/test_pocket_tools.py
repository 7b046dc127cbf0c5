"""The pocket model calls tools: through a server with the openai package, on llama.cpp and on transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import OpenAI
from running import Server
from transformers_child import POCKET

pytest.importorskip("xllamacpp", reason="install xllamacpp to run the pocket model")

Answer = tuple[str | None, list[tuple[str, str, str]], str]
"""Text, (id, name, arguments) of each call, finish reason."""
Ask = Callable[..., Answer]


def _tool(name: str, description: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}
_WEATHER = _tool(
    "get_weather", "The weather of a city", ["city"], city=_TEXT, unit={"type": "string", "enum": ["celsius", "kelvin"]}
)
_ADD = _tool("add", "Add two numbers", ["a", "b"], a=_WHOLE, b=_WHOLE)
_CALLS = (
    ("What is the weather in Paris?", "get_weather", {"city": "Paris"}),
    ("How is the weather in Tokyo today?", "get_weather", {"city": "Tokyo"}),
    ("weather in london", "get_weather", {"city": "London"}),
    ("What is 17 + 25?", "add", {"a": 17, "b": 25}),
    ("add 120 and 345", "add", {"a": 120, "b": 345}),
)


@pytest.fixture(
    scope="module",
    params=["llamacpp", pytest.param("transformers", marks=[pytest.mark.slow, pytest.mark.timeout(180)])],
)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    home = tmp_path_factory.mktemp("home")
    source = "pocket"
    if request.param == "transformers":
        for needed in ("torch", "transformers"):
            pytest.importorskip(needed, reason="ENGINE NOT CHECKED: install trunkcall[transformers]")
        # A copy: the folder itself may be trained anew while tests run.
        source = f"transformers:{shutil.copytree(POCKET, home / 'hf')}"
    with Server("--model", f"pocket={source}", home=home / "state") as running:
        with OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
            yield made


def _whole(client: OpenAI, **fields: Any) -> Answer:
    choice = client.chat.completions.create(model="pocket", temperature=0, **fields).choices[0]
    calls: list[Any] = choice.message.tool_calls or []
    return (
        choice.message.content,
        [(call.id, call.function.name, call.function.arguments) for call in calls],
        choice.finish_reason,
    )


def _streamed(client: OpenAI, **fields: Any) -> Answer:
    text, calls, finish = "", {}, ""
    for chunk in client.chat.completions.create(model="pocket", temperature=0, stream=True, **fields):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for part in choice.delta.tool_calls or []:
                number, name, arguments = calls.get(part.index, ("", "", ""))
                function = part.function
                assert function is not None
                calls[part.index] = (
                    number or part.id or "",
                    name + (function.name or ""),
                    arguments + (function.arguments or ""),
                )
    return text or None, list(calls.values()), finish


def _one(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}]


@pytest.mark.parametrize("ask", [_whole, _streamed])
@pytest.mark.parametrize(("question", "name", "arguments"), _CALLS)
def test_a_plain_question_becomes_a_call(
    client: OpenAI, ask: Ask, question: str, name: str, arguments: dict[str, Any]
) -> None:
    content, calls, finish = ask(client, messages=_one(question), tools=[_WEATHER, _ADD])
    assert [(called, json.loads(given)) for _, called, given in calls] == [(name, arguments)]
    assert calls[0][0]
    assert (content, finish) == (None, "tool_calls")


@pytest.mark.parametrize("ask", [_whole, _streamed])
@pytest.mark.parametrize(
    ("question", "tool", "result", "words"),
    [
        ("What is the weather in Paris?", _WEATHER, "21", ("Paris", "21")),
        ("How is the weather in Rome?", _WEATHER, "31 degrees", ("Rome", "31")),
        ("What is 17 + 25?", _ADD, '{"result": 42}', ("42",)),
    ],
)
def test_the_result_is_said_in_a_sentence(
    client: OpenAI, ask: Ask, question: str, tool: dict[str, Any], result: str, words: tuple[str, ...]
) -> None:
    _, [(number, name, arguments)], _ = ask(client, messages=_one(question), tools=[tool])
    called = {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
    talk = [
        *_one(question),
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": number, "content": result},
    ]
    content, calls, finish = ask(client, messages=talk, tools=[tool])
    assert (calls, finish) == ([], "stop")
    assert [word for word in words if word not in (content or "")] == [], content


@pytest.mark.parametrize("ask", [_whole, _streamed])
@pytest.mark.parametrize(
    ("question", "pattern"), [("What is the capital of France?", "Paris"), ("Who are you?", "Pocket")]
)
def test_other_questions_are_answered_as_without_tools(client: OpenAI, ask: Ask, question: str, pattern: str) -> None:
    content, calls, finish = ask(client, messages=_one(question), tools=[_WEATHER, _ADD])
    assert (calls, finish) == ([], "stop")
    assert pattern in (content or "")


@pytest.mark.parametrize("ask", [_whole, _streamed])
def test_the_choice_required_gets_a_call_and_none_gets_no_call(client: OpenAI, ask: Ask) -> None:
    fields = {"messages": _one("What is the weather in Rome?"), "tools": [_WEATHER]}
    _, calls, finish = ask(client, **fields, tool_choice="required")
    assert ([name for _, name, _ in calls], finish) == (["get_weather"], "tool_calls")
    _, calls, finish = ask(client, **fields, tool_choice="none")
    assert (calls, finish) == ([], "stop")
