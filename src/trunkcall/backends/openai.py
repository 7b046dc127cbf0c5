"""How to call a replica that speaks the OpenAI API: our own engine hosts, vLLM, any server, the cloud."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.ports import Header
from trunkcall.core.requests import Embed, Generate, MessagesPrompt, Vectors, Wire
from trunkcall.net.client import Client, Exchanged, Incoming, Timeouts
from trunkcall.net.credentials import read_secret
from trunkcall.protocols import openai as codec
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.headers import DROPPED, STRICT, read_dropped

_OPENAI_HOST: Final = "api.openai.com"
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_PROBE: Final = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, whole=10.0)


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's `options` for an upstream; times in seconds, 0 is no limit.

    normalise: read each answer and write it anew, in OpenAI's exact shape, instead of passing
    bytes; for upstreams that speak it loosely.
    """

    normalise: bool = False
    connect_timeout: _Seconds = 5.0
    first_byte_timeout: _Seconds = 600.0
    idle_timeout: _Seconds = 120.0
    whole_timeout: _Seconds = 0.0

    @property
    def timeouts(self) -> Timeouts:
        """The four limits as the client takes them."""
        return Timeouts(
            self.connect_timeout or None,
            self.first_byte_timeout or None,
            self.idle_timeout or None,
            self.whole_timeout or None,
        )


class OpenAI:
    """One upstream at `url` (with its `/v1`), which calls the model `model`."""

    def __init__(self, url: str, model: str, secret: str = "", options: OpenAIOptions | None = None) -> None:
        parts = urlsplit(url)
        options = options or OpenAIOptions()
        self.protocols: frozenset[str] = frozenset() if options.normalise else frozenset({"openai"})
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=options.timeouts, reuse_after_stream=True)
        self._prefix = (parts.path.rstrip("/") or "/v1").encode()
        self._model = model
        self._headers = b"Content-Type: application/json\r\nAccept: text/event-stream, application/json\r\n"
        if secret:
            self._headers += b"Authorization: Bearer %b\r\n" % secret.encode()

    async def health(self) -> Health:
        """Whether the upstream lists its models, and which."""
        try:
            sent = self._client.request(b"GET", self._prefix + b"/models", self._headers, timeouts=_PROBE)
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
        """Ask in OpenAI's words, whatever the caller's were; always streamed, so that leaving stops the work."""
        chat = isinstance(request.prompt, MessagesPrompt)
        streamed = msgspec.structs.replace(
            request, reporting=msgspec.structs.replace(request.reporting, stream=True, usage_in_stream=True)
        )
        body, dropped = (codec.emit_chat if chat else codec.emit_completion)(streamed, self._model)
        meter.dropped = dropped
        path = b"/chat/completions" if chat else b"/completions"
        async with self._answer(path, body) as answer:
            meter.dropped += next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())
            events = _events(answer, codec.ChatStreamReader() if chat else codec.CompletionStreamReader(streamed))
            try:
                yield events
            finally:
                await events.aclose()

    async def embed(self, request: Embed) -> Vectors:
        """Vectors for texts or token ids."""
        body, _ = codec.emit_embedding(request, self._model)
        async with self._answer(b"/embeddings", body) as answer:
            return codec.read_embedding_answer(await answer.read())

    @asynccontextmanager
    async def _answer(self, path: bytes, body: bytes) -> AsyncGenerator[Incoming]:
        sent = self._client.request(b"POST", self._prefix + path, self._headers, body)
        answer = await _entered(sent)
        try:
            if answer.status >= 400:
                raise codec.read_error(answer.status, await answer.read())
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
        incoming = self._incoming = await _entered(self._sent)
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


async def _entered(sent: Exchanged) -> Incoming:
    """The answer's head; `unreachable` when it failed before a byte was seen, so that the work cannot have begun."""
    try:
        return await sent.__aenter__()
    except ServingError as error:
        if error.kind in ("upstream_error", "draining") and sent.zero_bytes:
            raise ServingError("unreachable", error.message, detail=error.detail) from error
        raise


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
