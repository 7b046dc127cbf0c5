"""Tokens/s through Trunkcall against each engine's own listener, with models that are large enough to be the limit."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine_throughput import ASK, CONTEXT, POCKET, THREADS, Pair, bare_engine, own_spread
from bench.features import CHECKPOINT, VLLM
from bench.gateways import Unavailable
from bench.processes import scratch, unwind_on_signals
from bench.random_models import folder_llama, gguf_llama
from bench.served import START, Served, serving
from bench.streams import BrokenStream, Burst, burst, request_bytes
from bench.tables import Bar, bars_table, table

SLOTS, TOKENS = 4, 64
CLIENTS = (1, 4)
GGUF_LAYERS, FOLDER_LAYERS = 24, 8
"""308 million weights for llama.cpp, 103 million for torch, whose float32 is four times as long."""
BARE = Path(__file__).with_name("bare_engine.py")


@dataclass(frozen=True)
class Contest:
    """model: its settings, once its weights are written into the folder; own: gives the port that is asked directly."""

    engine: str
    listener: str
    model: Callable[[Path], dict[str, Any]]
    own: Callable[[Served, Path], AbstractContextManager[int]]
    cannot: str = ""


def contests() -> list[Contest]:
    """Those of this machine."""
    no_vllm = "" if os.environ.get(VLLM) else f"{VLLM} does not name a vllm program"
    return [
        Contest("llamacpp", "its worker", _llamacpp, _of_replica),
        Contest("llamacpp", "llama.cpp's C++", _llamacpp, _of_bare_engine),
        Contest("command:", "llama.cpp's C++", _command, _of_replica),
        Contest("transformers", "its worker", _transformers, _of_replica),
        Contest("vllm", "vllm serve", _vllm, _of_replica, no_vllm),
    ]


def _gguf(place: Path) -> Path:
    path = place / "random.gguf"
    return path if path.exists() else gguf_llama(POCKET, path, GGUF_LAYERS)


def _folder(place: Path) -> Path:
    path = place / "random"
    return path if path.exists() else folder_llama(CHECKPOINT, path, FOLDER_LAYERS)


def _llamacpp(place: Path) -> dict[str, Any]:
    return {"source": f"llamacpp:{_gguf(place)}", "options": {"threads": THREADS, "context": CONTEXT, "slots": SLOTS}}


def _command(place: Path) -> dict[str, Any]:
    command = [
        sys.executable, "-P", str(BARE), str(_gguf(place)), "--port", "{port}",
        "--slots", str(SLOTS), "--threads", str(THREADS), "--context", str(CONTEXT),
    ]  # fmt: skip
    return {"source": "command", "options": {"command": command, "slots": SLOTS}}


def _transformers(place: Path) -> dict[str, Any]:
    options = {"dtype": "float32", "context": CONTEXT, "slots": SLOTS}
    return {"source": f"transformers:{_folder(place)}", "options": options}


def _vllm(place: Path) -> dict[str, Any]:
    options = {"dtype": "float32", "context": CONTEXT, "slots": SLOTS, "args": ["--enforce-eager"]}
    return {"source": f"vllm:{_folder(place)}", "options": options, "env": {"VLLM_CPU_KVCACHE_SPACE": "1"}}


@contextlib.contextmanager
def _of_replica(served: Served, place: Path) -> Generator[int]:
    """The very process that Trunkcall asks."""
    yield served.ready().port


@contextlib.contextmanager
def _of_bare_engine(served: Served, place: Path) -> Generator[int]:
    """A second process with the same model: the one behind our worker takes nobody's requests but ours."""
    served.ready()
    with bare_engine(_gguf(place), place, slots=SLOTS) as port:
        yield port


@dataclass(frozen=True)
class Found:
    """share: of one core's time, what Trunkcall without the engine took while it streamed."""

    pairs: list[Pair]
    share: float

    @property
    def ratio(self) -> float:
        return statistics.median(pair.ratio for pair in self.pairs)


