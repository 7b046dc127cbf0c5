"""How to call a replica that speaks the OpenAI API: our own engine hosts, vLLM, any server, the cloud."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from trunkcall.backends.keys import Key, configured_key, own_key
from trunkcall.backends.upstream import OF_A_KEY, PROBE, PROBED_BYTES, UpstreamOptions, entered, fail, joined
from trunkcall.backends.vllm import VllmControls
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.events import Event, Fault, Start
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.ports import Header
from trunkcall.core.requests import Count, Embed, Generate, MessagesPrompt, Tokens, Vectors, Wire
from trunkcall.core.trace import Trace
from trunkcall.net.client import Client, Exchanged, Incoming
from trunkcall.net.credentials import read_secret
from trunkcall.protocols import openai as codec
from trunkcall.protocols.frames import DONE_FRAME, SseReader
from trunkcall.protocols.headers import DROPPED, STRICT, TRACED, read_dropped, read_retry_after
from trunkcall.protocols.openai_listing import read_listing
from trunkcall.protocols.openai_tokenize import emit_count, read_tokens
from trunkcall.protocols.traceparent import trace_lines
from trunkcall.protocols.vllm import METRICS

_TRACED: Final = b"%b: 1\r\n" % TRACED
_OPENAI_HOST: Final = "api.openai.com"
_VARIABLES: Final = ("OPENAI_API_KEY",)
_ACCEPTING: Final = b"Content-Type: application/json\r\nAccept: text/event-stream, application/json\r\n"
_Path = Annotated[str, msgspec.Meta(pattern=r"^[!-~]*$")]
_AbsolutePath = Annotated[str, msgspec.Meta(pattern=r"^(/[!-~]*)?$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
"""A header's name, as RFC 9110 has it."""
_VALUE: Final = re.compile(r"[ -~]*")
_OURS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "expect", "upgrade", "accept"}
)
"""Headers that make the request what it is."""
_OF_A_KEY: Final[dict[int, Kind]] = {401: "unauthenticated", 403: "forbidden"}
_VECTORS: Final = "/embeddings"
_QUOTED: Final = 100
_TOO_MANY: Final = 429
_NO_ROUTE: Final = frozenset({404, 405, 501})


