"""A cloud's API: one origin, asked with a key, whose refusals are told as the protocol reads them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.backends.keys import Key
from trunkcall.backends.upstream import OF_A_KEY, PROBE, PROBED_BYTES, entered
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.models import Health, ModelSettings
from trunkcall.net.client import Client, Incoming, Timeouts
from trunkcall.protocols.headers import read_retry_after

_OF_A_KEY: Final[frozenset[Kind]] = frozenset({"unauthenticated", "forbidden"})
_HTTP: Final = ("http", "https")
_TOO_MANY: Final = 429


class Place(msgspec.Struct, frozen=True):
    """Where a model is called: the server's origin, the path in front of its routes, the model's name there."""

    origin: str
    path: str
    model: str


def find_place(target: str, settings: ModelSettings, model: str, official: Place) -> Place:
    """`SCHEME:MODEL` is a model of the maker's own server, `SCHEME:URL#MODEL` one of another.

    official: the maker's server, and the path that a URL without one gets.

    Raises ServingError (bad_request) when the URL cannot be one.
    """
    parts = urlsplit(target)
    if parts.scheme not in _HTTP:
        if model:
            raise ServingError(
                "bad_request", f"{target!r} is not the URL of a server; write https://HOST, or the model's name alone"
            )
        return Place(official.origin, official.path, target or settings.name)
    if not parts.hostname or parts.query or parts.username:
        raise ServingError("bad_request", f"{target!r} is not the URL of a server; write https://HOST/PATH#MODEL")
    origin = f"{parts.scheme}://{parts.netloc}"
    return Place(origin, parts.path.rstrip("/") or official.path, model or settings.name)


class Cloud:
    """The upstream at `origin`.

    key: the configured one, empty for none; key_header: where a key goes; headers: encoded lines that go with each
    request; read_error: an error answer in the protocol's words; tls: instead of the system's trust store.
    """

    def __init__(
        self,
        origin: str,
        key: str,
        *,
        key_header: str,
        headers: bytes,
        read_error: Callable[[int, bytes], ServingError],
        timeouts: Timeouts,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._client = Client(origin, timeouts=timeouts, reuse_after_stream=True, tls=tls)
        self._key = Key(key)
        self._key_header = key_header
        self._headers = headers
        self._read_error = read_error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def ask(self, target: str, body: bytes, own: Key | None = None) -> AsyncGenerator[Incoming]:
        """The answer to a POST once its head is in; leaving before its end stops the work. own: the caller's key.

        Raises ServingError as the protocol reads an error answer, and as the client does.
        """
        key = own or self._key
        headers = self._headers + key.header(self._key_header)
        sent = self._client.request(b"POST", target.encode(), headers, body)
        answer = await entered(sent)
        try:
            if answer.status >= 400:
                raise self._refusal(answer, key.hidden_in(await answer.read()), key)
            yield answer
        finally:
            await sent.__aexit__(None, None, None)

    async def probe(self, target: str, read_models: Callable[[bytes], tuple[str, ...]]) -> Health:
        """Whether the upstream lists its models at `target`, and which."""
        headers = self._headers + self._key.header(self._key_header)
        try:
            async with self._client.request(b"GET", target.encode(), headers, timeouts=PROBE) as answer:
                body = await answer.read(PROBED_BYTES)
                if answer.status != 200:
                    return Health(False, f"{target} answered {answer.status}", wants_key=answer.status in OF_A_KEY)
                return Health(True, models=read_models(body))
        except ServingError as error:
            return Health(False, error.message)

    def _refusal(self, answer: Incoming, body: bytes, key: Key) -> ServingError:
        error = self._read_error(answer.status, body)
        if error.kind in _OF_A_KEY:
            return key.refused(error.kind, error)
        if error.retry_after is None:
            error.retry_after = read_retry_after(answer.headers)
        if key.own and answer.status == _TOO_MANY:
            # The caller's own key has asked too much: the upstream has time for others.
            error.retry_after = None
        return error
