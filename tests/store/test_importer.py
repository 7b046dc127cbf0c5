"""The importer: exactly once, whatever is torn, killed, locked or imported again."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import eventually
from store.noting import Store, a_close, an_open, end, finished, living, meter, start_streaming, written

from trunkcall.core.errors import ServingError
from trunkcall.store import database as database_file
from trunkcall.store import importer as importer_file
from trunkcall.store import journal_files
from trunkcall.store.importer import Importer
from trunkcall.store.journal import Close, FileJournal, Open, Progress, Row
from trunkcall.store.revision import REVISION


def test_rows_arrive_once_and_files_of_the_dead_go(store: Store) -> None:
    journal = FileJournal(store.journal, writer="w")
    live = meter("live")
    journal.open(live)
    for number in range(20):
        journal.close(finished(str(number)))
    live.progress(4)
    eventually(lambda: written(store.journal) == 22)
    assert journal.health().ok and live.noted == 4
    assert store.importer.import_now() == 22
    assert store.importer.import_now() == 0
    assert store.rows("id, completion_tokens, closed")[0] == ("live", 4, 0)
    journal.close(live)
    end(journal)
    assert store.importer.import_now() == 1
    assert [path.name for path in store.journal.iterdir()] == ["importer.lock"]
    rows = store.rows("epoch, sequence, id, prompt_tokens, completion_tokens, cached_tokens, closed, estimated")
    assert rows[0] == (1, 1, "live", 0, 4, None, 1, 1)
    assert rows[1:] == [(1, number + 2, str(number), 5, 7, 2, 1, 0) for number in range(20)]
    assert store.query("SELECT number, writer, epoch FROM epochs") == [(1, "w", journal.epoch)]


def test_a_second_import_of_everything_changes_nothing(store: Store) -> None:
    journal = FileJournal(store.journal)
    live = meter("live")
    journal.open(live)
    live.progress(3)
    for number in range(50):
        one = finished(str(number))
        journal.open(one)
        journal.close(one)
    eventually(lambda: (written(store.journal, "close"), written(store.journal, "progress")) == (50, 1))
    store.importer.import_now()
    before = store.rows()
    store.run("DELETE FROM journal_positions")
    assert store.importer.import_now() >= 52
    assert store.rows() == before
    end(journal)


def test_after_kill_9_the_orphan_is_closed_with_what_it_had(store: Store) -> None:
    with start_streaming(store.journal) as child:
        assert child.stdout is not None
        stdout = child.stdout
        counts = [0]

        def read_on() -> int:
            counts.append(int(stdout.readline().split()[0]))
            return counts[-1]

        eventually(lambda: read_on() >= 150 and written(store.journal, "open"))
        store.importer.import_now()
        assert ("live", "", 0) in store.rows("id, error, closed")
        seen = written(store.journal, "progress")
        # What the second one from now notes was counted by now at least.
        eventually(lambda: read_on() and written(store.journal, "progress") >= seen + 2)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        counts += [int(line.split()[0]) for line in stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    store.importer.import_now()
    store.importer.import_now()
    lost, *closed = store.rows("id, error, closed, estimated, completion_tokens")
    assert lost[:4] == ("live", "gateway_lost", 1, 1)
    assert 150 <= lost[4] <= counts[-1] + 1
    assert [row[0] for row in closed] == [str(number) for number in range(10)]
    assert [path.name for path in store.journal.iterdir()] == ["importer.lock"]


def test_without_an_upgrade_rows_wait_in_the_journal(tmp_path: Path) -> None:
    new = Store(tmp_path / "journal", f"sqlite:///{tmp_path / 'ledger.db'}")
    journal = FileJournal(new.journal)
    journal.close(finished("a"))
    end(journal)
    assert new.importer.import_now(upgrade=False) == 0
    assert new.importer.import_now() == 1
    assert [name for (name,) in new.rows("id")] == ["a"]


def test_torn_and_foreign_lines_are_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.write_part(1, [a_close(1)], torn=b'["close",2,"r2')
    path = store.write_part(2, [a_close(2), a_close(3)])
    middle = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(middle[0] + b"{}\n\n\xff\n" + b"[" * 9999 + b"\n" + middle[1])
    (store.journal / "some.other.file.jsonl").write_text("not ours")
    store.importer.import_now()
    assert store.rows("sequence") == [(1,), (2,), (3,)]
    assert sum("not readable" in record.message for record in caplog.records) == 4
    assert sorted(path.name for path in store.journal.iterdir()) == ["importer.lock", "some.other.file.jsonl"]


def test_a_line_that_is_still_being_written_is_read_later(store: Store) -> None:
    store.journal.mkdir()
    lock = (store.journal / "w.e.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    data = msgspec.json.Encoder().encode_lines([a_close(1), a_close(2)])
    path = store.journal / "w.e.000001.jsonl"
    path.write_bytes(data[:-10])
    assert store.importer.import_now() == 1
    path.write_bytes(data)
    assert store.importer.import_now() == 1
    assert store.importer.import_now() == 0
    lock.close()
    store.importer.import_now()
    assert not path.exists()


def test_rotated_parts_of_a_living_writer_are_deleted(store: Store) -> None:
    journal = FileJournal(store.journal, part_bytes=2000)
    for number in range(100):
        journal.close(finished(str(number)))
        if number % 10 == 9:
            eventually(lambda done=number + 1: written(store.journal) == done)
    store.importer.import_now()
    assert len(list(store.journal.glob("*.jsonl"))) == 1
    assert len(store.rows()) == 100
    end(journal)
    store.importer.import_now()
    assert len(store.rows()) == 100
    assert store.query("SELECT count(*) FROM journal_positions") == [(0,)]


def test_large_files_go_in_several_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_files, "_BLOCK", 1000)
    store.write_part(1, [a_close(number) for number in range(200)])
    assert store.importer.import_now() == 200
    assert len(store.rows()) == 200


def test_wild_values_do_not_stop_the_import(store: Store) -> None:
    rows = [a_close(1, id="a\x00b"), a_close(2, prompt_tokens=2**63), a_close(3, prompt_tokens=2**63 - 1)]
    store.write_part(1, rows)
    store.importer.import_now()
    assert store.rows("sequence, id, prompt_tokens") == [(1, "a\ufffdb", 10), (3, "r3", 2**40)]


def test_a_locked_database_delays_and_loses_nothing(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_file, "PATIENCE", 0.5)
    sqlite_store.write_part(1, [a_close(1), a_close(2)])
    holder = sqlite3.connect(sqlite_store.database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(ServingError, match="locked") as raised:
        sqlite_store.importer.import_now()
    assert raised.value.kind == "unreachable"
    assert 0.5 <= time.monotonic() - began < 30
    assert list(sqlite_store.journal.glob("*.jsonl"))
    holder.execute("ROLLBACK")
    holder.close()
    assert sqlite_store.importer.import_now() == 2
    assert sqlite_store.rows("sequence") == [(1,), (2,)]


def test_two_imports_at_once_share_the_work(store: Store) -> None:
    store.write_part(1, [a_close(number) for number in range(3000)])
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(store.importer.import_now(60))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(counts) == [0, 0, 0, 3000]
    assert len(store.rows()) == 3000


def test_an_import_that_takes_too_long_is_told(store: Store) -> None:
    store.journal.mkdir()
    with importer_file.importing_alone(store.journal, 0), pytest.raises(ServingError, match="still under way"):
        store.importer.import_now(wait=0.05)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "nonsense"])
def test_an_unknown_url_is_told(store: Store, url: str) -> None:
    store.journal.mkdir()
    with pytest.raises(ServingError, match="sqlite:///PATH") as raised:
        Importer(store.journal, url).import_now()
    assert raised.value.kind == "bad_request"


def test_a_file_that_is_no_database_is_told(sqlite_store: Store) -> None:
    sqlite_store.journal.mkdir()
    sqlite_store.database.write_bytes(b"no database" * 1000)
    with pytest.raises(ServingError, match="not a database"):
        sqlite_store.importer.import_now()


def test_a_ledger_of_a_newer_version_is_left_alone(store: Store) -> None:
    store.write_part(1, [a_close(1)])
    store.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ServingError, match="newer Trunkcall") as raised:
        store.importer.import_now()
    assert raised.value.kind == "conflict"
    assert list(store.journal.glob("*.jsonl"))


def test_without_a_journal_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert Importer(tmp_path / "none", f"sqlite:///{tmp_path / 'ledger.db'}").import_now() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_the_running_importer_is_a_child_that_makes_a_last_pass(store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(importer_file, "EVERY", 0.1)
    journal = FileJournal(store.journal)
    running = asyncio.create_task(store.importer.run())
    one = meter("live")
    journal.open(one)
    async with asyncio.timeout(50):
        while not store.rows():
            await asyncio.sleep(0.05)
    for number in range(10):
        journal.close(finished(str(number)))
    journal.close(one)
    await journal.aclose()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(store.rows("id, error, closed")) == sorted([("live", "", 1), *((str(n), "", 1) for n in range(10))])
    assert store.importer.health().ok


@pytest.mark.anyio
async def test_the_child_ends_when_quiet_and_comes_back_for_news(store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(importer_file, "EVERY", 0.05)
    monkeypatch.setattr(importer_file, "_LINGER", 1)
    ended: list[object] = []
    attend = Importer._attend

    async def counted(self: Importer) -> object:
        ended.append(await attend(self))
        return ended[-1]

    monkeypatch.setattr(Importer, "_attend", counted)
    journal = FileJournal(store.journal)
    running = asyncio.create_task(store.importer.run())
    for round_ in (1, 2):
        journal.close(finished(f"round {round_}"))
        async with asyncio.timeout(50):
            while len(ended) < round_:
                await asyncio.sleep(0.05)
        assert len(store.rows()) == round_
    await asyncio.sleep(0.3)
    assert len(ended) == 2
    assert None not in ended
    running.cancel()
    await asyncio.wait([running])
    await journal.aclose()


@pytest.mark.anyio
async def test_a_database_that_is_away_is_told_and_waited_for(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(importer_file, "EVERY", 0.05)
    store = Store(tmp_path / "journal", f"sqlite:///{tmp_path / 'ledger.db'}")
    store.write_part(1, [a_close(1)])
    store.database.mkdir()
    running = asyncio.create_task(store.importer.run())
    async with asyncio.timeout(50):
        while store.importer.health().ok:
            await asyncio.sleep(0.05)
        assert "unable to open" in store.importer.health().reason
        store.database.rmdir()
        while not store.importer.health().ok:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])
    assert store.rows("sequence") == [(1,)]


@pytest.mark.anyio
async def test_a_child_that_was_killed_is_started_again(store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(importer_file, "EVERY", 0.05)
    pids: list[int] = []
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Any:
        child = await start(*arguments, **options)
        pids.append(child.pid)
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    journal = FileJournal(store.journal)
    journal.close(finished("a"))
    running = asyncio.create_task(store.importer.run())
    async with asyncio.timeout(50):
        while not store.rows():
            await asyncio.sleep(0.05)
        os.kill(pids[0], signal.SIGKILL)
        journal.close(finished("b"))
        while len(store.rows()) < 2:
            await asyncio.sleep(0.05)
    assert len(pids) == 2
    running.cancel()
    await asyncio.wait([running])
    await journal.aclose()


SERVER = """
import asyncio, sys
from pathlib import Path
from store.noting import finished, meter
from trunkcall.store import importer
from trunkcall.store.journal import FileJournal
async def main():
    importer.EVERY = 0.05
    journal = FileJournal(Path(sys.argv[1]))
    one = meter("live"); journal.open(one); one.progress(5)
    print("on", flush=True)
    await importer.Importer(Path(sys.argv[1]), sys.argv[2]).run()
