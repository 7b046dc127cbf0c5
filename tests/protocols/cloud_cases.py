"""Questions in OpenAI's words that mean the same as those that the clouds' own packages were recorded with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from trunkcall.core.requests import Generate
from trunkcall.protocols.openai import read_chat

DATA = Path(__file__).parent / "data"
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
PIXEL = "iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}


def call(id: str, arguments: str = '{"place": "Paris"}') -> dict[str, Any]:
    """A tool call of an earlier answer."""
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def called(*ids: str) -> list[dict[str, Any]]:
    """A conversation in which tools were called."""
    places = ("Paris", "Rome")
    gave = ("sun", "rain")
    return [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call(id, json.dumps({"place": place})) for id, place in zip(ids, places, strict=False)],
        },
        *({"role": "tool", "tool_call_id": id, "content": text} for id, text in zip(ids, gave, strict=False)),
    ]


def asked(messages: Any = None, **fields: Any) -> Generate:
    """What a caller of the chat API asks."""
    body = {"model": "m", "messages": HELLO if messages is None else messages, **fields}
    return read_chat(json.dumps(body).encode())


def image(url: str, **more: str) -> dict[str, Any]:
    """A picture as a part of a message."""
    return {"type": "image_url", "image_url": {"url": url, **more}}


MEDIA = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look"},
            image(f"data:image/png;base64,{PIXEL}"),
            image("https://host/a.webp"),
        ],
    }
]
STRICT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def recorded(protocol: str) -> dict[str, tuple[str, dict[str, str], Any]]:
    """CASE -> (path, headers, body) as the protocol's own package sent it."""
    cases: dict[str, Any] = json.loads((DATA / protocol / "requests.json").read_text(encoding="utf-8"))
    for _, _, body in cases.values():
        if body.get("generationConfig") == {}:
            # What google-genai writes for settings of its own.
            del body["generationConfig"]
    return {name: (path, headers, body) for name, (path, headers, body) in cases.items()}


def camel_case(value: Any) -> Any:
    """google-genai writes some names in snake_case, which means the same to the API."""
    if isinstance(value, list):
        return [camel_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {re.sub(r"_(\w)", lambda match: match[1].upper(), name): camel_case(one) for name, one in value.items()}
