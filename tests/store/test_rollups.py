"""The sums by hour and day: what a span is made of, and that each request is in them once, whatever happens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
from running import eventually
from store.noting import NOON, Store, a_close, an_open, living

from trunkcall.store.ledger import usage
from trunkcall.store.rollups import DAY, HOUR, SINGLE, WEEK, Changes, Piece, counted, facet, pieces

MOST = 2**40


@pytest.mark.parametrize(
    ("since", "until", "spans", "expected"),
    [
        (0, 3 * DAY, [DAY, HOUR], [Piece(DAY, 0, 3 * DAY)]),
        (0, 3 * DAY, [HOUR], [Piece(HOUR, 0, 3 * DAY)]),
        (5, 9, [DAY, HOUR], [Piece(SINGLE, 5, 9)]),
        (5, 5, [DAY, HOUR], []),
        (9, 5, [DAY, HOUR], []),
        (5, 2 * HOUR, [DAY, HOUR], [Piece(SINGLE, 5, HOUR), Piece(HOUR, HOUR, 2 * HOUR)]),
        (HOUR - 1, HOUR + 1, [DAY, HOUR], [Piece(SINGLE, HOUR - 1, HOUR + 1)]),
        (0, 9, [], [Piece(SINGLE, 0, 9)]),
        (5, WEEK + DAY, [WEEK, DAY], [Piece(SINGLE, 5, DAY), Piece(DAY, DAY, WEEK + DAY)]),
        (0, 2 * WEEK + 5, [WEEK, DAY], [Piece(WEEK, 0, 2 * WEEK), Piece(SINGLE, 2 * WEEK, 2 * WEEK + 5)]),
        (
            DAY - HOUR - 1,
            2 * DAY + HOUR + 1,
            [DAY, HOUR],
            [
                Piece(SINGLE, DAY - HOUR - 1, DAY - HOUR),
                Piece(HOUR, DAY - HOUR, DAY),
                Piece(DAY, DAY, 2 * DAY),
                Piece(HOUR, 2 * DAY, 2 * DAY + HOUR),
                Piece(SINGLE, 2 * DAY + HOUR, 2 * DAY + HOUR + 1),
            ],
        ),
    ],
)
def test_what_a_span_is_made_of(since: float, until: float, spans: list[int], expected: list[Piece]) -> None:
    assert pieces(since, until, spans) == expected


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ((), "replica"),
        (("model", "error", "protocol", "day"), "replica"),
        (("key", "error"), "key"),
        (("replica",), "replica"),
        (("key", "model", "replica"), "both"),
    ],
)
def test_the_shortest_sums_that_tell_the_groups_apart(by: tuple[str, ...], expected: str) -> None:
    assert facet(by).name == expected


def test_what_is_counted_and_taken_back_leaves_nothing() -> None:
    changes = Changes()
    rows = [counted(a_close(1, cost=0.1, error="x")), counted(a_close(2, total_ms=None, cached_tokens=3))]
    changes.add(rows)
    cells = changes.cells()
    assert cells["key", DAY, int(NOON // DAY * DAY), "a", "alice", "", "openai", ""] == [
        1, 0, 0, 10, 20, 3, 0.0, 1, 5.0, 0, 0,
    ]  # fmt: skip
    assert cells["both", WEEK, int(NOON // WEEK * WEEK), "a", "alice", "a-1", "openai", "x"] == [
        1, 1, 0, 10, 20, 0, 0.1, 1, 5.0, 1, 50.0,
    ]  # fmt: skip
    assert {cell[:2] for cell in cells} == {
        *(("key", span) for span in (HOUR, DAY, WEEK)), *(("replica", span) for span in (HOUR, DAY, WEEK)),
        ("both", DAY), ("both", WEEK),
    }  # fmt: skip
    changes.take(rows)
    assert changes.cells() == {}


def late(store: Store) -> None:
    store.write_part(1, [a_close(3, opened_at=NOON - 40 * DAY, cost=2.0)], name="v.late")


def again(store: Store) -> None:
    store.run("DELETE FROM journal_positions")
    store.write_part(1, [a_close(1), a_close(2)])


def corrected(store: Store) -> None:
    store.write_part(2, [a_close(1, completion_tokens=5, error="upstream_error", key="bob", cost=9.0)])


def lost_then_found(store: Store) -> None:
    store.write_part(1, [an_open(7)], name="w.x")
    store.importer.import_now()
    store.write_part(2, [a_close(7, completion_tokens=99)], name="w.x")


def wild(store: Store) -> None:
    store.write_part(
        3, [a_close(n, prompt_tokens=2**63 - 1, completion_tokens=-5, cached_tokens=2**62) for n in (8, 9)]
    )


@pytest.mark.parametrize("event", [late, again, corrected, lost_then_found, wild])
def test_sums_stay_those_of_the_requests(store: Store, event: Callable[[Store], None]) -> None:
    with living(store.journal):
        store.write_part(1, [a_close(1), a_close(2)])
        store.importer.import_now()
        event(store)
        store.importer.import_now()
        store.importer.import_now()
    store.check_rollups()
    assert usage(store.url).total.requests == len(store.rows())


def test_rows_of_an_earlier_version_are_imported(store: Store) -> None:
    data = msgspec.json.encode(msgspec.structs.astuple(a_close(1))[:19])
    store.write_part(1, [])
    path = store.write_part(1, [], b'["close",' + data[1:] + b"\n")
    path.write_bytes(path.read_bytes() + b'["open",2,"r2","a","","openai","",false,' + str(NOON).encode() + b"]\n")
    assert store.importer.import_now() == 2
    assert store.rows("id, asked, queue_ms, resumes, cost, error") == [
        ("r1", "", None, 0, 0.0, ""),
        ("r2", "", None, 0, 0.0, "gateway_lost"),
    ]
    store.check_rollups()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_importer_loses_nothing_and_doubles_nothing(store: Store) -> None:
    """The child is killed at random moments while rows keep coming, until all are in."""
    kinds = random.Random(7)
    total = 30_000
    written = threading.Event()

    def write() -> None:
        with living(store.journal):
            for part in range(1, 31):
                first = (part - 1) * 1000
                rows = [an_open(number) for number in range(first, first + 1000)]
                closes = [
                    a_close(number, opened_at=NOON + number, key=f"k{number % 7}", cost=0.25)
                    for number in range(first, first + 1000)
                ]
                store.write_part(part, [*rows, *closes])
                time.sleep(0.01)
        written.set()

    store.journal.mkdir()
    writer = threading.Thread(target=write)
    writer.start()
    kills = 0
    end = time.monotonic() + 120
    while kills < 12 or not written.is_set():
        assert time.monotonic() < end
        child = subprocess.Popen(
            [sys.executable, "-m", "trunkcall.store.importer", str(store.journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        with child:
            assert child.stdin is not None
            child.stdin.write(f"{store.url}\n0 inf\n".encode())
            child.stdin.flush()
            time.sleep(kinds.uniform(0.15, 0.8))
            os.kill(child.pid, signal.SIGKILL)
        kills += 1
    writer.join()
    eventually(lambda: store.importer.import_now() >= 0 and not list(store.journal.glob("*.jsonl")))
    assert store.query(
        "SELECT count(*), sum(completion_tokens), count(DISTINCT sequence) FROM requests WHERE closed"
    ) == [(total, total * 20, total)]
    assert usage(store.url).total.cost == total * 0.25
    store.check_rollups()
