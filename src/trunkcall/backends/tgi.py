"""How to call a server of text-generation-inference, of any version from 0.8 to 3."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.backends.in_turn import in_turn
from trunkcall.backends.keys import own_key
from trunkcall.backends.tgi_calls import Call
from trunkcall.backends.tgi_credentials import Auth, Credential, bearer, configured
from trunkcall.backends.tgi_server import Server
from trunkcall.backends.upstream import OF_A_KEY, PROBE, PROBED_BYTES, UpstreamOptions, joined
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Start
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.ports import Header
from trunkcall.core.requests import Count, Generate, Message, MessagesPrompt, TextPrompt, Tokens, Wire
from trunkcall.core.retained import Retained
from trunkcall.net.client import Incoming
from trunkcall.protocols import fastchat
from trunkcall.protocols import tgi as codec
from trunkcall.protocols.frames import FrameCutter
from trunkcall.protocols.headers import DROPPED, STRICT, read_dropped
from trunkcall.protocols.tgi_errors import incomplete
from trunkcall.protocols.tgi_tap import StreamTap, note_whole, retold, until_failure
from trunkcall.protocols.traceparent import trace_lines

_NO_ADAPTER: Final = "tgi"
"""What clients of TGI write for the model itself."""


class TgiOptions(UpstreamOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    auth: how the key is shown; compat: the server's edition, instead of what its /info says; template: the name of a
    FastChat conversation template by which conversations become text, instead of the server's own.
    """

    auth: Auth = "bearer"
    compat: codec.Compat | None = None
    template: str = ""


class Tgi:
    """Fits core.ports.Backend, Generates, Forwards and Counts.

    adapter: the LoRA that answers; empty, `tgi` or the model's own name for the model itself.
    """

    def __init__(self, url: str, adapter: str, credential: Credential, options: TgiOptions) -> None:
        """Raises ServingError (bad_request) for a template that is not known."""
        self._adapter = "" if adapter == _NO_ADAPTER else adapter
        self.protocols: frozenset[str] = frozenset() if self._adapter else frozenset({codec.PROTOCOL})
        self._server = Server(url, credential, options.timeouts, options.compat)
        self._template = fastchat.named(options.template) if options.template else None

    async def health(self) -> Health:
        """Whether the server is well, and which model it has."""
        server = self._server
        try:
            server.known.forget()
            about = await server.known.about()
            async with server.send(b"GET", "/health", b"", server.credential, PROBE) as answer:
                body = await answer.read(PROBED_BYTES)
            if answer.status != 200:
                return Health(False, codec.read_error(answer.status, body).message)
        except ServingError as error:
            wants_key = error.upstream is not None and error.upstream[0] in OF_A_KEY
            return Health(False, error.message, wants_key=wants_key)
        return Health(True, models=(about.model,), what="TGI")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._server.aclose()

    @asynccontextmanager
    async def forward(self, wire: Wire, meter: Meter) -> AsyncGenerator[Passed]:
        """Pass the bytes through; raises ServingError, among others upstream_error when the key is refused."""
        server = self._server
        lines = b"".join(b"%b: %b\r\n" % (STRICT, value) for name, value in wire.headers if name == STRICT)
        if meter.trace is not None:
            lines += trace_lines(meter.trace)
        async with server.send(b"POST", wire.path, wire.body, server.credential, headers=lines) as answer:
            if answer.status in OF_A_KEY:
                raise server.refusal(answer, await answer.read(), server.credential)
            yield Passed(answer, meter)

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Ask in TGI's words; several prompts or choices one after the other, as its protocol has one answer.

        Streamed, so that leaving stops the work, but for what only a whole answer tells: the probabilities of a prompt.
        The request's own key goes out instead of the configured one.

        Raises ServingError: unsupported for token ids, and for conversations where the server has no template.
        """
        own = own_key(request.credential)
        credential = self._server.credential if own is None else bearer(own)
        about = await self._server.known.about()
        if self._template is not None and isinstance(request.prompt, MessagesPrompt):
            request = _templated(request, request.prompt.messages, self._template)
        if isinstance(request.prompt, MessagesPrompt) and not about.chats:
            raise ServingError(
                "unsupported",
                f"this TGI server is older than 1.4 (compat {about.compat}) and does not know its model's chat"
                " template; send a text to /v1/completions, or name one of FastChat's conversation templates with the"
                " option template",
                param="messages",
            )
        singles = _singled(request)
        adapter = "" if self._adapter == about.model else self._adapter
        calls = [Call(self._server, single, index, about, credential, adapter) for index, single in enumerate(singles)]
        async with AsyncExitStack() as stack:
            first = await calls[0].begin(stack, meter)
            events = _events(calls, first, meter)
            stack.push_async_callback(events.aclose)
            yield events

    async def count(self, request: Count) -> Tokens:
        """The tokens of a prompt, and how many a request may have in all.

        Raises ServingError (unsupported) when the server does not tell them.
        """
        if self._template is not None and isinstance(request.prompt, MessagesPrompt):
            text = fastchat.render(self._template, request.prompt.messages)
            request = msgspec.structs.replace(request, prompt=TextPrompt((text,)))
        tokens = await self._server.count(request, self._server.credential)
        return msgspec.structs.replace(tokens, ids=None) if self._adapter else tokens


class Passed:
    """Fits core.ports.Retains: the server's bytes as they are, measured as they pass."""

    __slots__ = ("_answer", "_cutter", "_failure", "_kept", "_meter", "_tap", "headers", "status", "streamed")

    def __init__(self, answer: Incoming, meter: Meter) -> None:
        self._answer = answer
        self._meter = meter
        self.status = answer.status
        self.headers: list[Header] = answer.headers
        self.streamed = any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in answer.headers
        )
        self._tap = StreamTap(meter) if self.streamed else None
        self._cutter: FrameCutter | None = None
        self._kept = Retained()
        self._failure: ServingError | None = None
        """What the server has said of itself, while its stream is retained."""
        meter.dropped += next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())

    def __aiter__(self) -> Passed:
        return self

    async def whole(self) -> bytes:
        """All that is still to come, as one."""
        return await joined(self)

    def retain(self) -> None:
        """Keep what passes of a stream."""
        if self._tap is not None:
            self._cutter = FrameCutter()

    def retold(self, request: Generate) -> list[Event] | None:
        """The events of what was passed on."""
        kept = self._kept.data
        return None if kept is None else retold(kept, request)

    async def __anext__(self) -> bytes:
        if self._cutter is not None and self._tap is not None:
            return await self._retained(self._cutter, self._tap)
        data = await self._answer.__anext__()
        if self._tap is not None:
            self._tap.feed(data)
            return data
        body = data + await self._answer.read()
        if self.status == 200:
            note_whole(body, self._meter)
        return body

    async def _retained(self, cutter: FrameCutter, tap: StreamTap) -> bytes:
        while self._failure is None:
            try:
                data = cutter.feed(await self._answer.__anext__())
            except StopAsyncIteration:
                if not self._meter.finish:
                    raise incomplete(stream=True) from None
                raise
            data, self._failure = until_failure(data)
            if data:
                self._kept.add(data)
                tap.feed(data)
                return data
        raise self._failure


