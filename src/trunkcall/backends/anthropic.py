"""How to call Anthropic's Messages API."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import msgspec

from trunkcall.backends.cloud import Cloud, Place, find_place
from trunkcall.backends.keys import configured_key, own_key
from trunkcall.backends.remembered import Remembered
from trunkcall.backends.upstream import UpstreamOptions
from trunkcall.core.events import Event
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.requests import Generate
from trunkcall.net.client import Incoming
from trunkcall.protocols import anthropic as codec
from trunkcall.protocols.frames import SseReader

_ANTHROPIC: Final = Place("https://api.anthropic.com", "/v1", "")
_VARIABLES: Final = ("ANTHROPIC_API_KEY",)


class AnthropicOptions(UpstreamOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    version: the API's. "2023-06-01" for models that are asked with temperature, top_p or top_k, which later
    versions refuse, and for other servers that speak it; its key goes out as x-api-key.
    """

    version: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2026-10-21"


class Anthropic:
    """Fits core.ports.Backend and Generates. tls: instead of the system's trust store."""

    protocols: frozenset[str] = frozenset()

    def __init__(self, place: Place, key: str, options: AnthropicOptions, tls: ssl.SSLContext | None = None) -> None:
        self._cloud = Cloud(
            place.origin,
            key,
            key_header="x-api-key" if options.version == codec.SAMPLED else "Authorization",
            headers=b"Content-Type: application/json\r\nanthropic-version: %b\r\n" % options.version.encode(),
            read_error=codec.read_error,
            timeouts=options.timeouts,
            tls=tls,
        )
        self._place = place
        self._version = options.version
        self._kept = Remembered()

    async def health(self) -> Health:
        """Whether the upstream lists its models to the configured key."""
        return await self._cloud.probe(f"{self._place.path}/models?limit=1000", codec.read_models)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._cloud.aclose()

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Ask in Anthropic's words, with the request's own key where it has one; what they cannot say is dropped.

        Always streamed, so that leaving stops the work.

        Raises ServingError, among others unauthenticated when the request's own key is refused.
        """
        own = own_key(request.credential)
        body, meter.dropped = codec.emit_message(request, self._place.model, self._version, self._kept.get)
        async with self._cloud.ask(f"{self._place.path}/messages", body, own) as answer:
            events = _events(answer, codec.MessageReader(int(time.time()), self._kept.keep))
            try:
                yield events
            finally:
                await events.aclose()


async def _events(answer: Incoming, reader: codec.MessageReader) -> AsyncGenerator[Event]:
    frames = SseReader()
    async for data in answer:
        for payload in frames.feed(data):
            for event in reader.feed(payload):
                yield event
    for payload in frames.end():
        for event in reader.feed(payload):
            yield event
    for event in reader.end():
        yield event


def connect(target: str, settings: ModelSettings, model: str) -> Anthropic:
    """`anthropic:MODEL` at Anthropic, `anthropic:URL#MODEL` elsewhere; a URL's path stands before `/messages`.

    Raises ServingError (bad_request) when the URL cannot be one, the key cannot be read, or for wrong options.
    """
    place = find_place(target, settings, model, _ANTHROPIC)
    options = read_options(settings, AnthropicOptions)
    key = configured_key(settings.key, place.origin == _ANTHROPIC.origin, _VARIABLES)
    return Anthropic(place, key, options)
