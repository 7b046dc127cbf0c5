"""How to call Google's Gemini API."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import quote

from trunkcall.backends.cloud import Cloud, Place, find_place
from trunkcall.backends.keys import Key, configured_key, own_key
from trunkcall.backends.remembered import Remembered
from trunkcall.backends.upstream import UpstreamOptions
from trunkcall.core.events import Event
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.requests import Count, Embed, Generate, Tokens, Vectors
from trunkcall.net.client import Incoming
from trunkcall.protocols import gemini as codec
from trunkcall.protocols.frames import SseReader

_GOOGLE: Final = Place("https://generativelanguage.googleapis.com", "/v1beta", "")
"""v1beta, because names such as gemini-flash-latest and the newest models are not in v1."""
_VARIABLES: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_KINDS: Final = ("models/", "tunedModels/")
_HEADERS: Final = b"Content-Type: application/json\r\n"
_HOPS: Final = 64
"""Most requests that one answer takes, so that an upstream which never ends it cannot keep us."""


class Gemini:
    """Fits core.ports.Backend, Generates, Embeds and Counts. tls: instead of the system's trust store."""

    protocols: frozenset[str] = frozenset()

    def __init__(self, place: Place, key: str, options: UpstreamOptions, tls: ssl.SSLContext | None = None) -> None:
        self._cloud = Cloud(
            place.origin,
            key,
            key_header="x-goog-api-key",
            headers=_HEADERS,
            read_error=codec.read_error,
            timeouts=options.timeouts,
            tls=tls,
        )
        self._path = place.path
        self._model = place.model.removeprefix("models/")
        name = place.model if place.model.startswith(_KINDS) else f"models/{place.model}"
        self._target = f"{place.path}/{quote(name)}"
        self._kept = Remembered()

    async def health(self) -> Health:
        """Whether the upstream lists its models to the configured key."""
        return await self._cloud.probe(f"{self._path}/models?pageSize=1000", codec.read_models)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._cloud.aclose()

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Ask in Gemini's words, with the request's own key where it has one; what they cannot say is dropped.

        Streamed, so that leaving stops the work; several answers come whole, because their streams are refused.

        Raises ServingError, among others unauthenticated when the request's own key is refused.
        """
        own = own_key(request.credential)
        body, meter.dropped = codec.emit_generate(request, self._model, self._kept.get)
        choices = request.sampling.n or 1
        method = "streamGenerateContent?alt=sse" if choices == 1 else "generateContent"
        reader = codec.GenerateReader(int(time.time()), choices, self._kept.keep)
        async with self._cloud.ask(f"{self._target}:{method}", body, own) as answer:
            events = self._streamed(reader, answer, body, own) if choices == 1 else _whole(reader, answer)
            try:
                yield events
            finally:
                await events.aclose()

    async def embed(self, request: Embed, meter: Meter) -> Vectors:
        """Vectors for texts; what Gemini has no word for is dropped."""
        body, meter.dropped = codec.emit_embedding(request, self._model)
        async with self._cloud.ask(f"{self._target}:batchEmbedContents", body) as answer:
            return codec.read_embedding_answer(await answer.read())

    async def count(self, request: Count) -> Tokens:
        """How many tokens a prompt has; the API does not say which."""
        body = codec.emit_count(request, self._model)
        async with self._cloud.ask(f"{self._target}:countTokens", body) as answer:
            return codec.read_count(await answer.read())

    async def _streamed(
        self, reader: codec.GenerateReader, answer: Incoming, body: bytes, own: Key | None
    ) -> AsyncGenerator[Event]:
        """The answer's events, over as many requests as the upstream gives it in."""
        target = f"{self._target}:streamGenerateContent?alt=sse"
        token = ""
        async with AsyncExitStack() as hop:
            for _ in range(_HOPS):
                if token:
                    await hop.aclose()
                    again = codec.continued(body, token)
                    answer = await hop.enter_async_context(self._cloud.ask(target, again, own))
                frames = SseReader()
                async for data in answer:
                    for payload in frames.feed(data):
                        for event in reader.feed(payload):
                            yield event
                for payload in frames.end():
                    for event in reader.feed(payload):
                        yield event
                token = reader.continuation
                if not token:
                    break
                reader.go_on()
            for event in reader.end():
                yield event


async def _whole(reader: codec.GenerateReader, answer: Incoming) -> AsyncGenerator[Event]:
    for event in reader.feed(await answer.read()):
        yield event
    for event in reader.end():
        yield event


def connect(target: str, settings: ModelSettings, model: str) -> Gemini:
    """`gemini:MODEL` at Google, `gemini:URL#MODEL` elsewhere; a URL's path is the API's version, `/v1`.

    Raises ServingError (bad_request) when the URL cannot be one, the key cannot be read, or for wrong options.
    """
    place = find_place(target, settings, model, _GOOGLE)
    options = read_options(settings, UpstreamOptions)
    key = configured_key(settings.key, place.origin == _GOOGLE.origin, _VARIABLES)
    return Gemini(place, key, options)
