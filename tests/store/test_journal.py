"""The journal's files: what is written when, what survives a kill, a full disk and a torn line."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from running import eventually
from store.noting import end, finished, meter, start_streaming, written

from trunkcall.core.events import Usage
from trunkcall.store.journal import WINDOW, Close, FileJournal, Open, Progress, Row


def rows_in(directory: Path) -> list[Row]:
    data = b"".join(path.read_bytes() for path in sorted(directory.glob("*.jsonl")))
    return msgspec.json.Decoder(Row).decode_lines(data)


def test_a_short_request_is_one_whole_row(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    one = finished("a")
    one.dropped = ("top_k", "seed")
    journal.open(one)
    journal.close(one)
    end(journal)
    (row,) = rows_in(tmp_path)
    assert isinstance(row, Close)
    assert (row.sequence, row.id, row.model, row.replica, row.protocol) == (1, "a", "pocket", "pocket-1", "openai")
    assert (row.key, row.stream, row.finish, row.error, row.status, row.attempts) == ("alice", True, "stop", "", 200, 1)
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.estimated) == (5, 7, 2, False)
    assert row.dropped == "top_k,seed"
    assert row.opened_at == one.opened_at
    assert row.first_token_ms is not None and row.total_ms is not None
    assert 0 <= row.first_token_ms <= row.total_ms < 10_000


def test_a_live_stream_is_opened_and_its_progress_noted_within_a_window(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    one = meter("a")
    write = journal._write
    windows: list[Row] = []
    """What each one ended with."""

    def watched(*, last: bool) -> None:
        write(last=last)
        windows.append(rows_in(tmp_path)[-1])

    journal._write = watched  # type: ignore[method-assign]
    journal.open(one)
    eventually(lambda: windows)
    assert isinstance(windows[0], Open)
    for total in (2, 5):
        one.progress(total - one.chunks)
        begun = len(windows)
        eventually(lambda begun=begun: len(windows) > begun + 1)
        # The window that had begun already may or may not have it.
        assert windows[begun + 1] == Progress(1, total)
    one.usage = Usage(1, 6)
    journal.close(one)
    end(journal)
    assert [type(row) for row in rows_in(tmp_path)] == [Open, Progress, Progress, Close]


def test_chunks_stand_for_tokens_when_no_usage_came(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    streamed, refused = meter("a"), meter("b", error="overloaded", status=429)
    left = meter("c", error="cancelled", status=499)
    streamed.progress(9)
    streamed.prompt, left.prompt = 5, 6
    for one in (streamed, refused, left):
        journal.close(one)
    end(journal)
    closes = [row for row in rows_in(tmp_path) if isinstance(row, Close)]
    found = [(row.prompt_tokens, row.completion_tokens, row.estimated) for row in closes]
    assert found == [(5, 9, True), (0, 0, False), (6, 0, True)]


def test_nothing_is_written_and_the_thread_rests_while_nothing_happens(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    assert journal._thread is None
    journal.close(finished("a"))
    eventually(lambda: written(tmp_path / "journal") == 1 and not journal._unsynced and not journal._awake)
    (part,) = (tmp_path / "journal").glob("*.jsonl")
    assert journal._thread is not None and journal._thread.ident is not None
    clock = time.pthread_getcpuclockid(journal._thread.ident)
    size, before = part.stat().st_size, time.clock_gettime(clock)
    time.sleep(0.5)
    assert time.clock_gettime(clock) - before < 0.05
    assert part.stat().st_size == size
    journal.close(finished("b"))
    eventually(lambda: part.stat().st_size > size)
    end(journal)


def test_many_requests_lose_nothing_and_sequences_are_unique(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, part_bytes=20_000)
    for number in range(5000):
        one = finished(str(number))
        journal.open(one)
        journal.close(one)
        if number % 500 == 0:
            eventually(lambda: not journal._closed)
    end(journal)
    rows = rows_in(tmp_path)
    assert sorted(row.sequence for row in rows) == list(range(1, 5001))
    assert {row.id for row in rows if isinstance(row, Close)} == {str(number) for number in range(5000)}
    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    assert journal.lost == 0


def test_what_json_and_databases_cannot_say_is_replaced(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    long = "x" * 1_000_000
    for one in (
        finished("a"),
        finished("\ud800b"),
        finished("\U0001f600\udfff", served="caf\u00e9"),
        finished(long, model=long, served=long, finish=long, why=long, dropped=(long, long)),
        finished("huge", usage=Usage(2**70, 2**64, 2**65)),
    ):
        journal.close(one)
    end(journal)
    rows = [row for row in rows_in(tmp_path) if isinstance(row, Close)]
    assert [row.id[:9] for row in rows] == ["a", "\ufffdb", "\U0001f600\ufffd", "xxxxxxxxx", "huge"]
    assert rows[2].model == "caf\u00e9"
    assert len(msgspec.json.encode(rows[3])) < 4000
    assert (rows[4].prompt_tokens, rows[4].completion_tokens, rows[4].cached_tokens) == (2**40, 2**40, 2**40)
    assert journal.lost == 0


def test_the_story_of_a_request_is_in_its_row(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    one = finished("a", model="chat", resumes=2, resumed="exact", cost=0.25)
    one.started -= 1
    one.grant("big-2", "big", "least_loaded: 0 of 4")
    journal.open(one)
    eventually(lambda: written(tmp_path))
    journal.close(one)
    end(journal)
    opened, *_, closed = rows_in(tmp_path)
    assert isinstance(opened, Open) and isinstance(closed, Close)
    for row in (opened, closed):
        assert (row.model, row.asked, row.replica, row.why) == ("big", "chat", "big-2", "least_loaded: 0 of 4")
        assert row.queue_ms is not None and 1000 <= row.queue_ms < 10_000
    assert (closed.resumes, closed.resumed, closed.cost) == (2, "exact", 0.25)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": "gpt-5", "served": "gpt-5", "error": "no_model"}, ("", "gpt-5", None)),
        ({"model": "pocket", "served": "pocket", "error": "overloaded"}, ("pocket", "", None)),
        ({"model": "alias", "served": "pocket", "error": "no_model", "granted": 1.0, "started": 1.0}, ("pocket", "alias", 0.0)),
    ],
)  # fmt: skip
def test_names_that_callers_make_up_are_no_models(tmp_path: Path, given: dict, expected: tuple) -> None:
    journal = FileJournal(tmp_path)
    journal.close(meter("a", **given))
    end(journal)
    (row,) = rows_in(tmp_path)
    assert isinstance(row, Close)
    assert (row.model, row.asked, row.queue_ms) == expected


def test_calls_after_the_end_are_counted_as_lost(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    end(journal)
    journal.close(finished("a"))
    assert journal.lost == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A file system of 64 KiB."""
    where = tmp_path / "tiny"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_delays_rows_and_loses_none(tiny_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    filler = tiny_disk / "filler"
    filler.write_bytes(b"x" * 40_000)
    journal = FileJournal(tiny_disk)
    for number in range(300):
        journal.close(finished(str(number)))
    eventually(lambda: not journal.health().ok)
    assert "No space left" in journal.health().reason
    for number in range(300, 310):
        journal.close(finished(str(number)))
    time.sleep(WINDOW * 4)
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1
    filler.unlink()
    eventually(lambda: journal.health().ok)
    end(journal)
    seen: list[str] = []
    for path in sorted(tiny_disk.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                row = msgspec.json.decode(line, type=Row)
                assert isinstance(row, Close)
                seen.append(row.id)
    assert seen == [str(number) for number in range(310)]
    assert journal.lost == 0


def test_a_disk_that_stays_full_costs_the_oldest_rows_and_says_how_many(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    journal = FileJournal(blocked / "journal", limit=50)
    for batch in range(4):
        for number in range(20):
            journal.close(finished(f"{batch}-{number}"))
        eventually(lambda: not journal._closed)
        time.sleep(WINDOW)
    eventually(lambda: journal.lost == 40)
    blocked.unlink()
    eventually(lambda: journal.health().ok)
    end(journal)
    found = [row.id for row in rows_in(blocked / "journal") if isinstance(row, Close)]
    assert found == [f"{batch}-{number}" for batch in (2, 3) for number in range(20)]


def test_progress_does_not_push_out_rows_while_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = FileJournal(tmp_path / "file" / "journal", limit=4)
    live = meter("live")
    journal.close(finished("a"))
    journal.open(live)
    for _ in range(10):
        live.progress()
        time.sleep(WINDOW)
    (tmp_path / "file").unlink()
    eventually(lambda: journal.health().ok and live.noted == 10)
    end(journal)
    assert journal.lost == 0
    rows = rows_in(tmp_path / "file" / "journal")
    assert [type(row) for row in rows[:2]] == [Close, Open]
    assert rows[-1] == Progress(2, 10)
    assert len(rows) <= 4


def test_a_disk_that_is_full_at_the_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = FileJournal(tmp_path / "file" / "journal")
    journal.close(finished("a"))
    end(journal)
    assert journal.lost == 1
    assert not journal.health().ok


LIMITED = """
import asyncio, sys
from pathlib import Path
from running import eventually
from store.noting import finished
from trunkcall.store.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
for number in range(1000):
    journal.close(finished(str(number)))
    if number == 400: eventually(lambda: not journal.health().ok or not journal._pending)
asyncio.run(journal.aclose())
print(journal.lost)
"""


def test_a_file_size_limit_only_ends_the_part(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert int(done.stdout) == 0
    lines = [line for path in tmp_path.glob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    whole = {msgspec.json.decode(line)[2] for line in lines if line.endswith(b"\n")}
    assert whole == {str(number) for number in range(1000)}
    assert len(list(tmp_path.glob("*.jsonl"))) >= 3


def test_kill_9_loses_at_most_one_window(tmp_path: Path) -> None:
    with start_streaming(tmp_path) as child:
        assert child.stdout is not None
        windows = 0
        seen: list[tuple[int, int]] = []
        while windows < 12:
            count, begun, longest = child.stdout.readline().split()
            windows = int(begun)
            seen.append((int(count), windows))
            assert float(longest) in (0, WINDOW)
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    noted = max(row.chunks for row in rows_in(tmp_path) if isinstance(row, Progress))
    # By windows and not by a clock, as a busy machine may stretch them: what was counted before the last but one began
    # was in it, and when the last one began that was written.
    assert noted >= max(count for count, begun in seen if begun <= windows - 2)
    assert len([row for row in rows_in(tmp_path) if isinstance(row, Close)]) == 10
