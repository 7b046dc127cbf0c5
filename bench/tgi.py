"""TGI's /generate_stream: tokens/s against llama.cpp's own, CPU of a token on its way, and what its rules take."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import timeit
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine_throughput import CONTEXT, POCKET, SLOTS, THREADS, Pair, bare_engine, own_spread
from bench.gateways import GATEWAYS, Unavailable, install_system, started, upstream
from bench.processes import cpu_seconds, scratch, unwind_on_signals
from bench.random_models import gguf_llama
from bench.served import START, Served, serving
from bench.streams import CHAT, COMPLETION, TGI, BrokenStream, Burst, Wire, burst, post_bytes
from bench.tables import Bar, bars_table, number, table
from trunkcall.protocols.tgi import NEWEST, Limits, check_tokens, read_asked, to_generate

LEVELS = {1: 4, 8: 1, 32: 1}
"""Streams at once -> requests of each."""
ASK = "What is Deep Learning?"
TOKENS, LAYERS = 48, 8
"""A layer has 12.8 million weights."""
PACED, PACE_US = 96, 5000
HEAD = (
    "against", "streams", "own tok/s", "Trunkcall tok/s", "ratio", "spread", "own's spread", "CPU us/token", "",
)  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "curl's of the old page": {
        "inputs": "<|prompt|>What is Deep Learning?<|endoftext|><|answer|>",
        "parameters": {
            "max_new_tokens": 512, "truncate": 1024, "do_sample": True, "temperature": 0.1, "repetition_penalty": 1.2,
        },
    },
    "the Python client's, all fields": {
        "inputs": "What is Deep Learning?",
        "parameters": {
            "do_sample": False, "max_new_tokens": 17, "repetition_penalty": None, "frequency_penalty": None,
            "return_full_text": False, "stop": [], "seed": None, "temperature": None, "top_k": None, "top_p": None,
            "truncate": None, "typical_p": None, "best_of": None, "watermark": False, "details": True,
            "decoder_input_details": False, "top_n_tokens": None, "grammar": None,
        },
    },
    "a prompt of 16 KiB": {
        "inputs": "the quick brown fox " * 819,
        "parameters": {"max_new_tokens": 64, "stop": ["\n", "User:"], "top_p": 0.9, "details": True},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """Who is asked directly; request: what it is asked."""

    name: str
    request: bytes
    port: Callable[[Served, Path], AbstractContextManager[int]]


def completion(*, detailed: bool) -> bytes:
    """What is asked of the engine; detailed: with what a TGI stream tells of each token."""
    fields: dict[str, Any] = {
        "model": "m", "prompt": ASK, "stream": True, "stream_options": {"include_usage": True},
        "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0,
    }  # fmt: skip
    if detailed:
        fields |= {"logprobs": 0, "return_token_ids": True}
    return post_bytes("/v1/completions", fields)


def generate_stream(ask: str, tokens: int) -> bytes:
    """The same of TGI's API on the main port."""
    # the likeliest tokens: TGI has no word against an early end, which a random model comes to by chance only
    parameters = {"max_new_tokens": tokens, "do_sample": False, "details": True}
    return post_bytes("/tgi/m/generate_stream", {"inputs": ask, "parameters": parameters})


@contextlib.contextmanager
def of_worker(served: Served, place: Path) -> Generator[int]:
    """The very process that Trunkcall asks."""
    yield served.ready().port


@contextlib.contextmanager
def of_bare_engine(served: Served, place: Path) -> Generator[int]:
    """A second process with the same model."""
    served.ready()
    with bare_engine(place / "random.gguf", place) as port:
        yield port


def rivals() -> list[Rival]:
    return [
        Rival("its worker, ids and logprobs too", completion(detailed=True), of_worker),
        Rival("its worker, text alone", completion(detailed=False), of_worker),
        Rival("llama.cpp's C++, text alone", completion(detailed=False), of_bare_engine),
    ]


@dataclass(frozen=True)
class Found:
    """cpu_us: of Trunkcall without the engine, per token."""

    pairs: list[Pair]
    cpu_us: float

    @property
    def ratio(self) -> float:
        return statistics.median(pair.ratio for pair in self.pairs)


def compare(served: Served, rival: Rival, own: int, streams: int, count: int) -> Found:
    """Runs A B, B A, A B ... so that drift of the machine falls on both sides."""
    replica = served.ready()
    through = generate_stream(ASK, TOKENS)

    def once(direct: bool) -> Burst:
        if direct:
            return burst(own, rival.request, streams, LEVELS[streams], wire=COMPLETION, limit=START)
        return burst(served.port, through, streams, LEVELS[streams], wire=TGI, limit=START)

    pairs: list[Pair] = []
    spent, tokens = 0.0, 0
    for turn in range(count):
        bursts: dict[bool, Burst] = {}
        for direct in (True, False) if turn % 2 == 0 else (False, True):
            cpu = served.gateway_cpu(replica)
            bursts[direct] = once(direct)
            if not direct:
                spent += served.gateway_cpu(replica) - cpu
                tokens += sum(answer.tokens for answer in bursts[direct].answers)
        pairs.append(Pair(bursts[True], bursts[False]))
    return Found(pairs, spent / tokens * 1e6)


