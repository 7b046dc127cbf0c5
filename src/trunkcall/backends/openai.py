"""How to call a replica that speaks the OpenAI API: our own engine hosts, vLLM, any server, the cloud."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.backends.upstream import PROBE, UpstreamOptions, entered
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.events import Event
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.ports import Header
from trunkcall.core.requests import Count, Embed, Generate, MessagesPrompt, Secret, Tokens, Vectors, Wire
from trunkcall.net.client import Client, Exchanged, Incoming
from trunkcall.net.credentials import read_secret
from trunkcall.protocols import openai as codec
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.headers import DROPPED, STRICT, read_dropped
from trunkcall.protocols.openai_tokenize import emit_count, read_tokens

_OPENAI_HOST: Final = "api.openai.com"
_ACCEPTING: Final = b"Content-Type: application/json\r\nAccept: text/event-stream, application/json\r\n"
_KEY: Final = re.compile(r"[!-~]+")
_OF_A_KEY: Final[dict[int, Kind]] = {401: "unauthenticated", 403: "forbidden"}
"""What an upstream's status is when the key was the caller's; with ours it is an error of the upstream."""
_NO_ROUTE: Final = frozenset({404, 405, 501})


class OpenAIOptions(UpstreamOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options` for an upstream.

    normalise: read each answer and write it anew, in OpenAI's exact shape, instead of passing
    bytes; for upstreams that speak it loosely.
    """

    normalise: bool = False


class OpenAI:
    """One upstream at `url` (with its `/v1`), which calls the model `model`."""

    def __init__(self, url: str, model: str, secret: str = "", options: OpenAIOptions | None = None) -> None:
        parts = urlsplit(url)
        options = options or OpenAIOptions()
        self.protocols: frozenset[str] = frozenset() if options.normalise else frozenset({"openai"})
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=options.timeouts, reuse_after_stream=True)
        self._prefix = (parts.path.rstrip("/") or "/v1").encode()
        self._model = model
        self._headers = _ACCEPTING + _authorization(secret) if secret else _ACCEPTING

    async def health(self) -> Health:
        """Whether the upstream lists its models, and which."""
        try:
            sent = self._client.request(b"GET", self._prefix + b"/models", self._headers, timeouts=PROBE)
            async with sent as answer:
                body = await answer.read()
                if answer.status != 200:
                    return Health(False, f"/models answered {answer.status}")
                listed = msgspec.json.decode(body, type=_Models)
        except (ServingError, msgspec.DecodeError) as error:
            return Health(False, str(error))
        return Health(True, models=tuple(entry.id for entry in listed.data))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def forward(self, wire: Wire, meter: Meter) -> Forwarding:
        """Pass the bytes through; only the model's name and a usage option may change."""
        body = wire.body
        renamed = self._model != meter.model
        if renamed:
            body = codec.replace_model(body, self._model)
        hold_usage = False
        if meter.stream and not (b'"include_usage"' in body and codec.read_head(body).usage_in_stream):
            body = codec.ask_usage(body)
            hold_usage = True
        headers = self._headers
        for name, value in wire.headers:
            if name == STRICT:
                headers += b"%b: %b\r\n" % (STRICT, value)
        sent = self._client.request(b"POST", self._prefix + wire.path.encode(), headers, body)
        return Forwarding(sent, meter, hold_usage, (self._model, meter.model) if renamed else None)

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Ask in OpenAI's words, whatever the caller's were; always streamed, so that leaving stops the work.

        The request's own key goes out instead of the configured one, and `llm_model` of Kuwa's bots
        names another model of the upstream.

        Raises ServingError, among others unauthenticated when the request's own key is refused.
        """
        key = None if request.credential is None else _key(request.credential)
        request, model = _choose_model(request, self._model)
        chat = isinstance(request.prompt, MessagesPrompt)
        streamed = msgspec.structs.replace(
            request, reporting=msgspec.structs.replace(request.reporting, stream=True, usage_in_stream=True)
        )
        body, dropped = (codec.emit_chat if chat else codec.emit_completion)(streamed, model)
        meter.dropped = dropped
        path = b"/chat/completions" if chat else b"/completions"
        async with self._answer(self._prefix + path, body, key) as answer:
            meter.dropped += next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())
            events = _events(answer, codec.ChatStreamReader() if chat else codec.CompletionStreamReader(streamed))
            try:
                yield events
            finally:
                await events.aclose()

    async def embed(self, request: Embed) -> Vectors:
        """Vectors for texts or token ids."""
        body, _ = codec.emit_embedding(request, self._model)
        async with self._answer(self._prefix + b"/embeddings", body) as answer:
            return codec.read_embedding_answer(await answer.read())

    async def count(self, request: Count) -> Tokens:
        """The tokens of a prompt, as /tokenize beside /v1 gives them.

        Raises ServingError (unsupported) when the upstream has no such route, or one that is not vLLM's.
        """
        body = emit_count(request, self._model)
        try:
            async with self._answer(self._prefix.removesuffix(b"/v1") + b"/tokenize", body) as answer:
                return read_tokens(await answer.read())
        except ServingError as error:
            if error.upstream is None or error.upstream[0] not in _NO_ROUTE or error.kind == "no_model":
                raise
            raise ServingError(
                "unsupported",
                f"the upstream does not count tokens; use another where they are needed ({error.message})",
                upstream=error.upstream,
            ) from error

    @asynccontextmanager
    async def _answer(self, target: bytes, body: bytes, key: str | None = None) -> AsyncGenerator[Incoming]:
        """key: the caller's own, instead of the configured one."""
        headers = self._headers if key is None else _ACCEPTING + _authorization(key)
        sent = self._client.request(b"POST", target, headers, body)
        answer = await entered(sent)
        try:
            if answer.status >= 400:
                raise _refusal(answer.status, await answer.read(), key)
            yield answer
        finally:
            await sent.__aexit__(None, None, None)