asyncio.run(main())
"""


def test_the_child_outlives_a_killed_server_to_close_its_orphans(store: Store) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(store.journal), store.url],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
    ) as server:
        eventually(lambda: store.rows("completion_tokens") == [(5,)], 50)
        server.kill()
        server.wait(10)
    eventually(lambda: store.rows("error, completion_tokens, closed") == [("gateway_lost", 5, 1)], 50)


ORDERS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["open", "progress", "close"])), max_size=40)


@pytest.mark.timeout(240)
@given(steps=ORDERS, points=st.sets(st.integers(0, 40)), again=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_interleaving_of_rows_and_imports_gives_the_same_ledger(
    store: Store, steps: list[tuple[int, str]], points: set[int], again: bool
) -> None:
    """Against a model: a request that was closed says so, one that was only opened is lost with its last progress."""
    opened: dict[int, int] = {}
    closed: set[int] = set()
    rows: list[Row] = []
    counts = itertools.count(1)
    for sequence, step in steps:
        if step == "open" and sequence not in opened and sequence not in closed:
            opened[sequence] = 0
            rows.append(an_open(sequence))
        elif step == "progress" and sequence in opened and sequence not in closed:
            opened[sequence] = next(counts)
            rows.append(Progress(sequence, opened[sequence]))
        elif step == "close" and sequence not in closed:
            closed.add(sequence)
            rows.append(a_close(sequence))
    for table in ("requests", "rollups", "journal_positions"):
        store.run(f"DELETE FROM {table}")
    with living(store.journal):
        with (store.journal / "w.e.000001.jsonl").open("ab") as file:
            for number, row in enumerate(rows):
                file.write(msgspec.json.encode(row) + b"\n")
                file.flush()
                if number in points:
                    store.importer.import_now()
        if again:
            store.run("DELETE FROM journal_positions")
    store.importer.import_now()
    assert store.rows("sequence, completion_tokens, error, closed, estimated") == [
        (sequence, 20, "", 1, 0) if sequence in closed else (sequence, opened[sequence], "gateway_lost", 1, 1)
        for sequence in sorted({*opened, *closed})
    ]
    store.check_rollups()


def test_what_the_importer_knows_of_the_schema_is_what_the_schema_says() -> None:
    from trunkcall.store.schema import requests

    assert {"epoch", *Close.__struct_fields__, "closed"} == {column.name for column in requests.columns}
    assert set(Open.__struct_fields__) < set(Close.__struct_fields__)
    versions = Path(importer_file.__file__).with_name("migrations") / "versions"
    assert max(path.name for path in versions.glob("*.py")).startswith(f"{REVISION}_")


def test_the_server_process_is_spared_sqlalchemy_and_alembic(sqlite_store: Store) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from trunkcall.store import journal, importer, ledger, records\n"
        "there = records.Records(importer.Importer(Path(sys.argv[1]), sys.argv[2]), sys.argv[2])\n"
        "asyncio.run(there.usage(('key', 'day'))), asyncio.run(there.requests(model='m'))\n"
        "print([name for name in ('sqlalchemy', 'alembic', 'psycopg') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(sqlite_store.journal), sqlite_store.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