def throughput(place: Path, count: int) -> tuple[list[list[str]], list[Bar]]:
    """Rows and bars; raises Unavailable, BrokenStream and OSError."""
    try:
        path = gguf_llama(POCKET, place / "random.gguf", LAYERS)
    except ImportError as error:
        raise Unavailable(f"{error}: the random model cannot be written") from error
    model = {"source": f"llamacpp:{path}", "options": {"threads": THREADS, "context": CONTEXT, "slots": SLOTS}}
    rows: list[list[str]] = []
    bars: list[Bar] = []
    with serving(model, place) as served:
        for rival in rivals():
            with rival.port(served, place) as own:
                compare(served, rival, own, max(LEVELS), 1)
                for streams in LEVELS:
                    found = compare(served, rival, own, streams, count)
                    rows.append(row(rival, streams, found))
                    bars.append(Bar(f"tokens/s of {rival.name}, {streams} at once", found.ratio, 0.97, True))
    return rows, bars


def row(rival: Rival, streams: int, found: Found) -> list[str]:
    ratios = [pair.ratio for pair in found.pairs]
    bare, through = [pair.bare for pair in found.pairs], [pair.through for pair in found.pairs]
    # a short count would flatter whichever side stopped early
    whole = all(answer.tokens == TOKENS for one in bare + through for answer in one.answers)
    return [
        rival.name,
        str(streams),
        f"{statistics.median(one.tokens_per_second for one in bare):,.1f}",
        f"{statistics.median(one.tokens_per_second for one in through):,.1f}",
        f"{found.ratio:.3f}",
        f"{min(ratios):.2f} .. {max(ratios):.2f}",
        own_spread(bare),
        f"{found.cpu_us:.0f}",
        f"{TOKENS} tokens each" if whole else "NOT ALL the same length",
    ]


def paced(place: Path, rounds: int) -> tuple[list[list[str]], list[Bar]]:
    """CPU us per token that a paced upstream says, in rounds; raises Unavailable, BrokenStream and OSError."""
    install_system(["nginx", "gcc"])
    ask = f"Say something. pace_us={PACE_US}"
    chat: dict[str, Any] = {
        "messages": [{"role": "user", "content": ask}], "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    loads: dict[str, tuple[str, bytes, Wire]] = {
        "nginx, chat": ("nginx", post_bytes("/v1/chat/completions", {"model": "m", **chat}), CHAT),
        "chat, translated": ("trunkcall", post_bytes("/v1/chat/completions", {"model": "t", **chat}), CHAT),
        "/generate_stream": ("trunkcall", generate_stream(ask, 64), TGI),
    }
    taken: dict[str, list[float]] = {name: [] for name in loads}
    with upstream(place) as mock, contextlib.ExitStack() as stack:
        gateways = {gateway.name: gateway for gateway in GATEWAYS}
        running = {name: stack.enter_context(started(gateways[name], mock, place)) for name in ("nginx", "trunkcall")}
        for turn in range(rounds + 1):
            for name in loads if turn % 2 == 0 else reversed(loads):
                where, request, wire = loads[name]
                gateway = running[where]
                cpu = cpu_seconds(gateway.child.pid)
                answers = burst(gateway.port, request, PACED, 4, wire=wire).answers
                spent = cpu_seconds(gateway.child.pid) - cpu
                # the first round warms up
                if turn:
                    taken[name].append(spent / sum(answer.frames for answer in answers) * 1e6)
    of_nginx = {
        name: statistics.median(ours / its for ours, its in zip(values, taken["nginx, chat"], strict=True))
        for name, values in taken.items()
    }
    rows = [
        [name, number(statistics.median(values), 1), f"{min(values):.1f} .. {max(values):.1f}", f"{of_nginx[name]:.2f}"]
        for name, values in taken.items()
    ]
    return rows, [Bar("CPU per token of /generate_stream, against nginx's", of_nginx["/generate_stream"], 3.5)]


def rules(body: bytes, repeats: int = 500) -> float:
    """Microseconds from a body to the neutral request, the median of seven runs."""
    limits = Limits(max_input_tokens=8000, max_total_tokens=16000)

    def one() -> None:
        to_generate(check_tokens(read_asked(body, NEWEST, limits, streaming=True), 4096, limits, NEWEST), "m")

    return statistics.median(timeit.repeat(one, number=repeats, repeat=7)) / repeats * 1e6


def main() -> int:
    """Run and print; the exit code says whether all could be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.tgi", description=__doc__)
    parser.add_argument("--pairs", type=int, default=6, choices=range(1, 41), metavar="N", help="1 to 40 (default 6)")
    options = parser.parse_args()
    unwind_on_signals()
    load = os.getloadavg()[0]
    missing = 0
    bars: list[Bar] = []

    told = {name: rules(json.dumps(body).encode()) for name, body in BODIES.items()}
    print(
        table(
            "from a body to the neutral request", ["body", "us", ""], [[n, f"{us:.1f}", ""] for n, us in told.items()]
        )
    )
    bars.append(Bar("validation of a request, us (the slowest)", max(told.values()), 50))
    parts = {
        f"{PACED} streams, a token every {PACE_US // 1000} ms, ids and logprobs for TGI's": (
            paced, ["stream", "CPU us/token", "spread", "of nginx's"],
        ),
        f"tokens/s of a random Llama, {LAYERS * 12.8:.0f} M q8_0, {SLOTS} slots, {THREADS} thread": (
            throughput,
            HEAD,
        ),
    }  # fmt: skip
    for title, (part, head) in parts.items():
        try:
            with scratch() as place:
                rows, found = part(place, options.pairs)
        except (Unavailable, BrokenStream, OSError) as error:
            print(f"\n{title}\nnot measured: {error}")
            missing += 1
            continue
        print(table(title, head, rows))
        bars += found
    print(bars_table(bars))
    print(f"\nratio: median over {options.pairs} alternating pairs of Trunkcall / own; CPU without the engine's")
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
