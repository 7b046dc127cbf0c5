"""One of the requests that came inside another one: who asks is as there, the body is its own."""

from __future__ import annotations

import asyncio
from typing import Any

from trunkcall.core.meter import Meter
from trunkcall.core.ports import Exchange, Header


class Inner:
    """The half of core.ports.Exchange that is the request; where its answer goes is its heirs' business.

    outer: the one it came in; place: among the others in there; path: as the outer one's until it is set.
    """

    method = "POST"
    query = b""

    def __init__(self, outer: Exchange, place: int, body: bytes) -> None:
        self.outer = outer
        self.place = place
        self.path = outer.path
        self.headers = outer.headers
        self.parameters = outer.parameters
        self.client = outer.client
        self.id = f"{outer.id}-{place}"
        self.principal = outer.principal
        self.meter: Meter | None = None
        self.started = False
        self.complete = False
        self.extra_headers: list[Header] = []
        self.task: asyncio.Task[Any] | None = None
        """The one that answers it, while there is one."""
        self._body = body

    def header(self, name: bytes) -> bytes | None:
        """As the outer request has it."""
        return self.outer.header(name)

    async def body(self) -> bytes:
        """Its own."""
        return self._body

    def cancel(self) -> None:
        """Cancel its own task, and no other's."""
        if self.task is not None:
            self.task.cancel()
