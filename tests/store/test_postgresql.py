"""What only PostgreSQL has: it stops, it hangs, and several servers share it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store.noting import Store, a_close, end, finished
from store.postgresql import Cluster

from trunkcall.core.errors import ServingError
from trunkcall.store import importer as importer_file
from trunkcall.store.importer import Importer
from trunkcall.store.journal import FileJournal
from trunkcall.store.ledger import recent, usage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def shared(cluster: Cluster, migrated: str, tmp_path: Path) -> Store:
    return Store(tmp_path / "journal", cluster.database(migrated))


@contextlib.contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    cluster.stop()
    try:
        yield
    finally:
        cluster.start()


def test_a_database_that_is_away_delays_and_doubles_nothing(cluster: Cluster, shared: Store) -> None:
    journal = FileJournal(shared.journal, part_bytes=1000)
    for number in range(100):
        journal.close(finished(str(number)))
    end(journal)
    with stopped(cluster):
        for attempt in (shared.importer.import_now, lambda: usage(shared.url), lambda: recent(shared.url)):
            with pytest.raises(ServingError) as raised:
                attempt()
            assert raised.value.kind == "unreachable"
    assert shared.importer.import_now() == 100
    assert usage(shared.url).total.requests == 100
    shared.check_rollups()


def test_homes_may_begin_the_same_ledger_at_once(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.database()
    importers: list[Importer] = []
    for name in ("one", "two", "three"):
        journal = FileJournal(tmp_path / name)
        for number in range(500):
            journal.close(finished(f"{name}{number}"))
        end(journal)
        importers.append(Importer(tmp_path / name, url))
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(Importer.import_now, importers)) == [500, 500, 500]
    store = Store(tmp_path, url)
    assert len({row.id for row in recent(url, 10_000)}) == 1500
    store.check_rollups()


@pytest.mark.anyio
async def test_a_database_that_hangs_is_told_and_waited_for(
    cluster: Cluster, shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer_file, "EVERY", 0.05)
    monkeypatch.setattr(importer_file, "_SILENCE", 10.0)
    shared.write_part(1, [a_close(1)])
    running = asyncio.create_task(shared.importer.run())
    try:
        async with asyncio.timeout(120):
            while not (shared.rows() and shared.importer.health().ok):
                await asyncio.sleep(0.05)
            cluster.freeze()
            try:
                shared.write_part(1, [a_close(2)], name="w.f")
                while shared.importer.health().ok:
                    await asyncio.sleep(0.05)
                assert "does not answer" in shared.importer.health().reason
            finally:
                cluster.thaw()
            while not shared.importer.health().ok:
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert len(shared.rows()) == 2
    shared.check_rollups()
