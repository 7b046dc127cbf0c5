"""How long a user waits: for the first token, the first 200, --help; and what an idle server holds."""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.gateways import Unavailable
from bench.processes import Child, free_port, process_rss_mb, rss_mb, scratch, unwind_on_signals, wait_for_rest
from bench.streams import BrokenStream, burst, request_bytes
from bench.tables import Bar, bars_table, table

REPEATS = 5
LIMIT = 60.0
LIGHT = "import sys, trunkcall; sys.exit('torch' in sys.modules)"


def up(port: int, home: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "trunkcall",
        "up",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--home",
        str(home),
        *more,
    ]


def until(child: Child, attempt: Callable[[], bool]) -> float:
    """Seconds from the child's start until the attempt works. Raises Unavailable."""
    while True:
        if attempt():
            return time.monotonic() - child.born
        if not child.running or time.monotonic() - child.born > LIMIT:
            raise Unavailable(f"not ready: {child.last_words()}")
        time.sleep(0.005)


def first_token(place: Path) -> float:
    """Seconds from the start of `trunkcall up` to the first token of a streamed answer of the shipped model."""
    port = free_port()
    arrived = 0.0

    def attempt() -> bool:
        nonlocal arrived
        asked = time.monotonic()
        try:
            answer = burst(port, request_bytes("pocket", "What colour is the sky?", 8), 1, 1, limit=LIMIT).answers[0]
        except (BrokenStream, OSError):
            return False
        arrived = asked + answer.first
        return True

    with Child(up(port, place / "home"), log=place / "up.log") as child:
        until(child, attempt)
        # a little early, by the time of connecting
        return arrived - child.born


def health(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start_without_engine(place: Path) -> tuple[float, float, float]:
    """Seconds to the first 200 of /health; at rest, the resident MB of the server process and of the whole tree."""
    port = free_port()
    with Child(up(port, place / "home", "--no-pocket"), log=place / "up.log") as child:
        waited = until(child, lambda: health(port))
        wait_for_rest(child.pid)
        return waited, process_rss_mb(child.pid), rss_mb(child.pid)


def command_time(*arguments: str) -> float:
    """Seconds that a Python with these arguments takes. Raises Unavailable when it fails."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
    took = time.monotonic() - began
    if done.returncode:
        raise Unavailable(f"{' '.join(arguments)}: {done.stderr.strip()[-200:]}")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.first_token", description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, choices=range(1, 51), metavar="N", help=f"1 to 50 (default {REPEATS})"
    )
    repeats: int = parser.parse_args().repeats
    unwind_on_signals()
    rows: list[list[str]] = []
    bars: list[Bar] = []

    def note(text: str, limit: float | None, measure: Callable[[], list[float]]) -> None:
        """One figure into the tables; one that cannot be measured is a row with the reason."""
        try:
            found = measure()
        except (Unavailable, subprocess.TimeoutExpired) as error:
            rows.append([text, "-", "-", "-", str(error)])
            found = []
        else:
            rows.append([text, f"{statistics.median(found):.3f}", f"{min(found):.3f}", f"{max(found):.3f}", "ok"])
        if limit is not None:
            bars.append(Bar(text, statistics.median(found) if found else None, limit))

    def repeated(measure: Callable[[], float]) -> Callable[[], list[float]]:
        return lambda: [measure() for _ in range(repeats)]

    def in_new_home(measure: Callable[[Path], float]) -> float:
        with scratch() as place:
            return measure(place)

    servers: list[float] = []
    trees: list[float] = []

    def first_200(place: Path) -> float:
        waited, server, whole = start_without_engine(place)
        servers.append(server)
        trees.append(whole)
        return waited

    note("first token after `trunkcall up`, s", 5.0, repeated(lambda: in_new_home(first_token)))
    note("first 200 on /health, no engine, s", 1.0, repeated(lambda: in_new_home(first_200)))
    if servers:
        note("memory of the idle server process, no engine, MB", 70, lambda: servers)
        note("the same with its children, MB", None, lambda: trees)
    note("python -c pass, s", None, repeated(lambda: command_time("-c", "pass")))
    note("import trunkcall, without torch, s", 0.1, repeated(lambda: command_time("-c", LIGHT)))
    note("import trunkcall.cli, s", 0.2, repeated(lambda: command_time("-c", "import trunkcall.cli")))
    note("trunkcall --help, s", 0.2, repeated(lambda: command_time("-m", "trunkcall", "--help")))
    print(table("waiting", ["figure", "median", "least", "most", "state"], rows))
    print(bars_table(bars))
    print(
        f"\n{repeats} of each, every server in a new home;"
        f" load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
