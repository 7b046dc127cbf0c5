"""A session with the official openai package, run as a program: prints what it saw as JSON.

Arguments: base URL, chat model, embedding model, tool model.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai


def main(base_url: str, chat: str, embedding: str, tools: str) -> dict[str, Any]:
    client = openai.OpenAI(base_url=base_url, api_key="any", max_retries=0, timeout=60)
    seen: dict[str, Any] = {"version": openai.__version__}
    ask: list[Any] = [{"role": "user", "content": "Who are you?"}]

    answer = client.chat.completions.create(model=chat, messages=ask, temperature=0)
    seen["chat"] = answer.choices[0].message.content
    seen["finish"] = answer.choices[0].finish_reason
    seen["usage"] = answer.usage.total_tokens if answer.usage else None

    stream = client.chat.completions.create(
        model=chat, messages=ask, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    pieces, usages, finishes = [], [], []
    for chunk in stream:
        if chunk.usage:
            usages.append(chunk.usage.total_tokens)
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finishes.append(choice.finish_reason)
    seen["stream"] = "".join(pieces)
    seen["pieces"] = sum(1 for piece in pieces if piece)
    seen["stream_usage"] = usages
    seen["stream_finish"] = [finish for finish in finishes if finish]

    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["ok", "n"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=chat,
        messages=ask,
        temperature=0,
        max_tokens=300,
        # So small a model may write blanks for ever, which JSON allows.
        frequency_penalty=1.0,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}},
    )
    seen["schema"] = json.loads(answer.choices[0].message.content or "")

    answer = client.chat.completions.create(
        model=chat, messages=ask, temperature=0, logprobs=True, top_logprobs=3, max_tokens=4
    )
    logprobs = answer.choices[0].logprobs
    seen["logprobs"] = [(t.token, t.logprob, len(t.top_logprobs)) for t in (logprobs.content or [])] if logprobs else []

    answer = client.chat.completions.create(model=chat, messages=ask, n=2, seed=3, max_tokens=8)
    seen["choices"] = sorted(choice.index for choice in answer.choices)

    text = client.completions.create(model=chat, prompt="Once upon a time", max_tokens=8, temperature=0)
    seen["text"] = text.choices[0].text

    vectors = client.embeddings.create(model=embedding, input=["hello", "goodbye"])
    seen["embeddings"] = [len(entry.embedding) for entry in vectors.data]

    seen["models"] = sorted(model.id for model in client.models.list())
    seen["model"] = client.models.retrieve(chat).id

    tool: Any = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
    weather: list[Any] = [{"role": "user", "content": "Weather in Paris?"}]
    answer = client.chat.completions.create(model=tools, messages=weather, tools=[tool], tool_choice="auto")
    call: Any = (answer.choices[0].message.tool_calls or [None])[0]
    seen["tool"] = [call.function.name, json.loads(call.function.arguments), answer.choices[0].finish_reason]
    name, arguments = "", ""
    for chunk in client.chat.completions.create(model=tools, messages=weather, tools=[tool], stream=True):
        for choice in chunk.choices:
            for fragment in choice.delta.tool_calls or []:
                if fragment.function:
                    name += fragment.function.name or ""
                    arguments += fragment.function.arguments or ""
    seen["tool_stream"] = [name, json.loads(arguments)]

    seen["errors"] = {}
    wrong: dict[str, Any] = {
        "model": {"model": "pocked", "messages": ask},
        "type": {"model": chat, "messages": ask, "temperature": "hot"},
        "long": {"model": chat, "messages": [{"role": "user", "content": "word " * 9000}]},
    }
    for name, fields in wrong.items():
        try:
            client.chat.completions.create(**fields)
        except openai.APIStatusError as error:
            seen["errors"][name] = [type(error).__name__, error.status_code, error.param, error.code]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
