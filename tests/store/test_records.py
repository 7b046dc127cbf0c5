"""What administration reads of the ledger: up to this second, without a doubt about what was asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from running import eventually
from store.noting import Store, a_close, finished, written

from trunkcall.core.errors import ServingError
from trunkcall.store.journal import FileJournal
from trunkcall.store.records import Records

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

SELDOM = """
import sys
from pathlib import Path
from trunkcall.store import importer
importer.EVERY = 3600.0
importer._main(Path(sys.argv[1]))
"""


async def test_what_the_journal_holds_is_read_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The importer's next look would be an hour away, and its first needs a child to start."""
    start = asyncio.create_subprocess_exec

    async def seldom(python: str, *arguments: str, **options: Any) -> Any:
        return await start(python, "-c", SELDOM, arguments[-1], **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", seldom)
    catch_up = store.importer.catch_up
    monkeypatch.setattr(store.importer, "catch_up", lambda: catch_up(50))
    records = Records(store.importer, store.url)
    journal = FileJournal(store.journal)
    running = asyncio.create_task(store.importer.run())
    try:
        for number in range(1, 4):
            journal.close(finished(str(number)))
            await asyncio.to_thread(eventually, lambda number=number: written(store.journal, "close") == number)
            assert (await records.usage(()))["total"]["requests"] == number
        assert [row["id"] for row in await records.requests(limit=2)] == ["3", "2"]
        for _ in range(5):
            assert (await records.usage(()))["total"]["requests"] == 3
        assert "behind" not in caplog.text
    finally:
        await journal.aclose()
        running.cancel()
        await asyncio.wait([running])


async def test_a_ledger_that_is_behind_is_read_as_it_is(store: Store, monkeypatch: Any) -> None:
    store.write_part(1, [a_close(1)])
    store.importer.import_now()
    catch_up = store.importer.catch_up
    monkeypatch.setattr(store.importer, "catch_up", lambda: catch_up(0.2))
    monkeypatch.setattr(store.importer, "_running", True)
    assert (await Records(store.importer, store.url).usage(("model",)))["rows"][0]["requests"] == 1


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_a_limit_that_is_none_is_told(store: Store, limit: int) -> None:
    with pytest.raises(ServingError, match="limit must be") as raised:
        await Records(store.importer, store.url).requests(limit=limit)
    assert (raised.value.kind, raised.value.param) == ("bad_request", "limit")
