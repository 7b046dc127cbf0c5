"""Seconds that Trunkcall adds to the start of a server that others wrote: before its process, after its first 200."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.features import CHECKPOINT, VLLM
from bench.gateways import Unavailable
from bench.processes import Child, free_port, scratch, started, tree, unwind_on_signals
from bench.served import START, Served, asked, serving
from bench.tables import Bar, bars_table, table
from trunkcall.engines.vllm import built_for

LIMIT = 0.5
"""Seconds that may be added."""
LOOK = 0.01
"""Seconds between two looks at a server that is not ready yet."""
GRACE = 20.0
TRIVIAL = (
    "import http.server, sys; address = ('127.0.0.1', int(sys.argv[2])); "
    "http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()"
)


@dataclass(frozen=True)
class Starter:
    """command: with {port} where its port stands; model: Trunkcall's settings for the same; health: answers 200."""

    name: str
    command: list[str]
    model: dict[str, Any]
    health: str
    cannot: str = ""


@dataclass(frozen=True)
class Start:
    """Seconds of one start through Trunkcall.

    up: from `trunkcall up` to the child that runs the server; runner: from there to the server's own process; own:
    from there to its first 200; told: from there until Trunkcall serves the model.
    """

    up: float
    runner: float
    own: float
    told: float

    @property
    def added(self) -> float:
        """By the child, to what the server takes itself."""
        return self.runner + self.told


def starters(place: Path) -> list[Starter]:
    """vLLM, and a server that is ready at once, whose own start does not hide what is added."""
    # A copy: training may write the other one anew meanwhile.
    checkpoint = str(shutil.copytree(CHECKPOINT, place / "pocket"))
    vllm = os.environ.get(VLLM, "")
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if vllm and built_for(vllm) == "cpu":
        # The engine says so by itself.
        env["VLLM_TARGET_DEVICE"] = "cpu"
    options = {"dtype": "float32", "context": 512, "slots": 4, "args": ["--enforce-eager"]}
    # What the engine makes of these options.
    flags = ["--served-model-name", "m", "--max-model-len", "512", "--max-num-seqs", "4", "--dtype", "float32"]
    trivial = [sys.executable, "-c", TRIVIAL, "--port", "{port}"]
    return [
        Starter(
            "vllm serve",
            [vllm, "serve", checkpoint, "--host", "127.0.0.1", "--port", "{port}", *flags, "--enforce-eager"],
            {"source": f"vllm:{checkpoint}", "options": options, "env": env},
            "/health",
            cannot="" if vllm else f"{VLLM} does not name a vllm program",
        ),
        Starter(
            "a trivial server",
            trivial,
            {"source": "command", "options": {"command": trivial, "health": "/"}, "env": {}},
            "/",
        ),
    ]


def healthy(port: int, path: str) -> bool:
    try:
        return asked(port, path)[0] == 200
    except OSError:
        return False


def alone(starter: Starter, place: Path) -> float:
    """Seconds from the command to its first 200. Raises Unavailable."""
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in starter.command]
    with Child(command, log=place / "alone.log", env=starter.model["env"], grace=GRACE) as child:
        while not healthy(port, starter.health):
            if not child.running or time.monotonic() - child.born > START:
                raise Unavailable(f"not ready: {child.last_words()}")
            time.sleep(LOOK)
        return time.monotonic() - child.born


def through(starter: Starter, place: Path) -> Start:
    """One start by `trunkcall up`. Raises Unavailable.

    The server's own part is taken out of the same start: vLLM takes seconds more or less from one to the next.
    """
    with serving(starter.model, place) as served:
        ours, theirs, port = _server(served)
        births = [started(pid) for pid in (served.child.pid, ours, theirs)]
        while not healthy(port, starter.health):
            if started(theirs) is None or time.monotonic() - served.child.born > START:
                raise Unavailable(f"{starter.name} did not start: {served.child.last_words()}")
            time.sleep(LOOK)
        first = time.clock_gettime(time.CLOCK_BOOTTIME)
        served.ready(LOOK)
        ready = time.clock_gettime(time.CLOCK_BOOTTIME)
    up, child, server = (birth if birth is not None else first for birth in births)
    return Start(child - up, server - child, first - server, ready - first)


def _server(served: Served) -> tuple[int, int, int]:
    """Our child that runs the server, the server's process and its port, as soon as they are there."""
    while time.monotonic() - served.child.born < START:
        found = served.replica()
        if found and found.error:
            raise Unavailable(found.error)
        if found and found.pid:
            for pid, _ in sorted(tree(found.pid).items(), key=lambda one: one[1]):
                words = _words(pid)
                # Before its exec the server has the command line of our child.
                if pid != found.pid and "trunkcall.workers.outside" not in words and "--port" in words:
                    return found.pid, pid, int(words[words.index("--port") + 1])
        time.sleep(LOOK)
    raise Unavailable(f"no server was started: {served.child.last_words()}")


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def run(starter: Starter, repeats: int) -> tuple[list[float], list[Start]]:
    """Starts alone and through Trunkcall, by turns. Raises Unavailable and OSError."""
    if starter.cannot:
        raise Unavailable(starter.cannot)
    bare: list[float] = []
    starts: list[Start] = []
    for turn in range(repeats):
        with scratch() as place:
            if turn % 2 == 0:
                bare.append(alone(starter, place))
            starts.append(through(starter, place))
            if turn % 2:
                bare.append(alone(starter, place))
    return bare, starts


def main() -> int:
    """Run and print; the exit code says whether anything could be run."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine_start", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, choices=range(1, 21), metavar="N", help="1 to 20 (default 3)")
    repeats: int = parser.parse_args().repeats
    unwind_on_signals()
    load = os.getloadavg()[0]
    rows: list[list[str]] = []
    bars: list[Bar] = []
    with scratch() as common:
        for starter in starters(common):
            text = f"added to the start of {starter.name}, s"
            try:
                bare, starts = run(starter, repeats)
            except (Unavailable, OSError) as error:
                rows.append([starter.name, *["-"] * 6, f"not run: {error}"])
                bars.append(Bar(text, None, LIMIT))
                continue
            rows.append(row(starter, bare, starts))
            bars.append(Bar(text, statistics.median(start.added for start in starts), LIMIT))
    head = [
        "server",
        "alone",
        "through: own",
        "up to child",
        "child to server",
        "200 to ready",
        "added",
        "spread",
    ]
    print(table("seconds of a start, medians", head, rows))
    print(bars_table(bars))
    print("\nadded: child to server and 200 to ready, of one start; vLLM's own part differs more from start to start")
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    return 0 if rows else 1


def row(starter: Starter, bare: list[float], starts: list[Start]) -> list[str]:
    def middle(figures: list[float]) -> str:
        return f"{statistics.median(figures):.2f}"

    added = [start.added for start in starts]
    return [
        starter.name,
        middle(bare),
        middle([start.own for start in starts]),
        middle([start.up for start in starts]),
        middle([start.runner for start in starts]),
        middle([start.told for start in starts]),
        middle(added),
        f"{min(added):.2f} .. {max(added):.2f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