def _events(calls: list[Call], first: Incoming, meter: Meter) -> AsyncGenerator[Event]:
    """The events of all calls, one after the other; first: the answer to the first."""

    async def ask(stack: AsyncExitStack, index: int) -> AsyncGenerator[Event]:
        return calls[index].events(await calls[index].begin(stack, meter) if index else first)

    return in_turn(Start(secrets.token_hex(12), meter.model, int(time.time())), len(calls), ask)


def _singled(request: Generate) -> tuple[Generate, ...]:
    """One request for each choice, those of the first prompt first, each with a seed of its own.

    Raises ServingError (unsupported) for token ids.
    """
    match request.prompt:
        case MessagesPrompt():
            prompts: Iterable[Generate] = (request,)
        case TextPrompt(texts):
            prompts = [msgspec.structs.replace(request, prompt=TextPrompt((text,))) for text in texts]
        case _:
            raise ServingError("unsupported", "a TGI server takes text, not token ids; send the text", param="prompt")
    choices = request.sampling.n or 1
    return tuple(_seeded(single, index) for single in prompts for index in range(choices))


def _seeded(request: Generate, index: int) -> Generate:
    sampling = msgspec.structs.replace(request.sampling, n=msgspec.UNSET, best_of=msgspec.UNSET)
    if index and isinstance(sampling.seed, int):
        sampling = msgspec.structs.replace(sampling, seed=sampling.seed + index)
    return msgspec.structs.replace(request, sampling=sampling)


def _templated(request: Generate, messages: tuple[Message, ...], template: fastchat.ConvTemplate) -> Generate:
    """A conversation as the text that a template of FastChat's makes of it, with the stop string that it needs."""
    text = fastchat.render(template, messages)
    strings = tuple(request.stops.strings or ())
    own = template.stop_str
    more = (own,) if isinstance(own, str) else tuple(own or ())
    stops = msgspec.structs.replace(request.stops, strings=tuple(dict.fromkeys((*strings, *more))))
    return msgspec.structs.replace(request, prompt=TextPrompt((text,)), stops=stops)


def connect(target: str, settings: ModelSettings, model: str) -> Tgi:
    """`tgi:http://host:port` is a server, `tgi:http://host:port#NAME` one of its adapters.

    Raises ServingError (bad_request) when the URL cannot be one, the key cannot be read, or for wrong options.
    """
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ServingError("bad_request", f"{target!r} is not the URL of a server; write `tgi:http://HOST:PORT`")
    options = read_options(settings, TgiOptions)
    return Tgi(target, model, configured(settings.key, options.auth), options)
