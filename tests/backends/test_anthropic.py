"""The Anthropic backend against a server in its place: whose key, which version, errors, who leaves."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trustme
from backends.cloud_peer import Peer, golden, peer
from protocols.cloud_cases import asked, recorded

from trunkcall.backends.anthropic import Anthropic, AnthropicOptions, connect
from trunkcall.backends.cloud import Place
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Text
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings
from trunkcall.core.ports import Generates
from trunkcall.core.requests import Generate, Secret
from trunkcall.testing import check_events

pytestmark = pytest.mark.anyio


@pytest.fixture
async def claude() -> AsyncIterator[Peer]:
    async with peer() as made:
        yield made


@pytest.fixture
async def backend(claude: Peer) -> AsyncIterator[Anthropic]:
    made = Anthropic(Place(claude.url, "/v1", "claude-opus-5-5"), "the-key", AnthropicOptions())
    yield made
    await made.aclose()


async def said(backend: Anthropic, request: Generate) -> tuple[list[Event], Meter]:
    meter = Meter("id", model="m", protocol="openai", stream=False)
    async with backend.open(request, meter) as events:
        return [event async for event in events], meter


async def test_asks_as_anthropics_package_does(claude: Peer, backend: Anthropic) -> None:
    claude.give(golden("anthropic/text"))
    events, meter = await said(backend, asked(seed=1))
    check_events(events)
    assert "".join(event.text for event in events if isinstance(event, Text)) == "Grüße, Welt"
    assert meter.dropped == ("seed",)
    path, headers, body = recorded("anthropic")["plain"]
    found = claude.asked[0]
    assert (found.path, found.body) == (path, body)
    assert {name: found.headers[name] for name in headers} == headers
    assert isinstance(backend, Generates)


async def test_the_version_that_takes_sampling_has_its_own_header_for_the_key(claude: Peer) -> None:
    settings = ModelSettings(name="m", sources=(), options={"version": "2023-06-01"})
    backend = connect(claude.url, settings, "claude")
    claude.give(golden("anthropic/text"))
    request = msgspec.structs.replace(asked(temperature=0.5), credential=Secret("own-key"))
    _, meter = await said(backend, request)
    await backend.aclose()
    found = claude.asked[0]
    assert (found.headers["x-api-key"], found.headers["anthropic-version"]) == ("own-key", "2023-06-01")
    assert "authorization" not in found.headers
    assert (found.body["temperature"], meter.dropped) == (0.5, ())


@pytest.mark.parametrize(
    ("status", "type_", "own", "kind", "says"),
    [
        (401, "authentication_error", True, "unauthenticated", "send another one"),
        (401, "authentication_error", False, "upstream_error", "check the model's `key`"),
        (403, "permission_error", True, "forbidden", "send another one"),
        (404, "not_found_error", False, "no_model", "said"),
        (429, "rate_limit_error", False, "rate_limited", "said"),
        (529, "overloaded_error", True, "overloaded", "said"),
    ],
)
async def test_refusals(
    claude: Peer, backend: Anthropic, status: int, type_: str, own: bool, kind: str, says: str
) -> None:
    error = {"type": "error", "error": {"type": type_, "message": "said of own-key and the-key"}}
    claude.give(json.dumps(error).encode(), status=status, headers={"retry-after": "12"})
    with pytest.raises(ServingError, match=says) as caught:
        await said(backend, msgspec.structs.replace(asked(), credential=Secret("own-key") if own else None))
    assert caught.value.kind == kind
    assert ("own-key" if own else "the-key") not in f"{caught.value} {caught.value.upstream}"
    assert caught.value.retry_after == (12.0 if status in (404, 429, 529) else None)


@pytest.mark.parametrize("text", ["", "two words", "a\r\nX-Other: 1", "schlüssel"])
async def test_a_key_that_no_header_can_carry(claude: Peer, backend: Anthropic, text: str) -> None:
    with pytest.raises(ServingError, match="send another") as caught:
        await said(backend, msgspec.structs.replace(asked(), credential=Secret(text)))
    assert (caught.value.kind, claude.asked) == ("unauthenticated", [])


async def test_an_error_in_the_middle(claude: Peer, backend: Anthropic) -> None:
    claude.give(golden("anthropic/overloaded"))
    events, _ = await said(backend, asked())
    assert isinstance(events[-1], Fault)
    assert events[-1].error.kind == "overloaded"


async def test_an_answer_goes_back_with_its_thoughts(claude: Peer, backend: Anthropic) -> None:
    claude.give(golden("anthropic/thinking_tools"))
    events, _ = await said(backend, asked())
    assert events[-1] == Finish(0, "tool_calls")
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in (("toolu_1", "get_weather", '{"place":"Paris"}'), ("toolu_2", "get_time", "{}"))
    ]
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "Looking.", "tool_calls": calls},
        *({"role": "tool", "tool_call_id": id, "content": "x"} for id in ("toolu_1", "toolu_2")),
    ]
    await said(backend, asked(turns))
    kinds = [block["type"] for block in claude.asked[1].body["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]


async def test_leaving_closes_the_connection(claude: Peer, backend: Anthropic) -> None:
    start = b"\n\n".join(golden("anthropic/text").split(b"\n\n")[:4]) + b"\n\n"
    claude.give(start, held=True)
    meter = Meter("id", model="m", protocol="openai", stream=True)
    async with backend.open(asked(), meter) as events:
        await anext(events)
        await anext(events)
    await asyncio.wait_for(claude.left.wait(), 20)


async def test_health(claude: Peer, backend: Anthropic) -> None:
    claude.give(b'{"data":[{"id":"claude-opus-5-5"}]}')
    assert (await backend.health()).models == ("claude-opus-5-5",)
    assert claude.asked[0].path == "/v1/models?limit=1000"
    claude.answers = []
    claude.give(b"no")
    assert not (await backend.health()).ok


async def test_over_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with peer(server) as made:
        made.give(golden("anthropic/text"))
        trusting = Anthropic(Place(made.url, "/v1", "c"), "k", AnthropicOptions(), tls=client)
        events, _ = await said(trusting, asked())
        await trusting.aclose()
        assert events[-1] == Finish(0, "stop", "!")


@pytest.mark.parametrize(
    ("target", "model", "more", "says"),
    [
        ("claude", "other", {}, "not the URL"),
        ("claude", "", {"key": "file:/no/such/file"}, "no/such/file"),
        ("claude", "", {"options": {"version": "latest"}}, "version"),
    ],
)
def test_settings_that_cannot_be(target: str, model: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        connect(target, ModelSettings(name="m", sources=(), **more), model)
    assert caught.value.kind == "bad_request"


@pytest.mark.parametrize(("official", "sent"), [(True, "Bearer of-the-environment"), (False, None)])
async def test_the_environments_key_goes_to_anthropic_only(
    claude: Peer, monkeypatch: pytest.MonkeyPatch, official: bool, sent: str | None
) -> None:
    if official:
        monkeypatch.setattr("trunkcall.backends.anthropic._ANTHROPIC", Place(claude.url, "/v1", ""))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "of-the-environment")
    backend = connect("claude" if official else claude.url, ModelSettings(name="m", sources=()), "")
    claude.give(golden("anthropic/text"))
    await said(backend, asked())
    await backend.aclose()
    assert claude.asked[0].headers.get("authorization") == sent
    assert claude.asked[0].body["model"] == ("claude" if official else "m")
