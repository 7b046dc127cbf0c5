"""What administration reads of the ledger: brought up to this second first, and off the event loop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.store import ledger
from trunkcall.store.importer import Importer

_MOST: Final = 10_000


class Records:
    """The ledger at `url`; fits control.operations.Records."""

    def __init__(self, importer: Importer, url: str) -> None:
        self._importer = importer
        self._url = url

    async def usage(
        self, by: tuple[str, ...], since: float | None = None, until: float | None = None
    ) -> dict[str, Any]:
        """Sums by group, as ledger.Usage has them; raises ServingError (bad_request, unreachable)."""
        await self._importer.catch_up()
        return msgspec.to_builtins(await asyncio.to_thread(ledger.usage, self._url, since, until, by))

    async def requests(
        self,
        *,
        limit: int = 100,
        before: float | None = None,
        model: str = "",
        key: str = "",
        error: str = "",
        id: str = "",
    ) -> list[dict[str, Any]]:
        """Single requests, newest first, as ledger.recent gives them; raises ServingError like it, and bad_request."""
        if not 1 <= limit <= _MOST:
            raise ServingError("bad_request", f"limit must be 1 to {_MOST}, not {limit}", param="limit")
        await self._importer.catch_up()
        read = partial(ledger.recent, before=before, model=model, key=key, error=error, id=id)
        return msgspec.to_builtins(await asyncio.to_thread(read, self._url, limit))