class OpenAIOptions(UpstreamOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options` for an upstream.

    normalise: read each answer and write it anew, in OpenAI's exact shape, instead of passing
    bytes; for upstreams that speak it loosely. path: what stands before `/chat/completions`, instead of the
    URL's path or `/v1`; query: goes with each request, as Azure's api-version does; headers: likewise, their values
    as they are or by reference (`env:NAME`, `file:PATH`); key_header: where the key goes, `api-key` for Azure;
    metrics: the path beside `/v1` at which a vLLM tells its load and whether it sleeps, empty for none; unset it is
    `/metrics` of a server that is reached without TLS, since clouds are not to be asked for such things.
    """

    normalise: bool = False
    path: _Path | None = None
    query: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    headers: dict[_Name, str] = msgspec.field(default_factory=dict[str, str])
    key_header: _Name = "Authorization"
    metrics: _AbsolutePath | None = None


class OpenAI:
    """One upstream at `url` (with its `/v1`), which calls the model `model`."""

    def __init__(self, url: str, model: str, secret: str = "", options: OpenAIOptions | None = None) -> None:
        """Raises ServingError (bad_request) when a header of the options cannot be read or sent."""
        parts = urlsplit(url)
        options = options or OpenAIOptions()
        self.protocols: frozenset[str] = frozenset() if options.normalise else frozenset({"openai"})
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=options.timeouts, reuse_after_stream=True)
        path = (parts.path.rstrip("/") or "/v1") if options.path is None else options.path.strip("/")
        self._prefix = (path if not path or path.startswith("/") else f"/{path}").encode()
        self._query = b"?" + urlencode(options.query).encode() if options.query else b""
        self._targets = {path: self._target(path) for path in ("/chat/completions", "/completions", _VECTORS)}
        self._model = model
        self._key = Key(secret)
        self._key_header = options.key_header
        self._keyless = _ACCEPTING + b"".join(_line(name, value) for name, value in options.headers.items())
        self._headers = self._keyless + self._key.header(self._key_header)
        self._root = self._prefix.removesuffix(b"/v1")
        metrics = (METRICS if parts.scheme == "http" else "") if options.metrics is None else options.metrics
        self.controls = VllmControls(self._client, self._root, self._key.header(self._key_header), self._key, metrics)

    async def health(self) -> Health:
        """Whether the upstream lists its models, and which."""
        try:
            sent = self._client.request(b"GET", self._target("/models"), self._headers, timeouts=PROBE)
            async with sent as answer:
                body = await answer.read(PROBED_BYTES)
                if answer.status != 200:
                    wants_key = answer.status in OF_A_KEY
                    return Health(False, f"/models answered {answer.status}", wants_key=wants_key)
                listed = read_listing(body)
        except ServingError as error:
            return Health(False, error.message)
        return Health(True, models=listed.names, what=listed.server)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def forward(self, wire: Wire, meter: Meter) -> Forwarding:
        """Pass the bytes through; only the model's name and a usage option may change."""
        body = wire.body
        model = self._called(meter.served)
        renamed = model != meter.model
        if renamed:
            body = codec.replace_model(body, model)
        hold_usage = False
        if meter.stream and not (body.find(b'"include_usage"') >= 0 and codec.read_head(body).usage_in_stream):
            body = codec.ask_usage(body)
            hold_usage = True
        headers = self._headers
        for name, value in wire.headers:
            if name == STRICT:
                headers += b"%b: %b\r\n" % (STRICT, value)
            elif name == TRACED:
                headers += _TRACED
        if meter.trace is not None:
            headers += trace_lines(meter.trace)
        sent = self._client.request(b"POST", self._targets.get(wire.path) or self._target(wire.path), headers, body)
        vectors = wire.path == _VECTORS
        return Forwarding(sent, meter, hold_usage, (model, meter.model) if renamed else None, self._key, vectors)

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Ask in OpenAI's words, whatever the caller's were; always streamed, so that leaving stops the work.

        The request's own key goes out instead of the configured one, and `llm_model` of Kuwa's bots
        names another model of the upstream.

        Raises ServingError, among others unauthenticated when the request's own key is refused.
        """
        own = own_key(request.credential)
        request, model = _choose_model(request, self._called(meter.served))
        chat = _is_chat(request)
        streamed = msgspec.structs.replace(
            request, reporting=msgspec.structs.replace(request.reporting, stream=True, usage_in_stream=True)
        )
        body, dropped = (codec.emit_chat if chat else codec.emit_completion)(streamed, model)
        meter.dropped = dropped
        path = "/chat/completions" if chat else "/completions"
        more = _TRACED if request.reporting.traced else b""
        async with self._answer(self._targets[path], body, own, meter.trace, more) as answer:
            lost = next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())
            meter.dropped += lost
            if "echo" in lost:
                # An answer that begins as the prompt does is no echo of it.
                streamed = msgspec.structs.replace(
                    streamed, reporting=msgspec.structs.replace(streamed.reporting, echo=False)
                )
            events = _events(answer, codec.ChatStreamReader() if chat else codec.CompletionStreamReader(streamed))
            try:
                yield events
            finally:
                await events.aclose()

    async def embed(self, request: Embed, meter: Meter) -> Vectors:
        """Vectors for texts or token ids; what was dropped here or by the upstream is noted."""
        body, meter.dropped = codec.emit_embedding(request, self._called(meter.served))
        async with self._answer(self._targets[_VECTORS], body, trace=meter.trace) as answer:
            meter.dropped += next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())
            return codec.read_embedding_answer(await answer.read())

    async def count(self, request: Count) -> Tokens:
        """The tokens of a prompt, as /tokenize beside /v1 gives them.

        Raises ServingError (unsupported) when the upstream has no such route, or one that is not vLLM's.
        """
        body = emit_count(request, self._called(request.model))
        try:
            target = self._root + b"/tokenize" + self._query
            async with self._answer(target, body) as answer:
                return read_tokens(await answer.read())
        except ServingError as error:
            if error.upstream is None or error.upstream[0] not in _NO_ROUTE or error.kind == "no_model":
                raise
            raise ServingError(
                "unsupported",
                f"the upstream does not count tokens; use another where they are needed ({error.message})",
                upstream=error.upstream,
            ) from error

    def _called(self, asked: str) -> str:
        """What the upstream calls a model that was asked for."""
        return asked if asked in self.controls.adapters else self._model

    def _target(self, path: str) -> bytes:
        return self._prefix + path.encode() + self._query

    @asynccontextmanager
    async def _answer(
        self, target: bytes, body: bytes, own: Key | None = None, trace: Trace | None = None, more: bytes = b""
    ) -> AsyncGenerator[Incoming]:
        """own: the caller's key, instead of the configured one; more: header lines."""
        headers = (self._headers if own is None else self._keyless + own.header(self._key_header)) + more
        if trace is not None:
            headers += trace_lines(trace)
        sent = self._client.request(b"POST", target, headers, body)
        answer = await entered(sent)
        try:
            if answer.status >= 400:
                vectors = target == self._targets[_VECTORS]
                error = _refusal(answer, await answer.read(), own or self._key, vectors)
                if own is not None and answer.status == _TOO_MANY:
                    # The caller's own key has asked too much: the upstream has time for others.
                    error.retry_after = None
                raise error
            yield answer
        finally:
            sent.leave()


class Forwarding:
    """One forwarded request; entering gives the answer, edited and measured as it passes.

    key: what it was sent with; vectors: they are what it asks for. Entering raises ServingError for a refusal of the
    key, and of vectors by an upstream without a route for them; other refusals pass.
    """

    __slots__ = (
        "_hold_usage",
        "_incoming",
        "_key",
        "_meter",
        "_refused",
        "_rename",
        "_retains",
        "_sent",
        "_tap",
        "_vectors",
        "headers",
        "status",
        "streamed",
    )

    def __init__(
        self,
        sent: Exchanged,
        meter: Meter,
        hold_usage: bool,
        rename: tuple[str, str] | None,
        key: Key,
        vectors: bool,
    ) -> None:
        self._sent = sent
        self._retains = False
        self._key = key
        self._vectors = vectors
        self._refused: bytes | None = None
        self._meter = meter
        self._hold_usage = hold_usage
        self._rename = rename
        self._incoming: Incoming | None = None
        self._tap: codec.ChatTap | None = None
        self.status = 0
        self.headers: list[Header] = []
        self.streamed = False

    async def __aenter__(self) -> Forwarding:
        try:
            incoming = self._incoming = await self._sent.__aenter__()
        except ServingError as error:
            fail(self._sent, error)
        self.status = status = incoming.status
        self.headers = incoming.headers
        if status in _OF_A_KEY or (self._vectors and status in _NO_ROUTE):
            await self._refuse(incoming)
            return self
        traced = False
        for name, value in incoming.headers:
            if name == b"content-type":
                self.streamed = value.startswith(b"text/event-stream")
            elif name == TRACED:
                traced = True
            elif name == DROPPED:
                self._meter.dropped = read_dropped(value)
        if self.streamed:
            meter, hold_usage, rename = self._meter, self._hold_usage, self._rename
            self._tap = codec.ChatTap(meter, streamed=True, hold_usage=hold_usage, rename=rename, traced=traced)
        return self

    def retain(self) -> None:
        """Keep what passes of a stream, as core.ports.Retains has it."""
        if self._tap is not None:
            self._retains = True
            self._tap.retain()

    def retold(self, request: Generate) -> list[Event] | None:
        """The events of what was passed on of a stream."""
        kept = b"" if self._tap is None else self._tap.kept
        if kept is None:
            return None
        reader = codec.ChatStreamReader() if _is_chat(request) else codec.CompletionStreamReader(request)
        events = [event for payload in SseReader().feed(kept) for event in reader.feed(payload)]
        return [self._seen(event) for event in events if not isinstance(event, Fault)]

    def _seen(self, event: Event) -> Event:
        if not isinstance(event, Start):
            return event
        return msgspec.structs.replace(event, model=self._rename[1] if self._rename else event.model, seen=True)

    def _check_end(self, tap: codec.ChatTap) -> None:
        """Raise for a stream that ended in order but not with its answer."""
        kept = tap.kept
        if not self._meter.finish and kept is not None and not kept.rstrip().endswith(DONE_FRAME.rstrip()):
            raise ServingError("upstream_error", "the upstream's answer ended early")

    async def _refuse(self, incoming: Incoming) -> None:
        try:
            body = await incoming.read()
            if self.status in _OF_A_KEY or not _is_error(body):
                raise _refusal(incoming, body, self._key, self._vectors)
        except BaseException:
            self._sent.leave()
            raise
        self._refused = body

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sent.leave()

    def __aiter__(self) -> Forwarding:
        return self

    async def pour(self, push: Callable[[bytes], bool]) -> None:
        """As core.ports.Pours has it."""
        incoming, tap = self._incoming, self._tap
        if incoming is None or tap is None or tap.failure is not None:
            return

        def take(data: bytes) -> bool:
            passed = tap.feed(data)
            return (not passed or push(passed)) and tap.failure is None

        await incoming.pour(take)

    async def whole(self) -> bytes:
        """All that is still to come, as one."""
        incoming = self._incoming
        if self._tap is not None or incoming is None:
            return await joined(self)
        self._incoming = None
        body = incoming.complete() if self._refused is None else self._refused
        if body is None:
            body = await incoming.read()
        if self.status < 400 and not _is_object(body):
            raise _senseless(body)
        return codec.note_answer(body, self._meter, self._rename[1] if self._rename else None)

    async def __anext__(self) -> bytes:
        incoming = self._incoming
        if incoming is None:
            raise StopAsyncIteration
        tap = self._tap
        if tap is None:
            return await self.whole()
        while True:
            if tap.failure is not None:
                raise tap.failure
            try:
                data = await incoming.__anext__()
            except StopAsyncIteration:
                self._incoming = None
                if self._retains:
                    self._check_end(tap)
                rest = tap.end()
                if rest:
                    return rest
                raise
            passed = tap.feed(data)
            if passed:
                return passed


def _line(name: str, value: str) -> bytes:
    """A header of the options; errors never show its value, which may be a secret."""
    text = read_secret(value) if value.startswith(("env:", "file:")) else value
    if name.lower() in _OURS or not _VALUE.fullmatch(text):
        raise ServingError(
            "bad_request",
            f"option headers: {name!r} cannot be sent; name one that is not part of every request, with a value of"
            " plain ASCII",
            param="headers",
        )
    return f"{name}: {text}\r\n".encode()


def _refusal(answer: Incoming, body: bytes, key: Key, vectors: bool) -> ServingError:
    """An upstream's error, without the key, which it may quote; vectors: they were asked for."""
    status = answer.status
    error = codec.read_error(status, key.hidden_in(body), read_retry_after(answer.headers))
    if vectors and status in _NO_ROUTE and not _is_error(body):
        return ServingError(
            "unsupported",
            "the model gives no embeddings, since its upstream has no route for them; use one that was made for them"
            f" (it said: {error.message})",
            param="model",
            upstream=error.upstream,
        )
    if error.kind != "upstream_error" or status not in _OF_A_KEY:
        return error
    return key.refused(_OF_A_KEY[status], error)


def _is_chat(request: Generate) -> bool:
    return isinstance(request.prompt, MessagesPrompt)


def _is_object(body: bytes) -> bool:
    """Whether it may be an object of JSON, which each answer is: no web page, and not cut off."""
    return body.lstrip()[:1] == b"{" and body.rstrip()[-1:] == b"}"


def _senseless(body: bytes) -> ServingError:
    said = body[:_QUOTED].decode(errors="replace").strip()
    return ServingError(
        "upstream_error",
        f"the upstream answered with what is not OpenAI's JSON; check its URL, with its /v1 (it began: {said!r})",
    )


class _Error(msgspec.Struct):
    error: dict[str, Any]


def _is_error(body: bytes) -> bool:
    """Whether it is an error in OpenAI's words."""
    try:
        msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


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
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ServingError(
            "bad_request", f"{target!r} is not the URL of a server; write `openai:http://HOST:PORT/v1#MODEL`"
        )
    if parts.query:
        raise ServingError(
            "bad_request", f"{target!r} has a query; write it as the option query, such as {{api-version: 2024-10-21}}"
        )
    options = read_options(settings, OpenAIOptions)
    official = parts.hostname == _OPENAI_HOST
    return OpenAI(target, model or settings.name, configured_key(settings.key, official, _VARIABLES), options)
