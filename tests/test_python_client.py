"""`trunkcall.Client`: the official client, and administration."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import openai
import pytest

import trunkcall

pytestmark = pytest.mark.anyio

HELLO: Any = [{"role": "user", "content": "hello"}]


def test_it_talks_and_administers(serve: Callable[..., Any]) -> None:
    server = serve("--no-pocket", "--model", "echo=debug")
    with trunkcall.Client(server.url) as client:
        assert isinstance(client, openai.OpenAI)
        assert client.chat.completions.create(model="echo", messages=HELLO).choices[0].message.content == "hello"
        assert client.admin.add("a/b", "debug")["name"] == "a/b"
        assert [model["name"] for model in client.admin.models()["models"]] == ["echo", "a/b"]
        assert client.admin.show("a/b")["sources"] == ["debug"]
        assert client.admin.change("a/b", asleep=False)["name"] == "a/b"
        with pytest.raises(openai.BadRequestError, match="adapter"):
            client.admin.change("a/b", lora={"x": "/nowhere"})
        assert client.admin.remove("a/b") == {}
        (row,) = client.admin.usage("2026-01-31", by=("model", "protocol"))["rows"]
        assert (row["model"], row["requests"]) == ("echo", 1)
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.admin.show("a/b")


async def test_it_does_so_async_and_with_a_key(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve("--no-pocket", "--model", "echo=debug", env={"TRUNKCALL_KEYS": "env:THE_KEY", "THE_KEY": "sk-1"})
    async with trunkcall.AsyncClient(f"{server.url}/v1/", api_key="sk-1") as client:
        said = await client.chat.completions.create(model="echo", messages=HELLO)
        assert said.choices[0].message.content == "hello"
        assert [model["name"] for model in (await client.admin.models())["models"]] == ["echo"]
    async with trunkcall.AsyncClient(server.url) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.admin.models()
    monkeypatch.setenv("TRUNKCALL_API_KEY", "sk-1")
    async with trunkcall.AsyncClient(server.url) as client:
        assert (await client.admin.usage())["rows"]


def test_without_the_sdk_the_remedy_is_told() -> None:
    script = "import sys; sys.modules['openai'] = None\nimport trunkcall\ntry: trunkcall.Client\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "trunkcall.Client needs the package openai: pip install openai\n", done.stderr
