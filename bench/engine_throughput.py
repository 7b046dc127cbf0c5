"""Tokens per second through Trunkcall against the same engine bare, in alternating pairs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
import urllib.parse
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from bench.gateways import Unavailable
from bench.processes import Child, free_port, scratch, unwind_on_signals
from bench.streams import BrokenStream, Burst, burst, request_bytes
from bench.tables import table

POCKET = Path(__file__).parents[1] / "src/trunkcall/pocket/pocket.gguf"
SLOTS, THREADS, CONTEXT, TOKENS = 32, 1, 512, 64
# requests of each client, so that a run takes about a second at every level
LEVELS = {1: 24, 8: 5, 32: 2}
ASK = "Tell me a short story."


@dataclass(frozen=True)
class Pair:
    """The two runs that were made next to each other."""

    bare: Burst
    through: Burst

    @property
    def ratio(self) -> float:
        return self.through.tokens_per_second / self.bare.tokens_per_second


@contextlib.contextmanager
def bare_engine(gguf: Path, place: Path, *, slots: int = SLOTS) -> Generator[int]:
    """The engine's C++ listener; yields its port."""
    command = [
        sys.executable, "-m", "bench.bare_engine", str(gguf),
        "--slots", str(slots), "--threads", str(THREADS), "--context", str(CONTEXT),
    ]  # fmt: skip
    with Child(command, log=place / "bare.log") as child:
        deadline = time.monotonic() + 60
        while True:
            for line in child.log.read_text(errors="replace").splitlines():
                if line.startswith("URL ") and (port := urllib.parse.urlsplit(line[4:]).port):
                    yield port
                    return
            if not child.running or time.monotonic() > deadline:
                raise Unavailable(f"the bare engine did not start: {child.last_words()}")
            time.sleep(0.02)


@contextlib.contextmanager
def through_trunkcall(gguf: Path, place: Path) -> Generator[int]:
    """Trunkcall with the same model, slots, threads and context; yields its port."""
    settings = place / "trunkcall.yaml"
    model = {
        "source": f"llamacpp:{gguf}",
        "slots": SLOTS,
        "preload": True,
        "options": {"threads": THREADS, "context": CONTEXT},
    }
    # JSON is YAML
    settings.write_text(json.dumps({"models": {"m": model}, "pocket": False}))
    port = free_port()
    command = [
        sys.executable, "-m", "trunkcall", "up", "--config", str(settings),
        "--host", "127.0.0.1", "--port", str(port), "--home", str(place / "home"),
    ]  # fmt: skip
    with Child(command, log=place / "trunkcall.log") as child:
        deadline = time.monotonic() + 60
        while True:
            try:
                burst(port, request_bytes("m", ASK, 2), 1, 1, limit=30)
                break
            except (BrokenStream, OSError) as error:
                if not child.running or time.monotonic() > deadline:
                    raise Unavailable(f"trunkcall did not start: {error}: {child.last_words()}") from None
            time.sleep(0.1)
        yield port


def pairs(bare: int, through: int, concurrent: int, count: int) -> list[Pair]:
    """Runs A B, B A, A B ... so that drift of the machine falls on both sides."""
    request = request_bytes("m", ASK, TOKENS)
    found: list[Pair] = []
    for turn in range(count):
        bursts = {
            port: burst(port, request, concurrent, LEVELS[concurrent])
            for port in ((bare, through) if turn % 2 == 0 else (through, bare))
        }
        found.append(Pair(bursts[bare], bursts[through]))
    return found


def first_token_ms(bursts: list[Burst]) -> float:
    return statistics.median(answer.first for one in bursts for answer in one.answers) * 1000


def own_spread(bursts: list[Burst]) -> str:
    """The least and the most of one side against its median: what the machine alone does to a figure."""
    rates = [one.tokens_per_second for one in bursts]
    middle = statistics.median(rates)
    return f"{min(rates) / middle:.2f} .. {max(rates) / middle:.2f}"


def row(concurrent: int, found: list[Pair]) -> list[str]:
    ratios = [pair.ratio for pair in found]
    bare, through = [pair.bare for pair in found], [pair.through for pair in found]
    # a short count would flatter whichever side stopped early
    whole = all(answer.tokens == TOKENS for one in bare + through for answer in one.answers)
    return [
        str(concurrent),
        f"{statistics.median(one.tokens_per_second for one in bare):,.0f}",
        f"{statistics.median(one.tokens_per_second for one in through):,.0f}",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} .. {max(ratios):.2f}",
        own_spread(bare),
        f"{first_token_ms(bare):.1f}",
        f"{first_token_ms(through):.1f}",
        "all" if whole else "NOT ALL",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.engine_throughput", description=__doc__)
    parser.add_argument("--gguf", type=Path, default=POCKET, help="the model; default: the shipped one")
    parser.add_argument("--pairs", type=int, default=6, choices=range(1, 41), metavar="N", help="1 to 40 (default 6)")
    options = parser.parse_args()
    unwind_on_signals()
    if not options.gguf.is_file():
        print(f"{options.gguf}: there is no such model; give one with --gguf", file=sys.stderr)
        return 1
    gguf = options.gguf.absolute()
    try:
        with scratch() as place, bare_engine(gguf, place) as bare, through_trunkcall(gguf, place) as through:
            for port in (bare, through):
                burst(port, request_bytes("m", ASK, TOKENS), 8, 1)
            rows = [row(concurrent, pairs(bare, through, concurrent, options.pairs)) for concurrent in LEVELS]
    except (Unavailable, BrokenStream, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    head = [
        "streams",
        "bare tok/s",
        "Trunkcall tok/s",
        "ratio",
        "spread",
        "bare's own spread",
        "bare first ms",
        "Trunkcall first ms",
        f"{TOKENS} tokens each",
    ]
    print(
        table(
            f"{gguf.name}: tokens/s, {SLOTS} slots, {THREADS} thread, {CONTEXT} tokens of context per slot", head, rows
        )
    )
    print(
        f"\nratio: median over {options.pairs} alternating pairs of Trunkcall / bare;"
        " first: median wait for the first token"
        f"\nload average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
