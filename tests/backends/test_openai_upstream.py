"""What an upstream is asked beside the lanes: with whose key, for which model, and how many tokens a prompt has."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from trunkcall.backends.openai import OpenAI
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Text
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Counts
from trunkcall.core.requests import Count, Generate, Message, MessagesPrompt, Secret, TextPart, TextPrompt, Tokens
from trunkcall.protocols import openai as codec

pytestmark = pytest.mark.anyio

CHUNK = b'{"id":"1","model":"m","created":1,"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]}'
STREAM = b"data: %b\n\ndata: [DONE]\n\n" % CHUNK
TURN = MessagesPrompt((Message("user", (TextPart("hi"),)),))


class Upstream:
    """A loopback server that gives one answer to all requests and keeps what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = STREAM
        self.headers = b""
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        """(path, headers with lower-case names, body)."""
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.asked.append((head[0].split()[1], headers, json.loads(body)))
        kind = b"text/event-stream" if self.body.startswith(b"data:") else b"application/json"
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
            % (self.status, kind, len(self.body), self.headers, self.body)
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    async with server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


@pytest.fixture
async def backend(upstream: Upstream) -> AsyncIterator[OpenAI]:
    made = OpenAI(f"{upstream.url}/v1", "theirs", "configured-key")
    yield made
    await made.aclose()


def chat(**changes: Any) -> Generate:
    request = codec.read_chat(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    return msgspec.structs.replace(request, **changes)


async def said(backend: OpenAI, request: Generate) -> tuple[list[Event], Meter]:
    meter = Meter("id", model="m", protocol="kuwa", stream=True)
    async with backend.open(request, meter) as events:
        return [event async for event in events], meter


@pytest.mark.parametrize(
    ("credential", "sent"),
    [(None, "Bearer configured-key"), (Secret("own-key"), "Bearer own-key"), (Secret(" own-key\n"), "Bearer own-key")],
)
async def test_the_callers_key_goes_out_instead_of_ours(
    upstream: Upstream, backend: OpenAI, credential: Secret | None, sent: str
) -> None:
    events, _ = await said(backend, chat(credential=credential))
    assert Text(0, "ok") in events
    assert upstream.asked[0][1]["authorization"] == sent
    await said(backend, chat())
    assert upstream.asked[1][1]["authorization"] == "Bearer configured-key"


async def test_a_key_reaches_an_upstream_that_needs_none_otherwise(upstream: Upstream) -> None:
    keyless = OpenAI(f"{upstream.url}/v1", "theirs")
    await said(keyless, chat())
    await said(keyless, chat(credential=Secret("own-key")))
    await keyless.aclose()
    assert [headers.get("authorization") for _, headers, _ in upstream.asked] == [None, "Bearer own-key"]


@pytest.mark.parametrize("text", ["", " ", "two words", "a\r\nX-Other: 1", "schlüssel"])
async def test_a_key_that_no_header_can_carry(
    upstream: Upstream, backend: OpenAI, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ServingError, match="send another") as caught:
        await said(backend, chat(credential=Secret(text)))
    assert caught.value.kind == "unauthenticated"
    assert upstream.asked == []
    if text.strip():
        assert text not in f"{caught.value.message} {caught.value.detail} {caplog.text}"


@pytest.mark.parametrize(
    ("status", "error", "own", "kind"),
    [
        (401, {"message": "Incorrect API key: own-key", "code": "invalid_api_key"}, True, "unauthenticated"),
        (403, {"message": "own-key may not"}, True, "forbidden"),
        (401, {"message": "Incorrect API key"}, False, "upstream_error"),
        (429, {"message": "own-key: no money", "code": "insufficient_quota"}, True, "quota"),
        (500, {"message": "own-key"}, True, "upstream_error"),
    ],
)
async def test_a_refused_key_is_the_callers_fault_when_it_is_the_callers_key(
    upstream: Upstream, backend: OpenAI, status: int, error: dict[str, str], own: bool, kind: str
) -> None:
    upstream.status, upstream.body = status, json.dumps({"error": error}).encode()
    with pytest.raises(ServingError) as caught:
        await said(backend, chat(credential=Secret("own-key") if own else None))
    assert caught.value.kind == kind
    assert caught.value.upstream is not None and caught.value.upstream[0] == status
    assert "own-key" not in f"{caught.value} {caught.value.upstream}"


@pytest.mark.parametrize(
    ("own", "asked"),
    [(b'"gpt-4o"', "gpt-4o"), (b'"org/model:7b"', "org/model:7b"), (b"null", "theirs"), (b'""', "theirs")],
)
async def test_a_request_may_name_another_model(upstream: Upstream, backend: OpenAI, own: bytes, asked: str) -> None:
    request = chat(extra={"kuwa": {"llm_model": Raw(own), "llm_odd": Raw(b"1")}})
    _, meter = await said(backend, request)
    assert upstream.asked[0][2]["model"] == asked
    assert meter.dropped == ("llm_odd",)
    _, meter = await said(backend, chat(extra={"openai": {"llm_model": Raw(own)}}))
    assert (upstream.asked[1][2]["model"], meter.dropped) == ("theirs", ())


@pytest.mark.parametrize("own", [b"5", b'["a"]', b"{}"])
async def test_a_model_that_is_no_name(upstream: Upstream, backend: OpenAI, own: bytes) -> None:
    with pytest.raises(ServingError, match="llm_model: expected the name of a model") as caught:
        await said(backend, chat(extra={"kuwa": {"llm_model": Raw(own)}}))
    assert (caught.value.kind, caught.value.param, upstream.asked) == ("bad_request", "llm_model", [])


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (Count(model="m", prompt=TURN), {"messages": [{"role": "user", "content": "hi"}]}),
        (Count(model="m", prompt=TextPrompt(("hi",))), {"prompt": "hi", "add_special_tokens": True}),
        (Count(model="m", prompt=TextPrompt(("",)), special=False), {"prompt": "", "add_special_tokens": False}),
    ],
)
@pytest.mark.parametrize(("prefix", "path"), [("/v1", "/tokenize"), ("/a/v1/", "/a/tokenize"), ("/b", "/b/tokenize")])
async def test_tokens_are_asked_for_beside_v1(
    upstream: Upstream, count: Count, body: dict[str, Any], prefix: str, path: str
) -> None:
    upstream.body = b'{"count":2,"max_model_len":64,"tokens":[7,300],"token_strs":null}'
    backend = OpenAI(upstream.url + prefix, "theirs", "configured-key")
    assert isinstance(backend, Counts)
    assert await backend.count(count) == Tokens(2, (7, 300), 64)
    await backend.aclose()
    found, headers, asked = upstream.asked[0]
    assert (found, headers["authorization"]) == (path, "Bearer configured-key")
    assert asked == {"model": "theirs", **body}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (404, b'{"detail":"Not Found"}', "unsupported", "does not count tokens.*Not Found"),
        (405, b"", "unsupported", "does not count tokens"),
        (501, b"no", "unsupported", "does not count tokens"),
        (404, b'{"error":{"message":"who?","code":"model_not_found"}}', "no_model", "who"),
        (200, b'{"tokens":[]}', "unsupported", "as vLLM does"),
        (200, b"<html>", "unsupported", "as vLLM does"),
        (401, b"{}", "upstream_error", "401"),
        (500, b"{}", "upstream_error", "500"),
    ],
)
async def test_an_upstream_that_counts_no_tokens(
    upstream: Upstream, backend: OpenAI, status: int, body: bytes, kind: str, says: str
) -> None:
    upstream.status, upstream.body = status, body
    with pytest.raises(ServingError, match=says) as caught:
        await backend.count(Count(model="m", prompt=TURN))
    assert caught.value.kind == kind


