"""What administration reads of the ledger: brought up to this second first, and off the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from trunkcall.store import ledger
from trunkcall.store.importer import Importer


class Records:
    """The ledger at `url`; fits control.operations.Records."""

    def __init__(self, importer: Importer, url: str) -> None:
        self._importer = importer
        self._url = url

    async def usage(
        self, by: tuple[str, ...], since: float | None = None, until: float | None = None
    ) -> list[dict[str, Any]]:
        """Sums by group, as ledger.usage gives them."""
        rows = await asyncio.to_thread(self._fresh, lambda: ledger.usage(self._url, since, until, by))
        return [msgspec.to_builtins(row) for row in rows]

    async def requests(
        self, *, limit: int = 100, before: float | None = None, model: str = "", key: str = "", error: str = ""
    ) -> list[dict[str, Any]]:
        """Single requests, newest first."""
        rows = await asyncio.to_thread(self._fresh, lambda: ledger.recent(self._url, limit))
        return [msgspec.to_builtins(row) for row in rows]

    def _fresh(self, read: Any) -> Any:
        self._importer.import_now()
        return read()
