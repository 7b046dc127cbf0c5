"""`trunkcall.Client`: the official client, and administration."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import openai
import pytest
from running import eventually

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
        # The journal is written every 50 ms.
        (row,) = eventually(lambda: client.admin.usage("2026-01-31", by=("model", "protocol"))["rows"])
        assert (row["model"], row["requests"]) == ("echo", 1)
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.admin.show("a/b")


def test_it_administers_keys_records_and_engines(serve: Callable[..., Any]) -> None:
    server = serve()
    with trunkcall.Client(server.url) as client:
        admin = client.admin
        assert admin.add("two", ["debug", "dummy"], ttl="10m")["sources"] == ["debug", "dummy"]
        assert admin.change("two", settings={"slots": 3, "ttl": None})["name"] == "two"
        client.chat.completions.create(model="two", messages=HELLO)
        client.chat.completions.create(model="pocket", messages=HELLO, max_tokens=3)
        assert admin.restart("pocket", "pocket/0")["replicas"][0]["state"] == "ready"
        assert admin.drain("pocket")["replicas"][0]["state"] == "draining"
        assert admin.load("pocket")["replicas"][0]["state"] == "ready"
        assert admin.unload("pocket")["replicas"][0]["state"] == "off"
        assert admin.logs("pocket", lines=3)["logs"][0]["replica"] == "pocket/0"
        page = admin.requests(limit=1)
        (story,) = page["requests"]
        assert (story["model"], admin.request(story["id"])["id"]) == ("pocket", story["id"])
        assert admin.requests(limit=5, model="two", before=page["next"])["requests"][0]["model"] == "two"
        assert admin.status()["models"] and admin.settings()["settings"] and admin.reload()["restart"] == []
        made = admin.create_key("ops", role="admin", tokens_per_day=5)
    with trunkcall.Client(server.url, api_key=made["secret"]) as client:
        assert client.admin.change_key("ops", tokens_per_day=None)["entry"]["tokens_per_day"] is None
        assert [one["entry"]["name"] for one in client.admin.keys()["keys"]] == ["ops"]
        assert client.admin.create_key("app")["key"]["disabled"] is False
        assert client.admin.revoke_key("app") == {}


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
        # The journal is written every 50 ms.
        async with asyncio.timeout(30):
            while not (await client.admin.usage())["rows"]:
                await asyncio.sleep(0.05)


def test_without_the_sdk_the_remedy_is_told() -> None:
    script = "import sys; sys.modules['openai'] = None\nimport trunkcall\ntry: trunkcall.Client\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "trunkcall.Client needs the package openai: pip install openai\n", done.stderr
