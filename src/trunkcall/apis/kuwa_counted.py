"""An exchange whose answer is counted on its way, whichever lane it comes by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from trunkcall.core.meter import Meter
from trunkcall.core.ports import Exchange, Header, Response, Watch

_INSIDE: Final = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that do not begin a character."""


class Counted:
    """Fits core.ports.Exchange; passes everything on to the one it was made of."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.method = exchange.method
        self.path = exchange.path
        self.query = exchange.query
        self.headers = exchange.headers
        self.parameters = exchange.parameters
        self.client = exchange.client
        self.id = exchange.id
        self.principal = exchange.principal
        self.started = exchange.started
        self.characters = 0
        """Of the body, as far as it was taken for sending."""
        self.last = b""
        """Its last piece."""
        self.complete = False

    @property
    def meter(self) -> Meter | None:
        """As the exchange's."""
        return self._exchange.meter

    @meter.setter
    def meter(self, meter: Meter | None) -> None:
        self._exchange.meter = meter

    @property
    def extra_headers(self) -> list[Header]:
        """As the exchange's."""
        return self._exchange.extra_headers

    @extra_headers.setter
    def extra_headers(self, headers: list[Header]) -> None:
        self._exchange.extra_headers = headers

    @property
    def unread(self) -> int:
        """As the exchange says."""
        return self._exchange.unread

    def header(self, name: bytes) -> bytes | None:
        """As the exchange does."""
        return self._exchange.header(name)

    async def body(self) -> bytes:
        """As the exchange does."""
        return await self._exchange.body()

    async def respond(self, response: Response) -> None:
        """As the exchange does."""
        await self._exchange.respond(response)
        self.started = True
        self._count(response.body)
        self.complete = True

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """As the exchange does."""
        await self._exchange.begin(status, headers)
        self.started = True

    async def write(self, data: bytes) -> None:
        """As the exchange does."""
        await self._exchange.write(data)
        self._count(data)

    def push(self, data: bytes) -> bool:
        """As the exchange does."""
        room = self._exchange.push(data)
        self._count(data)
        return room

    async def finish(self, data: bytes = b"") -> None:
        """As the exchange does."""
        await self._exchange.finish(data)
        self._count(data)
        self.complete = True

    def cancel(self) -> None:
        """As the exchange does."""
        self._exchange.cancel()

    def when_gone(self, callback: Callable[[], None]) -> Watch:
        """As the exchange does."""
        return self._exchange.when_gone(callback)

    def _count(self, data: bytes) -> None:
        if data:
            self.characters += len(data.translate(None, _INSIDE))
            self.last = data
