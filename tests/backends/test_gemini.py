"""The Gemini backend against a server in Google's place: whose key, which route, several requests, who leaves."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from backends.cloud_peer import Peer, golden, peer
from protocols.cloud_cases import asked, called, recorded
from running import Server

from trunkcall.backends.cloud import Place
from trunkcall.backends.gemini import Gemini, connect
from trunkcall.backends.upstream import UpstreamOptions
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.ports import Counts, Embeds, Generates
from trunkcall.core.requests import Count, Embed, Generate, Secret, TextPrompt, Tokens, Vectors
from trunkcall.testing import check_events

pytestmark = pytest.mark.anyio


@pytest.fixture
async def google() -> AsyncIterator[Peer]:
    async with peer() as made:
        yield made


@pytest.fixture
async def backend(google: Peer) -> AsyncIterator[Gemini]:
    made = Gemini(Place(google.url, "/v1beta", "gemini-3-flash"), "the-key", UpstreamOptions())
    yield made
    await made.aclose()


async def said(backend: Gemini, request: Generate) -> tuple[list[Event], Meter]:
    meter = Meter("id", model="m", protocol="openai", stream=True)
    async with backend.open(request, meter) as events:
        return [event async for event in events], meter


async def test_asks_as_googles_package_does(google: Peer, backend: Gemini) -> None:
    google.give(golden("gemini/text"))
    events, meter = await said(backend, asked(user="u"))
    check_events(events)
    assert [event for event in events if isinstance(event, Text)] == [Text(0, "Grüße"), Text(0, ", Welt")]
    assert meter.dropped == ("user",)
    path, headers, body = recorded("gemini")["plain"]
    found = google.asked[0]
    assert (found.path, found.body) == (path, body)
    assert {name: found.headers[name] for name in headers} == headers
    assert "authorization" not in found.headers
    assert isinstance(backend, (Generates, Embeds, Counts))


async def test_vectors_and_counts(google: Peer, backend: Gemini) -> None:
    google.give(b'{"embeddings":[{"values":[1.0,0.5]},{"values":[0.0,-1.0]}]}')
    google.give(b'{"totalTokens":3}')
    meter = Meter("id", model="m", protocol="openai", stream=False)
    assert await backend.embed(Embed(model="m", inputs=("a", "b"), dimensions=2, user="u"), meter) == Vectors(
        ((1.0, 0.5), (0.0, -1.0)), 0
    )
    assert meter.dropped == ("user",)
    assert (await backend.count(Count(model="m", prompt=TextPrompt(("hello",))))) == Tokens(3)
    paths = [one.path for one in google.asked]
    assert paths == [f"/v1beta/models/gemini-3-flash:{name}" for name in ("batchEmbedContents", "countTokens")]


async def test_what_vectors_cannot_have_is_told_to_who_asked(google: Peer, tmp_path: Path) -> None:
    google.give(b'{"embeddings":[{"values":[1.0,0.5]}]}')
    server = Server("--no-pocket", "--model", f"cloud=gemini:{google.url}#e", home=tmp_path)
    try:
        await asyncio.to_thread(server.wait_ready)
        body = {"model": "cloud", "input": "a", "user": "u"}
        ask = partial(asyncio.to_thread, server.post, "/v1/embeddings")
        status, headers, answer = await ask(body)
        assert (status, answer["data"][0]["embedding"]) == (200, [1.0, 0.5])
        assert headers["x-trunkcall-dropped"] == "user"
        status, _, answer = await ask(body, **{"x-trunkcall-strict": "1"})
        assert (status, answer["error"]["param"]) == (400, "user")
        status, headers, _ = await ask({"model": "cloud", "input": "a"}, **{"x-trunkcall-strict": "1"})
        assert status == 200 and "x-trunkcall-dropped" not in headers
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize(("credential", "sent"), [(None, "the-key"), (Secret(" own-key\n"), "own-key")])
async def test_the_callers_key_goes_out_instead_of_ours(
    google: Peer, backend: Gemini, credential: Secret | None, sent: str
) -> None:
    google.give(golden("gemini/text"))
    await said(backend, msgspec.structs.replace(asked(), credential=credential))
    assert google.asked[0].headers["x-goog-api-key"] == sent
    assert sent not in google.asked[0].path


BAD_KEY = {"code": 400, "status": "INVALID_ARGUMENT", "message": "the-key own-key not valid"} | {
    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
}


@pytest.mark.parametrize(
    ("status", "error", "own", "kind", "says"),
    [
        (400, BAD_KEY, True, "unauthenticated", "send another one"),
        (400, BAD_KEY, False, "upstream_error", "check the model's `key`"),
        (403, {"status": "PERMISSION_DENIED", "message": "own-key"}, True, "forbidden", "send another one"),
        (404, {"status": "NOT_FOUND", "message": "models/x is not found"}, False, "no_model", "not found"),
        (429, {"status": "RESOURCE_EXHAUSTED", "message": "slow down"}, False, "rate_limited", "slow down"),
        (503, {"status": "UNAVAILABLE", "message": "overloaded"}, True, "overloaded", "overloaded"),
    ],
)
async def test_refusals(
    google: Peer, backend: Gemini, status: int, error: dict[str, Any], own: bool, kind: str, says: str
) -> None:
    google.give(json.dumps({"error": error}).encode(), status=status, headers={"retry-after": "9"})
    with pytest.raises(ServingError, match=says) as caught:
        await said(backend, msgspec.structs.replace(asked(), credential=Secret("own-key") if own else None))
    assert caught.value.kind == kind
    key = "own-key" if own else "the-key"
    assert key not in f"{caught.value} {caught.value.upstream}"
    assert caught.value.retry_after == (9.0 if kind in ("no_model", "rate_limited", "overloaded") else None)


async def test_a_model_without_a_key_says_what_to_do(google: Peer) -> None:
    keyless = Gemini(Place(google.url, "/v1beta", "g"), "", UpstreamOptions())
    google.give(b'{"error":{"status":"PERMISSION_DENIED","message":"unregistered callers"}}', status=403)
    with pytest.raises(ServingError, match="set the model's `key`"):
        await said(keyless, asked())
    await keyless.aclose()
    assert "x-goog-api-key" not in google.asked[0].headers


async def test_an_answer_in_several_requests(google: Peer, backend: Gemini) -> None:
    google.give(golden("gemini/continued"))
    google.give(golden("gemini/text"))
    events, _ = await said(backend, asked())
    check_events(events)
    assert "".join(event.text for event in events if isinstance(event, Text)) == "one twoGrüße, Welt"
    assert events[-1] == Usage(5, 6, None, None)
    assert google.asked[1].body == recorded("gemini")["continued"][2]


async def test_an_upstream_that_never_comes_to_an_end(google: Peer, backend: Gemini) -> None:
    google.give(golden("gemini/continued"))
    events, _ = await said(backend, asked())
    assert "ended early" in repr(events[-1])
    assert len(google.asked) == 64


async def test_several_answers_are_not_streamed(google: Peer, backend: Gemini) -> None:
    one = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
    google.give(json.dumps({"candidates": [one, one | {"index": 1}]}).encode())
    events, _ = await said(backend, asked(n=2))
    assert [event.index for event in events if isinstance(event, Finish)] == [0, 1]
    assert google.asked[0].path.endswith("gemini-3-flash:generateContent")


async def test_a_call_goes_back_with_its_signature(google: Peer, backend: Gemini) -> None:
    google.give(golden("gemini/thinking_tools"))
    await said(backend, asked())
    await said(backend, asked(called("fc-1", "fc-2")))
    parts = google.asked[1].body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["c2lnbmVk", None]


@pytest.mark.parametrize("pieces", [1, 2])
async def test_leaving_closes_the_connection(google: Peer, backend: Gemini, pieces: int) -> None:
    start = golden("gemini/text").split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    google.give(start, held=True)
    meter = Meter("id", model="m", protocol="openai", stream=True)
    async with backend.open(asked(), meter) as events:
        for _ in range(pieces):
            await anext(events)
    await asyncio.wait_for(google.left.wait(), 20)


async def test_health(google: Peer, backend: Gemini) -> None:
    google.give(b'{"models":[{"name":"models/gemini-3-flash"}]}')
    assert (await backend.health()).models == ("gemini-3-flash",)
    google.answers = []
    google.give(b"{}", status=403)
    health = await backend.health()
    assert (health.ok, "403" in health.reason) == (False, True)
    assert google.asked[0].path == "/v1beta/models?pageSize=1000"


async def test_over_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with peer(server) as made:
        made.give(golden("gemini/text"))
        trusting = Gemini(Place(made.url, "/v1beta", "g"), "k", UpstreamOptions(), tls=client)
        events, _ = await said(trusting, asked())
        await trusting.aclose()
        assert events[-1] == Usage(4, 3, 2)


@pytest.mark.parametrize(
    ("target", "model", "path"),
    [
        ("gemini-flash-latest", "", "/v1beta/models/gemini-flash-latest"),
        ("", "", "/v1beta/models/mine"),
        ("URL", "g", "/v1beta/models/g"),
        ("URL/v1", "g", "/v1/models/g"),
        ("URL/v1/", "tunedModels/a b", "/v1/tunedModels/a%20b"),
        ("URL", "models/g", "/v1beta/models/g"),
    ],
)
async def test_sources(google: Peer, monkeypatch: pytest.MonkeyPatch, target: str, model: str, path: str) -> None:
    monkeypatch.setattr("trunkcall.backends.gemini._GOOGLE", Place(google.url, "/v1beta", ""))
    monkeypatch.setenv("GEMINI_API_KEY", "of-the-environment")
    settings = ModelSettings(name="mine", sources=(Source("gemini", target, model),))
    backend = connect(target.replace("URL", google.url), settings, model)
    google.give(golden("gemini/text"))
    await said(backend, asked())
    await backend.aclose()
    assert google.asked[0].path == f"{path}:streamGenerateContent?alt=sse"
    assert google.asked[0].headers["x-goog-api-key"] == "of-the-environment"


@pytest.mark.parametrize(
    ("target", "model", "more", "says"),
    [
        ("gemini-3-flash", "other", {}, "not the URL"),
        ("https://u:p@host", "g", {}, "not the URL"),
        ("https://host/v1?key=x", "g", {}, "not the URL"),
        ("g", "", {"key": "env:NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ("g", "", {"options": {"idle": 1}}, "idle_timeout"),
    ],
)
def test_settings_that_cannot_be(target: str, model: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        connect(target, ModelSettings(name="m", sources=(), **more), model)
    assert caught.value.kind == "bad_request"


async def test_the_environments_key_goes_to_google_only(google: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "of-the-environment")
    backend = connect(google.url, ModelSettings(name="m", sources=()), "g")
    google.give(golden("gemini/text"))
    await said(backend, asked())
    await backend.aclose()
    assert "x-goog-api-key" not in google.asked[0].headers
