"""The pocket model calls tools: its template in both engines, and calls through a server with the openai package."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from openai import OpenAI
from running import Server

from pocket.corpus import documents
from pocket.score import SHIPPED, answers
from pocket.template import tool_call, tool_list, tool_response


def _tool(name: str, description: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}
_WEATHER = _tool(
    "get_weather", "The weather of a city", ["city"], city=_TEXT, unit={"type": "string", "enum": ["celsius", "kelvin"]}
)
_ADD = _tool("add", "Add two numbers", ["a", "b"], a=_WHOLE, b=_WHOLE)
_BARE: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
_CALLS = (
    ("What is the weather in Paris?", "get_weather", {"city": "Paris"}),
    ("How is the weather in Tokyo today?", "get_weather", {"city": "Tokyo"}),
    ("weather in london", "get_weather", {"city": "London"}),
    ("Is it raining in New York?", "get_weather", {"city": "New York"}),
    ("What is 17 + 25?", "add", {"a": 17, "b": 25}),
    ("add 120 and 345", "add", {"a": 120, "b": 345}),
)


def test_the_template_shows_what_the_corpus_taught() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "assistant", "content": "The answer is 3."},
        {"role": "user", "content": "Thanks!"},
    ]
    tools = [_WEATHER, _ADD, _BARE]
    listed = tool_list(["get_weather(city)", "add(a, b)", "now()"])

    def turns(*said: tuple[str, str]) -> str:
        return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in said) + "<|im_start|>assistant\n"

    after = (
        ("user", "What is 1 + 2?"),
        ("assistant", tool_call("add", {"a": 1, "b": 2})),
        ("user", tool_response("3")),
        ("assistant", "The answer is 3."),
        ("user", "Thanks!"),
    )
    with_tools, without_system, without_tools = answers(
        SHIPPED,
        [
            {"messages": talk, "tools": tools, "rendered": True},
            {"messages": talk[1:], "tools": tools, "rendered": True},
            {"messages": talk, "rendered": True},
        ],
    )
    assert with_tools == turns(("system", f"Be kind.\n{listed}"), *after)
    assert without_system == turns(("system", listed), *after)
    assert without_tools == turns(("system", "Be kind."), *after)


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


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    running = Server("--model", "pocket=pocket", home=tmp_path_factory.mktemp("home"))
    try:
        running.wait_ready()
        with OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0, timeout=30) as made:
            yield made
    finally:
        running.stop()


def _whole(client: OpenAI, **fields: Any) -> tuple[str | None, list[tuple[str, str, str]], str]:
    choice = client.chat.completions.create(model="pocket", temperature=0, **fields).choices[0]
    calls: list[Any] = choice.message.tool_calls or []
    return (
        choice.message.content,
        [(call.id, call.function.name, call.function.arguments) for call in calls],
        choice.finish_reason,
    )


def _streamed(client: OpenAI, **fields: Any) -> tuple[str | None, list[tuple[str, str, str]], str]:
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


@pytest.mark.parametrize("ask", [_whole, _streamed])
@pytest.mark.parametrize(("question", "name", "arguments"), _CALLS)
def test_a_plain_question_becomes_a_call(
    client: OpenAI, ask: Any, question: str, name: str, arguments: dict[str, Any]
) -> None:
    content, calls, finish = ask(client, messages=[{"role": "user", "content": question}], tools=[_WEATHER, _ADD])
    assert [(called, json.loads(given)) for _, called, given in calls] == [(name, arguments)]
    assert calls[0][0]
    assert (content, finish) == (None, "tool_calls")


@pytest.mark.parametrize("ask", [_whole, _streamed])
def test_the_result_is_said_in_a_sentence(client: OpenAI, ask: Any) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    _, [(number, name, arguments)], _ = ask(client, messages=messages, tools=[_WEATHER])
    called = {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": number, "content": '{"temperature": 18, "condition": "sunny"}'}
    messages += [{"role": "assistant", "content": None, "tool_calls": [called]}, result]
    content, calls, finish = ask(client, messages=messages, tools=[_WEATHER])
    assert (calls, finish) == ([], "stop")
    assert content
    for word in ("Paris", "sunny", "18"):
        assert word in content


def test_other_questions_are_answered_as_without_tools(client: OpenAI) -> None:
    for question, pattern in (("What is the capital of France?", "Paris"), ("Who are you?", "Pocket")):
        content, calls, finish = _whole(
            client, messages=[{"role": "user", "content": question}], tools=[_WEATHER, _ADD]
        )
        assert (calls, finish) == ([], "stop")
        assert pattern in (content or "")


def test_a_call_can_be_required(client: OpenAI) -> None:
    fields = {"tools": [_WEATHER], "tool_choice": "required"}
    _, calls, finish = _whole(client, messages=[{"role": "user", "content": "What is the weather in Rome?"}], **fields)
    assert ([name for _, name, _ in calls], finish) == (["get_weather"], "tool_calls")
