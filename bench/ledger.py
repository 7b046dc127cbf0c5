"""The ledger with a million rows on both databases: times of importing, of sums, of single requests and of backups.

`python -m bench.ledger [--rows N] [--keys N] [--models N] [--postgresql]`
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.tables import table
from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.store import ledger
from trunkcall.store.archive import restore, save
from trunkcall.store.database import connect
from trunkcall.store.importer import Importer
from trunkcall.store.journal import Close, FileJournal, Row, _close_row
from trunkcall.store.retention import prune

DAYS = 30
REPLICAS = 4
PROTOCOLS = ("openai", "tgi", "kuwa")
USAGE: tuple[tuple[tuple[str, ...], float | None], ...] = (
    (("model",), None),
    (("key",), None),
    (("day",), None),
    (("model", "key", "day"), None),
    (("replica",), None),
    (("protocol",), None),
    (("error",), None),
    (("hour",), 7),
    (("model",), 1),
    (("key",), 10.3),
    (("key", "model", "error"), None),
    (("key", "model", "error"), 20.3),
    (("key", "error", "day"), None),
    (("replica", "error", "hour"), 7),
    (("key", "replica"), None),
    (("key", "replica"), 20.3),
    (("key", "model", "replica", "protocol", "error"), None),
)
"""Groups, and days back."""
WHY = "least_loaded: 3 in flight, 2 others with 4 and 7"


class Team(msgspec.Struct, frozen=True):
    """Who uses the server, and what."""

    keys: int
    models: int


def row(sequence: int, opened_at: float, team: Team, chance: random.Random) -> Close:
    """A request such as a team's server has, but that each key uses every protocol, model and replica."""
    model = f"model-{int(chance.paretovariate(1)) % team.models}"
    error = "" if chance.random() > 0.02 else chance.choice(("upstream_error", "overloaded", "cancelled"))
    return Close(
        sequence=sequence, id=f"{sequence:032x}", model=model, replica=f"{model}/{sequence % REPLICAS}",
        protocol=PROTOCOLS[sequence % 7 % 3], key=f"key-{chance.randrange(team.keys)}", stream=sequence % 2 == 0,
        opened_at=opened_at, prompt_tokens=chance.randrange(2000), completion_tokens=chance.randrange(500),
        cached_tokens=None, first_token_ms=chance.random() * 100, total_ms=chance.random() * 5000, finish="stop",
        error=error, status=200, dropped="", attempts=1, estimated=False, queue_ms=0.04, why=WHY, cost=0.001,
    )  # fmt: skip


def write_journal(directory: Path, rows: int, team: Team, now: float) -> int:
    """Parts as a writer would have left them; returns their bytes."""
    directory.mkdir()
    chance = random.Random(1)
    encoder = msgspec.json.Encoder()
    size = 0
    for part in range(0, rows, 50_000):
        numbers = range(part, min(part + 50_000, rows))
        made = [row(n, now - DAYS * 86400 * (1 - n / rows), team, chance) for n in numbers]
        size += (directory / f"bench.e.{part // 50_000 + 1:06d}.jsonl").write_bytes(encoder.encode_lines(made))
    return size


def best(work: Callable[[], Any], times: int = 5) -> str:
    """Milliseconds of the quickest run, and this process's CPU in it: all there is on SQLite."""
    wall = cpu = float("inf")
    for _ in range(times):
        began, cpu_began = time.perf_counter(), time.process_time()
        work()
        wall = min(wall, time.perf_counter() - began)
        cpu = min(cpu, time.process_time() - cpu_began)
    return f"{wall * 1000:.1f} ms ({cpu * 1000:.1f} CPU)"


