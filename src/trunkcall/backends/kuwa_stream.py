"""An executor's answer on its way: pieces of text to pass on as they are, or to be told as events."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from trunkcall.backends.upstream import joined
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Start
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Header
from trunkcall.core.requests import Generate
from trunkcall.core.retained import Retained
from trunkcall.net.client import Incoming
from trunkcall.protocols.headers import DROPPED, read_dropped
from trunkcall.protocols.kuwa import BlockReader
from trunkcall.protocols.kuwa_answers import whole_characters
from trunkcall.protocols.kuwa_words import STREAM

FORM_TYPE: Final = b"application/x-www-form-urlencoded"
SAID_LIMIT: Final = 1 << 20
"""Most bytes of an answer that is no generation."""

_LANGUAGE: Final = re.compile(r"[ -~\xa0-\xff]+")
_FORM: Final = b"content-type: %b\r\n" % FORM_TYPE
# RFC 9110, 7.6.1, and what belongs to the body or the connection as the caller sent them.
_OWN_TO_A_HOP: Final = frozenset(
    {
        b"accept-encoding",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Pieces:
    """The pieces of one answer as they come; `complete` once its end was seen.

    Iterating raises ServingError as `Incoming` does.
    """

    __slots__ = ("_held", "_incoming", "complete", "reported")

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._held = b""
        self.complete = False
        self.reported = [header for header in incoming.headers if header[0] == DROPPED]
        """The header by which a server of ours says what it did not honour."""

    async def whole_if(self, expected: bytes) -> bytes | None:
        """The body, if it is empty or just `expected`; else None, and nothing of it is lost."""
        held = b""
        while expected.startswith(held):
            try:
                held += await self._incoming.__anext__()
            except StopAsyncIteration:
                self.complete = True
                if held in (b"", expected):
                    return held
                break
        self._held = held
        return None

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        held = self._held
        if held:
            self._held = b""
            return held
        if self.complete:
            raise StopAsyncIteration
        try:
            return await self._incoming.__anext__()
        except StopAsyncIteration:
            self.complete = True
            raise


class Passed:
    """Fits core.ports.Retains: the pieces as they are, measured as they pass.

    While they are retained each ends with a whole character.
    """

    __slots__ = ("_held", "_kept", "_meter", "_pieces", "headers", "status", "streamed")

    def __init__(self, pieces: Pieces, meter: Meter) -> None:
        self._pieces = pieces
        self._meter = meter
        self._kept: Retained | None = None
        self._held = b""
        self.status = 200
        self.headers: list[Header] = [(b"content-type", STREAM), *pieces.reported]
        self.streamed = True

    def retain(self) -> None:
        """Keep what passes."""
        self._kept = Retained()

    def retold(self, request: Generate) -> list[Event] | None:
        """The events of what was passed on."""
        kept = b"" if self._kept is None else self._kept.data
        if kept is None:
            return None
        reader = BlockReader()
        return [*reader.feed(kept), *reader.end()]

    def __aiter__(self) -> Passed:
        return self

    async def whole(self) -> bytes:
        """All that is still to come, as one."""
        return await joined(self)

    async def __anext__(self) -> bytes:
        while True:
            try:
                piece = await self._pieces.__anext__()
            except StopAsyncIteration:
                self._meter.finish = "stop"
                held, self._held = self._held, b""
                if held:
                    return held
                raise
            self._meter.progress()
            if self._kept is None:
                return piece
            piece = self._held + piece
            end = whole_characters(piece)
            self._held = piece[end:]
            if end:
                self._kept.add(piece[:end])
                return piece[:end]


@asynccontextmanager
async def passed(asking: AbstractAsyncContextManager[Pieces], meter: Meter) -> AsyncGenerator[Passed]:
    """The forwarding lane's answer to what is asked."""
    async with asking as pieces:
        meter.dropped += _dropped(pieces)
        yield Passed(pieces, meter)


@asynccontextmanager
async def told(
    asking: AbstractAsyncContextManager[Pieces], request: Generate, meter: Meter
) -> AsyncGenerator[AsyncGenerator[Event]]:
    """The translating lane's answer to what is asked; nothing tells its token counts."""
    async with asking as pieces:
        meter.dropped += _dropped(pieces)
        events = _events(pieces, request.model)
        try:
            yield events
        finally:
            await events.aclose()


def passed_headers(headers: list[Header]) -> bytes:
    """A caller's headers as lines for an executor, but those of its hop and those that speak to us."""
    kept = [header for header in headers if not header[0].startswith(b"x-trunkcall-")]
    connection = b",".join(value for name, value in kept if name == b"connection")
    own = _OWN_TO_A_HOP.union(word.strip().lower() for word in connection.split(b","))
    return _FORM + b"".join(b"%b: %b\r\n" % header for header in kept if header[0] not in own)


def written_headers(request: Generate) -> bytes:
    """The header lines of a request that is written in Kuwa's words.

    Raises ServingError (bad_request) for a language that no header can carry.
    """
    language = request.session.language
    if not language:
        return _FORM
    if not _LANGUAGE.fullmatch(language):
        raise ServingError(
            "bad_request", "the session's language must be as in Accept-Language, such as `zh-TW, en;q=0.5`"
        )
    return b"%baccept-language: %b\r\n" % (_FORM, language.encode("latin-1"))


def asking_user(request: Generate) -> str:
    """The user id that a request brings in any protocol's words; empty without one."""
    return request.session.user or (request.user if isinstance(request.user, str) else "")


def fresh_id() -> str:
    """A history id of its own for one request: negative, as those that no web page has; exact in JSON."""
    return str(-1 - secrets.randbits(52))


def refused(who: str, status: int, body: bytes) -> ServingError:
    """An answer that is an error of the other side, in its own words."""
    said = body.decode(errors="replace").strip()
    told = f": {said[:300]}" if said else ""
    return ServingError(
        "upstream_error",
        f"{who} answered {status}{told}. Its own log may say why; check that the address is right",
        upstream=(status, body),
    )


def _dropped(pieces: Pieces) -> tuple[str, ...]:
    return next((read_dropped(value) for _, value in pieces.reported), ())


async def _events(pieces: Pieces, model: str) -> AsyncGenerator[Event]:
    yield Start(f"chatcmpl-{uuid.uuid4().hex}", model, int(time.time()))
    reader = BlockReader()
    try:
        async for data in pieces:
            for event in reader.feed(data):
                yield event
    except ServingError:
        # What came before the break is the caller's.
        for event in reader.end():
            yield event
        raise
    for event in reader.end():
        yield event
    yield Finish(0, "stop")