def run(contest: Contest, place: Path, count: int) -> dict[int, Found]:
    """By the number of clients. Raises Unavailable, BrokenStream and OSError."""
    if contest.cannot:
        raise Unavailable(contest.cannot)
    try:
        model = contest.model(place)
    except ImportError as error:
        raise Unavailable(f"{error}: the random model cannot be written") from error
    own_place = place / f"{contest.engine.strip(':')}-{contest.listener.replace(' ', '-')}"
    own_place.mkdir()
    with serving(model, own_place) as served, contest.own(served, place) as own:
        return {clients: compare(served, own, clients, count) for clients in CLIENTS}


def compare(served: Served, own: int, clients: int, count: int) -> Found:
    """Runs A B, B A, A B ... so that drift of the machine falls on both sides."""
    replica = served.ready()
    request = request_bytes("m", ASK, TOKENS)

    def once(port: int) -> Burst:
        return burst(port, request, clients, 1, limit=START)

    for port in (own, served.port):
        once(port)
    pairs: list[Pair] = []
    spent = took = 0.0
    for turn in range(count):
        bursts: dict[int, Burst] = {}
        for port in (own, served.port) if turn % 2 == 0 else (served.port, own):
            cpu, began = served.gateway_cpu(replica), time.monotonic()
            bursts[port] = once(port)
            if port == served.port:
                took += time.monotonic() - began
                spent += served.gateway_cpu(replica) - cpu
        pairs.append(Pair(bursts[own], bursts[served.port]))
    return Found(pairs, spent / took)


def row(contest: Contest, clients: int, found: Found) -> list[str]:
    ratios = [pair.ratio for pair in found.pairs]
    whole = all(
        answer.tokens == TOKENS for pair in found.pairs for one in (pair.bare, pair.through) for answer in one.answers
    )
    return [
        contest.engine,
        contest.listener,
        str(clients),
        f"{statistics.median(pair.bare.tokens_per_second for pair in found.pairs):.1f}",
        f"{statistics.median(pair.through.tokens_per_second for pair in found.pairs):.1f}",
        f"{found.ratio:.3f}",
        f"{min(ratios):.2f} .. {max(ratios):.2f}",
        own_spread([pair.bare for pair in found.pairs]),
        f"{found.share:.1%}",
        f"{TOKENS} tokens each" if whole else "NOT ALL the same length",
    ]


def main() -> int:
    """Run and print; the exit code says whether any engine could be run."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine_listeners", description=__doc__)
    parser.add_argument("--pairs", type=int, default=6, choices=range(1, 41), metavar="N", help="1 to 40 (default 6)")
    parser.add_argument("--only", metavar="NAMES", default="", help="engines, between commas")
    options = parser.parse_args()
    only = {name for name in options.only.split(",") if name}
    unwind_on_signals()
    rows: list[list[str]] = []
    bars: list[Bar] = []
    load = os.getloadavg()[0]
    with scratch() as place:
        for contest in contests():
            if only and contest.engine not in only:
                continue
            try:
                results = run(contest, place, options.pairs)
            except (Unavailable, BrokenStream, OSError) as error:
                rows.append([contest.engine, contest.listener, *["-"] * 7, f"not run: {error}"])
                continue
            for clients, found in results.items():
                rows.append(row(contest, clients, found))
                bars.append(Bar(f"{contest.engine} of {contest.listener}, {clients} at once", found.ratio, 0.97, True))
    head = [
        "engine",
        "own listener",
        "clients",
        "own tok/s",
        "Trunkcall tok/s",
        "ratio",
        "spread",
        "own's spread",
        "gateway CPU",
        "",
    ]
    print(table("tokens/s of random Llamas: 308 M q8_0 for llama.cpp, 105 M float32 for torch", head, rows))
    print(bars_table(bars))
    print(f"\nratio: median over {options.pairs} alternating pairs of Trunkcall / own listener")
    print("gateway CPU: of one core, without the engine; it holds on a busy machine too")
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    return 0 if bars else 1


if __name__ == "__main__":
    sys.exit(main())