def measure(name: str, url: str, home: Path, rows: int, team: Team, now: float) -> list[tuple[str, str, str]]:
    """One database's figures."""
    journal = home / "journal"
    size = write_journal(journal, rows, team, now)
    began, cpu_began = time.perf_counter(), time.process_time()
    assert Importer(journal, url).import_now() == rows
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    lines = [
        (
            name,
            "import",
            f"{took:.1f} s, {cpu / rows * 1e6:.1f} us of CPU a row; {size / rows:.0f} bytes of journal each",
        )
    ]
    for asked, days in USAGE:
        since = None if days is None else now - days * 86400
        what = f"usage by {','.join(asked)}" + ("" if days is None else f", last {days} days")
        lines.append((name, what, best(lambda a=asked, s=since: ledger.usage(url, s, by=a))))
    filters: list[dict[str, Any]] = [
        {}, {"key": "key-7"}, {"model": "model-9"}, {"model": "none"}, {"error": "any"}, {"error": "overloaded"},
        {"before": now - 15 * 86400}, {"id": f"{rows // 2:032x}"}, {"key": "key-7", "model": "model-3"},
    ]  # fmt: skip
    for given in filters:
        lines.append((name, f"100 requests {given}", best(lambda g=given: ledger.recent(url, 100, **g))))
    with closing(connect(url)) as database:
        lines.append((name, "spent", best(lambda: ledger.spent(database, now))))
    began = time.perf_counter()
    save(home / "saved.gz", url, home, (), lambda done, total: None)
    lines.append(
        (name, "backup", f"{time.perf_counter() - began:.1f} s, {(home / 'saved.gz').stat().st_size / 2**20:.0f} MB")
    )
    began = time.perf_counter()
    restore(home / "saved.gz", url, home, (), lambda done, total: None, force=True)
    lines.append((name, "restore", f"{time.perf_counter() - began:.1f} s"))
    if name == "SQLite":
        lines.append((name, "size", f"{(home / 'ledger.db').stat().st_size / 2**20:.0f} MB"))
    began, steps = time.perf_counter(), 0
    with closing(connect(url)) as database:
        while not prune(database, now, 15 * 86400.0, steps=1):
            steps += 1
    took = time.perf_counter() - began
    lines.append((name, "prune half", f"{took:.1f} s, {took / max(steps, 1) * 1000:.1f} ms a step"))
    return lines


def journal_cost(where: Path) -> list[tuple[str, str, str]]:
    """CPU of noting a request: on the event loop, and in all, with the writer thread's."""
    journal = FileJournal(where)
    meters: list[Meter] = []
    for number in range(100_000):
        meter = Meter(f"{number:032x}", model="model-1", protocol="openai", stream=True, key="key-1")
        meter.grant("model-1/2", "model-1", WHY)
        meter.usage, meter.finish, meter.status, meter.attempts = Usage(100, 200, None), "stop", 200, 1
        meters.append(meter)
    began, all_began = time.thread_time(), time.process_time()
    for meter in meters:
        journal.open(meter)
        journal.close(meter)
    loop = time.thread_time() - began
    while journal._closed or journal._pending:
        time.sleep(0.01)
    took = time.process_time() - all_began
    size = len(msgspec.json.encode(_close_row(meters[0]))) + 1
    rows: list[Row] = [_close_row(meter) for meter in meters]
    began = time.thread_time()
    msgspec.json.Encoder().encode_lines(rows)
    encoding = time.thread_time() - began
    encoded = f"{encoding / 1e5 * 1e6:.2f} encoding"
    return [
        ("journal", "open and close, on the loop", f"{loop / 1e5 * 1e6:.2f} us"),
        ("journal", "in all, with the writer thread", f"{took / 1e5 * 1e6:.2f} us ({encoded})"),
        ("journal", "bytes of a request", f"{size}"),
    ]


@contextmanager
def postgresql() -> Iterator[str]:
    """A private server's URL."""
    from tests.store.postgresql import running_cluster

    with running_cluster() as cluster:
        yield cluster.database()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL too")
    given = parser.parse_args()
    now, team = time.time(), Team(given.keys, given.models)
    with tempfile.TemporaryDirectory() as where:
        show(journal_cost(Path(where) / "noted"), given.rows)
        home = Path(where) / "sqlite"
        home.mkdir()
        show(measure("SQLite", f"sqlite:///{home / 'ledger.db'}", home, given.rows, team, now), given.rows)
        if given.postgresql:
            home = Path(where) / "postgresql"
            home.mkdir()
            with postgresql() as url:
                show(measure("PostgreSQL", url, home, given.rows, team, now), given.rows)


def show(lines: list[tuple[str, str, str]], rows: int) -> None:
    """Print what was found so far."""
    found = [(database, took, what) for database, what, took in lines]
    print(table(f"the ledger with {rows:,} rows", ["", "took", "what"], found), flush=True)


if __name__ == "__main__":
    main()