async def test_several_texts_are_not_counted_at_once(upstream: Upstream, backend: OpenAI) -> None:
    with pytest.raises(ServingError, match="one text at a time") as caught:
        await backend.count(Count(model="m", prompt=TextPrompt(("a", "b"))))
    assert (caught.value.kind, caught.value.param, upstream.asked) == ("bad_request", "prompt", [])


@pytest.mark.parametrize(("lost", "text"), [(b"", " be"), (b"x-trunkcall-dropped: echo\r\n", "to be")])
async def test_an_answer_is_no_echo_where_the_upstream_gives_none(
    upstream: Upstream, backend: OpenAI, lost: bytes, text: str
) -> None:
    tokens = {"tokens": ["to", " be"], "token_logprobs": [-1.0, -2.0], "top_logprobs": None, "text_offset": [0, 2]}
    chunk = {"choices": [{"index": 0, "text": "to be", "logprobs": tokens, "finish_reason": "stop"}]}
    upstream.body = (
        b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"id": "1", "model": "m", "created": 1, **chunk}).encode()
    )
    upstream.headers = lost
    request = codec.read_completion(b'{"model":"m","prompt":"to","echo":true,"logprobs":1}')
    events, meter = await said(backend, request)
    assert "".join(event.text for event in events if isinstance(event, Text)) == text
    told = [one.token for event in events if isinstance(event, Text) for one in event.logprobs or ()]
    assert "".join(told) == text
    assert meter.dropped == (("echo",) if lost else ())
