"""Servers that speak OpenAI's protocol elsewhere: Azure's paths, query and key, OpenRouter's headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backends.cloud_peer import Peer, peer
from protocols.cloud_cases import asked

from trunkcall.backends.openai import OpenAI, connect
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings
from trunkcall.core.requests import Embed, Secret, Wire

pytestmark = pytest.mark.anyio

STREAM = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
AZURE: dict[str, Any] = {"query": {"api-version": "2024-10-21"}, "key_header": "api-key"}


@pytest.fixture
async def upstream() -> AsyncIterator[Peer]:
    async with peer() as made:
        made.give(STREAM)
        yield made


def settings(**options: Any) -> ModelSettings:
    return ModelSettings(name="m", sources=(), key="env:VARIANT_KEY", options=options)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIANT_KEY", "the-key")


@pytest.mark.parametrize(
    ("path", "options", "target"),
    [
        ("/openai/deployments/d", AZURE, "/openai/deployments/d{}?api-version=2024-10-21"),
        ("", {**AZURE, "path": "/openai/v1/"}, "/openai/v1{}?api-version=2024-10-21"),
        ("/api/v1", {}, "/api/v1{}"),
        ("", {}, "/v1{}"),
        ("", {"path": ""}, "{}"),
        ("/v1", {"path": "root", "query": {"a b": "1&2"}}, "/root{}?a+b=1%262"),
    ],
)
async def test_where_requests_go(upstream: Peer, path: str, options: dict[str, Any], target: str) -> None:
    backend = connect(upstream.url + path, settings(**options), "theirs")
    meter = Meter("id", model="m", protocol="openai", stream=True)
    async with backend.forward(Wire("openai", "/chat/completions", [], BODY), meter) as answer:
        assert b"ok" in b"".join([piece async for piece in answer])
    async with backend.open(asked(), meter) as events:
        assert [event async for event in events]
    upstream.answers = []
    upstream.give(b'{"data":[{"embedding":[1.0],"index":0}]}')
    await backend.embed(Embed(model="m", inputs=("a",)), meter)
    await backend.aclose()
    assert [one.path for one in upstream.asked] == [
        target.format(route) for route in ("/chat/completions", "/chat/completions", "/embeddings")
    ]


@pytest.mark.parametrize("own", [False, True])
async def test_the_key_in_a_header_of_its_own(upstream: Peer, own: bool) -> None:
    backend = connect(upstream.url, settings(**AZURE), "theirs")
    meter = Meter("id", model="m", protocol="openai", stream=True)
    request = msgspec.structs.replace(asked(), credential=Secret("own-key") if own else None)
    async with backend.open(request, meter) as events:
        assert [event async for event in events]
    await backend.aclose()
    assert upstream.asked[0].headers["api-key"] == ("own-key" if own else "the-key")
    assert "authorization" not in upstream.asked[0].headers


async def test_extra_headers_in_both_lanes(upstream: Peer, tmp_path: Path) -> None:
    (tmp_path / "tenant").write_text("t-1\n", encoding="utf-8")
    headers = {"X-Title": "Trunkcall", "x-gateway-key": "env:VARIANT_KEY", "x-tenant": f"file:{tmp_path}/tenant"}
    backend = connect(upstream.url, settings(headers=headers), "theirs")
    meter = Meter("id", model="m", protocol="openai", stream=True)
    async with backend.forward(Wire("openai", "/chat/completions", [], BODY), meter) as answer:
        assert [piece async for piece in answer]
    own = msgspec.structs.replace(asked(), credential=Secret("own-key"))
    async with backend.open(own, meter) as events:
        assert [event async for event in events]
    await backend.aclose()
    for one, sent in zip(upstream.asked, ("the-key", "own-key"), strict=True):
        found = [one.headers[name] for name in ("x-title", "x-gateway-key", "x-tenant", "authorization")]
        assert found == ["Trunkcall", "the-key", "t-1", f"Bearer {sent}"]


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("http://host/v1?api-version=1", {}, "the option query"),
        ("http://host", {"headers": {"Host": "x"}}, "'Host' cannot be sent"),
        ("http://host", {"headers": {"x y": "1"}}, "headers"),
        ("http://host", {"headers": {"x": "a\r\nb: c"}}, "'x' cannot be sent"),
        ("http://host", {"headers": {"x": "env:NO_SUCH_VALUE"}}, "NO_SUCH_VALUE"),
        ("http://host", {"key_header": "api key"}, "key_header"),
        ("http://host", {"path": "a b"}, "path"),
        ("http://host", {"querry": {}}, "query"),
    ],
)
def test_settings_that_cannot_be(url: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        connect(url, settings(**options), "m")
    assert caught.value.kind == "bad_request"
    assert "b: c" not in caught.value.message


async def test_a_refused_key_names_the_setting(upstream: Peer) -> None:
    upstream.answers = []
    upstream.give(b'{"error":{"message":"wrong: the-key"}}', status=401)
    backend = connect(upstream.url, settings(**AZURE), "theirs")
    with pytest.raises(ServingError, match="check the model's `key`") as caught:
        async with backend.open(asked(), Meter("id", model="m", protocol="openai", stream=True)):
            pass
    await backend.aclose()
    assert caught.value.kind == "upstream_error"
    assert "the-key" not in f"{caught.value} {caught.value.upstream}"


NOT_FOUND = b'{"detail":"Not Found"}'
THEIR_ERROR = b'{"error":{"message":"no such model","type":"NotFoundError","param":null,"code":404}}'
EMBED = b'{"model":"m","input":"hi"}'


async def forwarded(backend: OpenAI, path: str, body: bytes) -> tuple[int, bytes]:
    meter = Meter("id", model="m", protocol="openai", stream=False)
    async with backend.forward(Wire("openai", path, [], body), meter) as answer:
        return answer.status, b"".join([piece async for piece in answer])


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("configured", "says"), [(True, "check the model's `key`"), (False, "set the model's `key`")])
async def test_a_refusal_of_our_key_is_not_passed_on(upstream: Peer, status: int, configured: bool, says: str) -> None:
    upstream.answers = []
    upstream.give(b'{"error":{"message":"wrong: the-key"}}', status=status)
    known = settings() if configured else ModelSettings(name="m", sources=())
    backend = connect(upstream.url, known, "theirs")
    for path, body in (("/chat/completions", BODY), ("/embeddings", EMBED)):
        with pytest.raises(ServingError, match=says) as caught:
            await forwarded(backend, path, body)
        assert (caught.value.kind, caught.value.status) == ("upstream_error", 502)
        assert "wrong: " in caught.value.message
        assert not configured or "the-key" not in f"{caught.value} {caught.value.upstream}"
    await backend.aclose()


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("body", [NOT_FOUND, b"<html>nothing here</html>", b""])
async def test_an_upstream_without_embeddings_says_so(upstream: Peer, status: int, body: bytes) -> None:
    upstream.answers = []
    upstream.give(body, status=status)
    backend = connect(upstream.url, settings(), "theirs")
    meter = Meter("id", model="m", protocol="openai", stream=False)
    for ask in (forwarded(backend, "/embeddings", EMBED), backend.embed(Embed(model="m", inputs=("hi",)), meter)):
        with pytest.raises(ServingError, match="gives no embeddings") as caught:
            await ask
        assert (caught.value.kind, caught.value.param) == ("unsupported", "model")
    await backend.aclose()


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("/embeddings", 404, THEIR_ERROR),
        ("/embeddings", 400, NOT_FOUND),
        ("/chat/completions", 404, NOT_FOUND),
        ("/chat/completions", 429, THEIR_ERROR),
    ],
)
async def test_other_refusals_pass_as_they_are(upstream: Peer, path: str, status: int, answer: bytes) -> None:
    upstream.answers = []
    upstream.give(answer, status=status)
    backend = connect(upstream.url, settings(), "theirs")
    assert await forwarded(backend, path, EMBED) == (status, answer)
    await backend.aclose()
