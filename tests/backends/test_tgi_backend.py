"""Calling TGI servers of several versions: what they are asked, and what their answers become."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from backends.tgi_peer import TOTAL, tgi
from backends.tgi_peer import Tgi as Peer

from trunkcall.backends.tgi import Tgi, connect
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, PromptTokens, Start, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.requests import (
    Count,
    Format,
    Generate,
    Message,
    MessagesPrompt,
    Reporting,
    Sampling,
    Secret,
    Shape,
    Stops,
    TextPart,
    TextPrompt,
    TokenPrompt,
    Wire,
)

pytestmark = pytest.mark.anyio

VERSIONS = ("0.8.2", "1.1.0", "1.4.5", "2.4.1", "3.3.7")
TEXT = TextPrompt(("The capital",))
CHAT = MessagesPrompt((Message("user", (TextPart("Hi"),)),))


def meter() -> Meter:
    return Meter("r", model="m", protocol="openai", stream=True)


def asking(prompt: Any = TEXT, **more: Any) -> Generate:
    return Generate(model="m", prompt=prompt, **more)


@asynccontextmanager
async def backend(peer: Peer, adapter: str = "", key: str = "", **options: Any) -> AsyncGenerator[Tgi]:
    settings = ModelSettings(name="m", sources=(Source("tgi", peer.url),), options=options, key=key)
    made = connect(peer.url, settings, adapter)
    try:
        yield made
    finally:
        await made.aclose()


async def events(server: Tgi, request: Generate, note: Meter | None = None) -> list[Event]:
    async with server.open(request, note or meter()) as told:
        return [event async for event in told]


def text_of(told: list[Event]) -> str:
    return "".join(event.text for event in told if isinstance(event, Text))


async def failure(server: Tgi, request: Generate) -> ServingError:
    with pytest.raises(ServingError) as caught:
        await events(server, request)
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_version_streams_its_tokens(version: str) -> None:
    async with tgi(version) as peer, backend(peer) as server:
        top = version >= "1"
        request = asking(reporting=Reporting(stream=True, logprobs=2, token_ids=True), sampling=Sampling(max_tokens=9))
        note = meter()
        told = await events(server, request, note)
        start, *texts = [event for event in told if isinstance(event, Start | Text)]
        assert isinstance(start, Start) and start.id
        assert [text.token_ids for text in texts if isinstance(text, Text)] == [(10,), (11,), (2,)]
        first, _, last = [text.logprobs[0] for text in texts if isinstance(text, Text) and text.logprobs]
        assert (first.token, first.logprob, first.id, first.special) == (" Pa", -0.25, 10, False)
        assert [other.id for other in first.top] == ([10, 99] if top else [])
        assert (last.id, last.special) == (2, True)
        assert text_of(told) == " Paris"
        assert [event for event in told if isinstance(event, Finish)] == [Finish(0, "stop")]
        usage = [event for event in told if isinstance(event, Usage)]
        counted = version >= "1.4"
        assert usage == ([Usage(11, 3)] if counted else []), "older ones tell the prompt's tokens nowhere"
        (asked,) = peer.asked_at("/generate_stream")
        assert asked.body["parameters"]["details"] is True
        assert note.dropped == ()


@pytest.mark.parametrize(
    ("version", "expected"), [("0.8.2", TOTAL - 11 - 8), ("1.4.5", TOTAL - 11), ("2.4.1", TOTAL - 11), ("3.3.7", None)]
)
async def test_an_answer_may_be_as_long_as_fits(version: str, expected: int | None) -> None:
    async with tgi(version) as peer, backend(peer) as server:
        await events(server, asking())
        (asked,) = peer.asked_at("/generate_stream")
        assert asked.body["parameters"].get("max_new_tokens") == expected
        await events(server, asking(sampling=Sampling(max_tokens=3)))
        assert peer.asked[-1].body["parameters"]["max_new_tokens"] == 3
        assert len(peer.asked_at("/info")) == 1, "remembered"
        assert len(peer.asked_at("/tokenize")) == {"0.8.2": 1, "3.3.7": 0}.get(version, 2)


async def test_the_parameters_and_what_cannot_be_said() -> None:
    async with tgi("3.3.7") as peer, backend(peer) as server:
        note = meter()
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        request = asking(
            sampling=Sampling(
                temperature=0.5, top_p=1.0, top_k=5, typical_p=0.9, min_p=0.1, seed=4, n=2, presence_penalty=1.0
            ),
            stops=Stops(strings=("x",)),
            shape=Shape(format=Format("schema", schema=schema)),
        )
        told = await events(server, request, note)
        assert [event.index for event in told if isinstance(event, Finish)] == [0, 1]
        first, second = [one.body["parameters"] for one in peer.asked_at("/generate_stream")]
        assert first == {
            "do_sample": True,
            "temperature": 0.5,
            "top_k": 5,
            "typical_p": 0.9,
            "seed": 4,
            "stop": ["x"],
            "grammar": {"type": "json", "value": schema},
            "details": True,
        }
        assert second["seed"] == 5
        assert set(note.dropped) == {"min_p", "presence_penalty"}


async def test_stop_strings_are_cut_or_kept() -> None:
    async with tgi("3.3.7") as peer, backend(peer) as server:
        peer.say = [(1, "a ", -1.0, False), (2, "bc", -1.0, False), (3, "d!", -1.0, False)]
        peer.reason = "stop_sequence"
        cut = await events(server, asking(stops=Stops(strings=("cd!",))))
        assert (text_of(cut), cut[-2]) == ("a b", Finish(0, "stop", "cd!"))
        kept = await events(server, asking(stops=Stops(strings=("cd!",), include=True)))
        assert (text_of(kept), kept[-2]) == ("a bcd!", Finish(0, "stop", "cd!"))


@pytest.mark.parametrize("version", ["1.1.0", "3.3.7"])
async def test_the_probabilities_of_a_prompt_come_whole(version: str) -> None:
    async with tgi(version) as peer, backend(peer) as server:
        told = await events(server, asking(TextPrompt(("ab",)), reporting=Reporting(logprobs=0, prompt_logprobs=True)))
        (prompt,) = [event for event in told if isinstance(event, PromptTokens)]
        assert [(one.id, one.token) for one in prompt.tokens] == [(97, "a"), (98, "b")]
        assert prompt.tokens[1].logprob == -1.5
        assert peer.asked_at("/generate")[0].body["parameters"]["decoder_input_details"] is True
        assert text_of(told) == " Paris" and Usage(2, 3) in told


async def test_leaving_stops_the_work() -> None:
    async with tgi("2.4.1") as peer, backend(peer) as server:
        peer.holds = 1
        async with server.open(asking(sampling=Sampling(max_tokens=5)), meter()) as told:
            async for event in told:
                if isinstance(event, Text):
                    break
        await asyncio.wait_for(peer.hold.wait(), 20)


ERRORS: list[tuple[int, bytes, str, str, str]] = [
    (
        424,
        b'{"error":"Request failed during generation: CUDA","error_type":"generation"}',
        "application/json",
        "upstream_error",
        "CUDA",
    ),
    (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', "application/json", "overloaded", "overloaded"),
    (
        500,
        b'{"error":"Incomplete generation","error_type":"incomplete_generation"}',
        "application/json",
        "upstream_error",
        "Incomplete",
    ),
    (
        422,
        b'{"error":"Input validation error: `inputs` must have less than 80 tokens. Given: 99","error_type":"validation"}',
        "application/json",
        "too_long",
        "Given: 99",
    ),
    (
        422,
        b'{"error":"Input validation error: `top_k` must be strictly positive","error_type":"validation"}',
        "application/json",
        "bad_request",
        "top_k",
    ),
    (502, b"<html><body>Bad gateway</body></html>", "text/html", "upstream_error", "502"),
]


@pytest.mark.parametrize(("status", "body", "kind", "expected", "words"), ERRORS)
async def test_refusals(status: int, body: bytes, kind: str, expected: str, words: str) -> None:
    async with tgi("3.3.7") as peer, backend(peer) as server:
        peer.refuse = (status, body, kind)
        for request in (asking(), asking(CHAT)):
            error = await failure(server, request)
            assert (error.kind, words in error.message) == (expected, True), error.message


async def test_a_stream_that_breaks_off() -> None:
    async with tgi("3.3.7") as peer, backend(peer) as server:
        peer.dies = 1
        for said in (b"", b'{"error":"Request failed during generation: gone","error_type":"generation"}'):
            peer.error = said
            seen: list[Event] = []
            with pytest.raises(ServingError) as caught:
                async with server.open(asking(), meter()) as told:
                    async for event in told:
                        seen.append(event)
            assert caught.value.kind == "upstream_error" and text_of(seen) == " Pa"
        assert caught.value.message == "gone"
        peer.say = [(0, "", 0.0, False)]
        peer.refuse = (200, b'{"hello":1}', "text/html")
        assert (await failure(server, asking())).kind == "upstream_error"


async def test_an_address_where_something_else_answers() -> None:
    async with tgi("3.3.7") as peer:
        url = f"{peer.url}/elsewhere"
        made = connect(url, ModelSettings(name="m", sources=(Source("tgi", url),)), "")
        error = await failure(made, asking())
        assert error.kind == "upstream_error" and not (await made.health()).ok
        await made.aclose()


@pytest.mark.parametrize(
    ("auth", "secret", "line"),
    [
        ("bearer", "tok", "Bearer tok"),
        ("basic", "ann:pw", f"Basic {base64.b64encode(b'ann:pw').decode()}"),
        ("raw", "USER TOKEN", "USER TOKEN"),
    ],
)
async def test_credentials(auth: str, secret: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(secret)
    async with tgi("3.3.7") as peer, backend(peer, key=f"file:{file}", auth=auth) as server:
        peer.key = line
        assert text_of(await events(server, asking())) == " Paris"
        peer.key = "other"
        error = await failure(server, asking())
        assert error.kind == "upstream_error" and "configured key" in error.message and secret not in error.message
        peer.key = "Bearer mine"
        assert text_of(await events(server, asking(credential=Secret("mine")))) == " Paris"
        peer.key = line
        assert (await failure(server, asking(credential=Secret("mine")))).kind == "unauthenticated"
        assert secret not in repr(server._server.credential)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("key", "auth", "words"),
    [("", "basic", "needs the model's `key`"), ("justaname", "basic", "USER:PASSWORD"), ("a\tb", "raw", "plain ASCII")],
)
async def test_keys_that_cannot_be_shown(key: str, auth: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(key)
    settings = ModelSettings(
        name="m", sources=(Source("tgi", "http://h"),), options={"auth": auth}, key=f"file:{file}" if key else ""
    )
    with pytest.raises(ServingError, match=words):
        connect("http://h", settings, "")


@pytest.mark.parametrize("target", ["host:80", "ftp://x", "http://u@h", "http://h?x=1"])
def test_addresses(target: str) -> None:
    with pytest.raises(ServingError, match="tgi:http://HOST:PORT"):
        connect(target, ModelSettings(name="m", sources=(Source("tgi", target),)), "")


@pytest.mark.parametrize("version", ["1.4.5", "2.4.1", "3.3.7"])
async def test_conversations_by_the_servers_template(version: str) -> None:
    async with tgi(version) as peer, backend(peer) as server:
        note = meter()
        request = asking(
            CHAT,
            sampling=Sampling(temperature=0.0, top_p=1.0, top_k=3),
            stops=Stops(strings=("is",)),
            shape=Shape(format=Format("regex", source="a+")),
            reporting=Reporting(token_ids=True),
        )
        told = await events(server, request, note)
        assert text_of(told) == " Par"
        assert [event for event in told if isinstance(event, Finish)] == [Finish(0, "stop", "is")]
        (asked,) = peer.asked_at("/v1/chat/completions")
        assert asked.body["model"] == "tgi" and asked.body["stream"] is True and "top_p" not in asked.body
        assert asked.body["response_format"] == {"type": "regex", "value": "a+"}
        assert set(note.dropped) == {"top_k", "return_token_ids"}


@pytest.mark.parametrize("version", ["0.8.2", "1.1.0"])
async def test_conversations_where_the_server_has_no_template(version: str) -> None:
    async with tgi(version) as peer:
        async with backend(peer) as server:
            error = await failure(server, asking(CHAT))
            assert error.kind == "unsupported" and "option template" in error.message
        async with backend(peer, template="vicuna_v1.1") as server:
            assert text_of(await events(server, asking(CHAT))) == " Paris"
            (asked,) = peer.asked_at("/generate_stream")
            assert asked.body["inputs"].endswith("USER: Hi ASSISTANT:")
        with pytest.raises(ServingError, match="nosuch"):
            connect(peer.url, ModelSettings(name="m", sources=(), options={"template": "nosuch"}), "")


async def test_an_adapter_is_named() -> None:
    async with tgi("3.3.7") as peer, backend(peer, adapter="mine") as server:
        assert server.protocols == frozenset()
        await events(server, asking())
        await events(server, asking(CHAT))
        assert peer.asked_at("/generate_stream")[0].body["parameters"]["adapter_id"] == "mine"
        assert peer.asked_at("/v1/chat/completions")[0].body["model"] == "mine"


@pytest.mark.parametrize(
    ("version", "text", "chat"), [("0.8.2", False, False), ("1.4.5", True, False), ("3.3.7", True, True)]
)
async def test_tokens_are_counted_where_they_are_told(version: str, text: bool, chat: bool) -> None:
    async with tgi(version) as peer, backend(peer) as server:
        for prompt, told in ((TEXT, text), (CHAT, chat)):
            request = Count(model="m", prompt=prompt)
            if told:
                tokens = await server.count(request)
                assert tokens.pieces == (tuple(b"%c" % one for one in b"The capital") if prompt is TEXT else None)
                assert tokens.ids is not None and tokens.count == len(tokens.ids) and tokens.context == TOTAL
            else:
                with pytest.raises(ServingError) as caught:
                    await server.count(request)
                assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
async def test_bytes_pass_through(path: str) -> None:
    async with tgi("3.3.7") as peer, backend(peer) as server:
        note = meter()
        body = json.dumps(
            {"inputs": "ab", "parameters": {"details": True, "decoder_input_details": True, "odd": 1}}
        ).encode()
        async with server.forward(Wire("tgi", path, [], body), note) as answer:
            data = b"".join([piece async for piece in answer])
            assert (answer.status, answer.streamed) == (200, path == "/generate_stream")
        assert peer.asked[-1].body == json.loads(body)
        assert b'"generated_text": " Paris"' in data and data.count(b"data:") == (3 if answer.streamed else 0)
        assert (note.usage, note.finish) == (Usage(2, 3), "stop")
        peer.refuse = (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', "application/json")
        async with server.forward(Wire("tgi", path, [], body), note) as answer:
            assert (answer.status, b"".join([piece async for piece in answer])) == (429, peer.refuse[1])


async def test_token_ids_are_refused() -> None:
    async with tgi("3.3.7") as peer, backend(peer) as server:
        assert (await failure(server, asking(TokenPrompt(((1, 2),))))).kind == "unsupported"


async def test_health() -> None:
    async with tgi("3.3.7") as peer:
        async with backend(peer) as server:
            health = await server.health()
            assert health.ok and health.models == ("org/model",)
    async with backend(peer) as server:
        assert not (await server.health()).ok
