"""What the google-genai and anthropic packages send to a server of ours, and what they read in the golden streams.

Prints {"versions": …, "gemini": {CASE: [path, headers, body]}, "anthropic": …, "read": {FILE: what it says}} as JSON;
the first ones are tests/protocols/data/gemini/requests.json and anthropic/requests.json.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anthropic
from google import genai

DATA = Path(__file__).parents[1] / "protocols" / "data"
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
PIXEL = "iVBORw0KGgo="

GEMINI: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": ("hello", {}),
    "sampling": (
        "hello",
        {
            "system_instruction": "Be brief.",
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "max_output_tokens": 7,
            "stop_sequences": ["END", "!"],
            "seed": 1,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "response_logprobs": True,
            "logprobs": 3,
        },
    ),
    "schema and thinking": (
        "hello",
        {
            "response_mime_type": "application/json",
            "response_json_schema": SCHEMA,
            "thinking_config": {"include_thoughts": True, "thinking_level": "LOW"},
        },
    ),
    "media": (
        [
            {
                "role": "user",
                "parts": [
                    {"text": "look"},
                    {"inline_data": {"data": PIXEL, "mime_type": "image/png"}},
                    {"file_data": {"file_uri": "https://host/a.webp", "mime_type": "image/webp"}},
                ],
            }
        ],
        {},
    ),
    "tools": (
        [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {
                "role": "model",
                "parts": [
                    {
                        "function_call": {"id": "fc-1", "name": "get_weather", "args": {"place": "Paris"}},
                        "thought_signature": "c2lnbmVk",
                    }
                ],
            },
            {
                "role": "user",
                "parts": [{"function_response": {"id": "fc-1", "name": "get_weather", "response": {"output": "sun"}}}],
            },
        ],
        {
            "tools": [
                {
                    "function_declarations": [
                        {"name": "get_weather", "description": "The weather.", "parameters_json_schema": SCHEMA}
                    ]
                }
            ],
            "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_weather"]}},
            "automatic_function_calling": {"disable": True},
        },
    ),
}

TURN = [{"role": "user", "content": "hello"}]
ANTHROPIC: dict[str, dict[str, Any]] = {
    "plain": {"messages": TURN, "max_tokens": 4096},
    "settings": {
        "system": "Be brief.",
        "messages": TURN,
        "max_tokens": 7,
        "stop_sequences": ["END", "!"],
        "metadata": {"user_id": "u-1"},
    },
    "schema and thinking": {
        "messages": TURN,
        "max_tokens": 4096,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "thinking": {"type": "adaptive", "display": "summarized"},
    },
    "media": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "image", "source": {"type": "url", "url": "https://host/a.webp"}},
                ],
            }
        ],
        "max_tokens": 4096,
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"place": "Paris"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"place": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"},
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "rain"},
                ],
            },
        ],
        "max_tokens": 4096,
        "tools": [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    },
}


class Server(ThreadingHTTPServer):
    """Answers a POST with `answer`, one that continues with `later`, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = b""
        self.later = b""
        self.asked: list[Any] = []
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kept = {name: self.headers[name] for name in ("x-goog-api-key", "authorization", "anthropic-version")}
        self.server.asked.append([self.path, {name: value for name, value in kept.items() if value}, body])
        answer = self.server.later if "continuationToken" in body else self.server.answer
        kind = "application/json" if answer.startswith(b"{") else "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to say."""


def said_by_google(chunks: list[Any]) -> dict[str, Any]:
    """The answer that the package makes of a stream."""
    candidates = [candidate for chunk in chunks for candidate in chunk.candidates or ()]
    parts = [part for candidate in candidates if candidate.content for part in candidate.content.parts or ()]
    return {
        "text": "".join(part.text for part in parts if part.text and not part.thought),
        "thinking": "".join(part.text for part in parts if part.text and part.thought),
        "calls": [[part.function_call.name, part.function_call.args] for part in parts if part.function_call],
        "prompt": chunks[-1].usage_metadata.initial_prompt_token_count,
    }


def said_by_claude(message: Any) -> dict[str, Any]:
    """The answer that the package makes of a stream."""
    usage = message.usage
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "thinking": "".join(block.thinking for block in message.content if block.type == "thinking"),
        "calls": [[block.name, block.input] for block in message.content if block.type == "tool_use"],
        "prompt": usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0),
    }


def main() -> None:
    """Run all cases and print what was seen."""
    server = Server()
    seen: dict[str, Any] = {
        "versions": {"google-genai": version("google-genai"), "anthropic": version("anthropic")},
        "gemini": {},
        "anthropic": {},
        "read": {},
    }
    google = genai.Client(api_key="the-key", http_options={"base_url": server.url, "api_version": "v1beta"})
    claude = anthropic.Anthropic(api_key="the-key", base_url=server.url, max_retries=0)
    server.answer = (DATA / "gemini" / "text.sse").read_bytes()
    for name, (contents, config) in GEMINI.items():
        list(google.models.generate_content_stream(model="gemini-3-flash", contents=contents, config=config))
        seen["gemini"][name] = server.asked.pop()
    server.answer = b'{"embeddings":[{"values":[1.0,0.5]},{"values":[0.0,-1.0]}]}'
    google.models.embed_content(model="embed", contents=["a", "b"], config={"output_dimensionality": 2})
    seen["gemini"]["embeddings"] = server.asked.pop()
    server.answer = b'{"totalTokens":3}'
    google.models.count_tokens(model="gemini-3-flash", contents="hello")
    seen["gemini"]["count"] = server.asked.pop()
    server.answer = (DATA / "anthropic" / "text.sse").read_bytes()
    for name, request in ANTHROPIC.items():
        with claude.messages.stream(model="claude-opus-5-5", **request) as stream:
            stream.until_done()
        seen["anthropic"][name] = server.asked.pop()
    for path in sorted(DATA.glob("gemini/*.sse")):
        server.answer = path.read_bytes()
        server.later = (DATA / "gemini" / "text.sse").read_bytes()
        chunks = list(google.models.generate_content_stream(model="gemini-3-flash", contents="hello"))
        seen["read"][f"gemini/{path.name}"] = said_by_google(chunks)
        if path.name == "continued.sse":
            seen["gemini"]["continued"] = server.asked.pop()
    for path in sorted(DATA.glob("anthropic/*.sse")):
        server.answer = path.read_bytes()
        try:
            with claude.messages.stream(model="claude-opus-5-5", messages=TURN, max_tokens=9) as stream:
                seen["read"][f"anthropic/{path.name}"] = said_by_claude(stream.get_final_message())
        except anthropic.APIStatusError as error:
            seen["read"][f"anthropic/{path.name}"] = type(error).__name__
    server.shutdown()
    server.thread.join(10)
    server.server_close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
