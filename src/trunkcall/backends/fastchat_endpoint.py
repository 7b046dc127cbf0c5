"""One address at which FastChat answers: a worker's, a controller's, or a prefix that stands for a worker."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from trunkcall.backends.upstream import entered
from trunkcall.core.errors import ServingError
from trunkcall.net.client import Client, Incoming, Timeouts

_URL: Final = re.compile(r"https?://[!-~]+")
ASK: Final = Timeouts(connect=5.0, first_byte=60.0, idle=60.0, whole=60.0)
"""The limits of a question: the original answers none while it asks its workers, or loads."""

_HEADERS: Final = b"Content-Type: application/json\r\n"
_SAID_LIMIT: Final = 64 << 20
"""Most bytes of an answer that is no generation: vectors of many texts."""
_QUOTED: Final = 300


class Endpoint:
    """Connections to one address, `http://host:port` with or without a path before the routes."""

    def __init__(self, url: str, timeouts: Timeouts) -> None:
        """Raises ServingError (bad_request) when `url` cannot be one."""
        self.url = url.rstrip("/")
        origin, self._prefix = split_url(url)
        self._client = Client(origin, timeouts=timeouts, reuse_after_stream=True)

    async def ask(
        self, route: str, body: bytes = b"", *, timeouts: Timeouts = ASK, limit: int = _SAID_LIMIT
    ) -> tuple[int, bytes]:
        """Status and body of a short answer, of so many bytes at most.

        Raises ServingError: unreachable, upstream_timeout, upstream_error.
        """
        sent = self._client.request(b"POST", self._target(route), _HEADERS, body, timeouts=timeouts)
        answer = await entered(sent)
        try:
            return answer.status, await answer.read(limit)
        finally:
            await sent.__aexit__(None, None, None)

    @asynccontextmanager
    async def send(self, route: str, body: bytes, timeouts: Timeouts) -> AsyncGenerator[Incoming]:
        """A generation's answer, whose status is 200; leaving before its end stops the work.

        Raises ServingError as `ask` does, upstream_error for another status, unsupported for a route that is not there.
        """
        sent = self._client.request(b"POST", self._target(route), _HEADERS, body, timeouts=timeouts)
        answer = await entered(sent)
        try:
            if answer.status != 200:
                raise refused(self.url, route, answer.status, await answer.read(_SAID_LIMIT))
            yield answer
        finally:
            await sent.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _target(self, route: str) -> bytes:
        return f"{self._prefix}/{route}".encode()


def split_url(url: str) -> tuple[str, str]:
    """Origin and path of an address of FastChat; raises ServingError (bad_request) when it cannot be one."""
    try:
        parts = urlsplit(url)
        if not _URL.fullmatch(url) or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("not a plain http URL")
    except ValueError as error:
        raise ServingError(
            "bad_request",
            f"{url!r} is not the URL of a FastChat server; write `fastchat:http://HOST:21002#MODEL` for a worker or"
            " `fastchat:http://HOST:21001#MODEL` for a controller",
            detail=repr(error),
        ) from None
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def refused(url: str, route: str, status: int, body: bytes) -> ServingError:
    """An answer with a status that FastChat gives only when something is wrong."""
    if status in (404, 405):
        return ServingError(
            "unsupported",
            f"the FastChat worker {url} has no /{route}; use a model whose worker has",
            upstream=(status, body),
        )
    said = body[:_QUOTED].decode(errors="replace").strip()
    return ServingError(
        "upstream_error",
        f"the FastChat worker {url} answered /{route} with status {status}{': ' if said else ''}{said}. Its own log"
        " may say why",
        upstream=(status, body),
    )