class Forwarding:
    """One forwarded request; entering gives the answer, edited and measured as it passes."""

    __slots__ = ("_hold_usage", "_incoming", "_meter", "_rename", "_sent", "_tap", "headers", "status", "streamed")

    def __init__(self, sent: Exchanged, meter: Meter, hold_usage: bool, rename: tuple[str, str] | None) -> None:
        self._sent = sent
        self._meter = meter
        self._hold_usage = hold_usage
        self._rename = rename
        self._incoming: Incoming | None = None
        self._tap: codec.ChatTap | None = None
        self.status = 0
        self.headers: list[Header] = []
        self.streamed = False

    async def __aenter__(self) -> Forwarding:
        incoming = self._incoming = await entered(self._sent)
        self.status = incoming.status
        self.headers = incoming.headers
        for name, value in incoming.headers:
            if name == b"content-type":
                if value.startswith(b"text/event-stream"):
                    self.streamed = True
                    meter, hold_usage, rename = self._meter, self._hold_usage, self._rename
                    self._tap = codec.ChatTap(meter, streamed=True, hold_usage=hold_usage, rename=rename)
            elif name == DROPPED:
                self._meter.dropped = read_dropped(value)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sent.__aexit__(kind, error, trace)

    def __aiter__(self) -> Forwarding:
        return self

    async def __anext__(self) -> bytes:
        incoming = self._incoming
        if incoming is None:
            raise StopAsyncIteration
        tap = self._tap
        if tap is None:
            self._incoming = None
            body = await incoming.read()
            return codec.note_answer(body, self._meter, self._rename[1] if self._rename else None)
        while True:
            try:
                data = await incoming.__anext__()
            except StopAsyncIteration:
                self._incoming = None
                rest = tap.end()
                if rest:
                    return rest
                raise
            passed = tap.feed(data)
            if passed:
                return passed


def _authorization(key: str) -> bytes:
    return b"Authorization: Bearer %b\r\n" % key.encode()


def _key(credential: Secret) -> str:
    key = credential.reveal().strip()
    if not _KEY.fullmatch(key):
        # Checked here, because the client would name the header lines that do not fit.
        raise ServingError(
            "unauthenticated",
            "the key for the upstream is empty or has characters that a key cannot have; send another",
        )
    return key


def _refusal(status: int, body: bytes, key: str | None) -> ServingError:
    """An upstream's error; a caller's own key, which the upstream may quote, is taken out of it."""
    if key is None:
        return codec.read_error(status, body)
    error = codec.read_error(status, body.replace(key.encode(), b"***"))
    if error.kind != "upstream_error" or status not in _OF_A_KEY:
        return error
    return ServingError(
        _OF_A_KEY[status],
        f"the key that came with the request was not accepted; send another one ({error.message})",
        upstream=error.upstream,
    )


def _choose_model(request: Generate, otherwise: str) -> tuple[Generate, str]:
    """The upstream's model for a request, and the request without the field that chose it; null chooses none."""
    own = request.extra.get("kuwa", {})
    if "llm_model" not in own:
        return request, otherwise
    try:
        model = msgspec.json.decode(own["llm_model"], type=str | None)
    except msgspec.DecodeError:
        raise ServingError(
            "bad_request", "llm_model: expected the name of a model, as text", param="llm_model"
        ) from None
    rest = {name: raw for name, raw in own.items() if name != "llm_model"}
    return msgspec.structs.replace(request, extra={**request.extra, "kuwa": rest}), model or otherwise


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def _events(
    answer: Incoming, reader: codec.ChatStreamReader | codec.CompletionStreamReader
) -> AsyncGenerator[Event]:
    frames = SseReader()
    async for data in answer:
        for payload in frames.feed(data):
            for event in reader.feed(payload):
                yield event
    for event in reader.end():
        yield event


def connect(target: str, settings: ModelSettings, model: str) -> OpenAI:
    """`openai:http://host:port/v1#model`; without `#model` the name that was asked for is sent on.

    Raises ServingError (bad_request) when the URL cannot be one, or the key cannot be read.
    """
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ServingError(
            "bad_request", f"{target!r} is not the URL of a server; write `openai:http://HOST:PORT/v1#MODEL`"
        )
    options = read_options(settings, OpenAIOptions)
    return OpenAI(target, model or settings.name, _secret(settings.key, parts.hostname), options)


def _secret(reference: str, host: str) -> str:
    """The upstream's key. The key of OpenAI goes to OpenAI only, when none is named."""
    if not reference:
        return os.environ.get("OPENAI_API_KEY", "") if host == _OPENAI_HOST else ""
    return read_secret(reference)
