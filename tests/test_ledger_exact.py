"""What clients received is what the ledger says, also when the server is killed at any moment."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import signal
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from running import Server, eventually
from store.noting import Store

from trunkcall.store.journal import WINDOW

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACE = 0.004
"""Seconds between two pieces of a slow stream."""
MODELS = ("--no-pocket", "--model", "quick=debug", "--model", f"slow=debug:{PACE}")


class Received(msgspec.Struct):
    """What a client knows of a request: pieces by the time of their arrival, and when the whole had come."""

    id: str
    pieces: list[float]
    done: float | None = None


class Clients:
    """Threads that ask without end, and what each of their requests came to; killed: the server is, or is about to be."""

    killed = False

    def __init__(self, server: Server) -> None:
        self._netloc = urlsplit(server.url).netloc
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.received: list[Received] = []

    def start(self, count: int, model: str, words: int, stream: bool) -> None:
        for _ in range(count):
            self._threads.append(threading.Thread(target=self._run, args=(model, words, stream)))
            self._threads[-1].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(150)
            assert not thread.is_alive()

    def _run(self, model: str, words: int, stream: bool) -> None:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "word " * words}]}
        connection = http.client.HTTPConnection(self._netloc, timeout=60)
        try:
            while not self._stop.is_set():
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                assert answer.status == 200
                this = Received(answer.getheader("x-trunkcall-request-id", ""), [])
                self.received.append(this)
                if stream:
                    for line in answer:
                        if b'"content":"' in line and b'"content":""' not in line:
                            this.pieces.append(time.monotonic())
                else:
                    tokens = json.loads(answer.read())["usage"]["completion_tokens"]
                    this.pieces = [time.monotonic()] * tokens
                this.done = time.monotonic()
        except (OSError, http.client.HTTPException):
            assert self._stop.is_set() or self.killed, "the server failed by itself"
        finally:
            connection.close()


class Life(msgspec.Struct):
    """One life of the server: what its clients had when it was killed, None where it ended in order.

    slack: seconds that may be lost: the window, and how late this machine runs its threads and the server's.
    """

    received: list[Received]
    killed: float | None
    slack: float


class Lag:
    """How late a thread of this machine wakes from a sleep of one window, at worst."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Lag:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            time.sleep(WINDOW)
            self.worst = max(self.worst, time.monotonic() - began - WINDOW)


def ledger_of(tmp_path: Path) -> Store:
    home = tmp_path / "home"
    return Store(home / "journal", f"sqlite:///{home / 'ledger.db'}")


def live(home: Path, seconds: float, kill: bool, quick: int, slow: int) -> Life:
    with Server(*MODELS, home=home) as server:
        clients = Clients(server)
        with Lag() as lag:
            clients.start(quick, "quick", 3, stream=False)
            clients.start(quick // 2, "quick", 7, stream=True)
            clients.start(slow, "slow", 2000, stream=True)
            time.sleep(seconds)
            killed = None
            if kill:
                clients.killed = True
                killed = time.monotonic()
                server.process.send_signal(signal.SIGKILL)
                server.process.wait(10)
        clients.stop()
        late = max(lag.worst, silence(clients.received, killed))
        return Life(clients.received, killed, WINDOW * 3 + late * 2)


def silence(received: list[Received], killed: float | None) -> float:
    """The longest time between two pieces of a stream, or between its last one and the kill: the server stood still."""
    known = [one.pieces if one.done or killed is None else [*one.pieces, killed] for one in received if one.pieces]
    return max((later - earlier for pieces in known for earlier, later in itertools.pairwise(pieces)), default=0.0)


def check(store: Store, lives: list[Life], strangers: int) -> dict[str, int]:
    """strangers: requests that may be in the ledger though no client knows of them: each was cut before its head."""
    eventually(lambda: store.importer.import_now() >= 0 and not list(store.journal.glob("*.jsonl")), 120)
    rows = store.rows("id, completion_tokens, error, closed, estimated")
    recorded = {row[0]: row[1:] for row in rows}
    assert len(rows) == len(recorded), "something was entered twice"
    assert all(closed for _, _, closed, _ in recorded.values())
    counts = {"requests": len(rows), "exact": 0, "lost": 0, "missing": 0, "tokens": 0, "delivered": 0, "oldest_ms": 0}
    known: set[str] = set()
    for life in lives:
        end = life.killed or float("inf")
        for one in life.received:
            known.add(one.id)
            counts["delivered"] += len(one.pieces)
            row = recorded.get(one.id)
            if row is None:
                # A short request is noted at its end, a longer one from its first piece on.
                age = end - min(one.pieces, default=end)
                counts["missing"] += 1
                counts["oldest_ms"] = max(counts["oldest_ms"], int(age * 1000))
                assert age <= life.slack, "a request that was to be noted is missing"
                continue
            tokens, error, _, _ = row
            counts["tokens"] += tokens
            if error == "gateway_lost":
                counts["lost"] += 1
                assert one.done is None or end - one.done <= life.slack
                early = sum(moment < end - life.slack for moment in one.pieces)
                # What was counted may not have reached the client: a window's worth at most.
                assert early <= tokens <= len(one.pieces) + life.slack / PACE, (early, tokens, len(one.pieces))
            elif one.done is not None:
                counts["exact"] += 1
                assert tokens == len(one.pieces), (error, tokens, len(one.pieces))
            else:
                assert error == "cancelled" or life.killed is not None
    assert len(recorded.keys() - known) <= strangers
    store.check_rollups()
    return counts


def test_ten_thousand_requests_and_kills_at_random_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(20)
    lives: list[Life] = []
    for number in itertools.count():
        enough = sum(len(life.received) for life in lives) >= 10_000
        assert number < 200
        lives.append(live(tmp_path / "home", chance.uniform(0.2, 1.6), not enough, quick=8, slow=4))
        if enough:
            break
    kills = sum(life.killed is not None for life in lives)
    counts = check(ledger_of(tmp_path), lives, strangers=16 * len(lives))
    with capsys.disabled():
        print(f"\n{kills} kills: {counts}")
    assert counts["exact"] >= 9_000
    assert kills >= 2


def test_a_stream_that_was_killed_is_recorded_to_within_a_window(tmp_path: Path) -> None:
    life = live(tmp_path / "home", 4.0, True, quick=0, slow=3)
    counts = check(ledger_of(tmp_path), [life], strangers=0)
    assert counts["lost"] == 3
    assert counts["tokens"] > 300
