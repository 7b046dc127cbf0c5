"""Tokens/s of the transformers engine against `transformers serve --continuous-batching`, in alternating pairs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.gateways import Unavailable
from bench.processes import Child, cpu_seconds, free_port, scratch, unwind_on_signals
from bench.tables import Bar, bars_table, table
from trunkcall.protocols.transformers_host import HostSettings

ROOT = Path(__file__).parents[1]
POCKET = ROOT / "pocket" / "hf"
# what `transformers serve` needs beside what is installed here; alone, because what they need brings another torch
SERVING = ("fastapi", "starlette", "accelerate", "psutil", "annotated-doc", "opentelemetry-api")
SLOTS, TOKENS, CONTEXT = 16, 64, 1024
# requests of each client
LEVELS = {1: 6, 4: 4, 16: 3}
ASK = "Tell me a short story."
_COUNT = re.compile(rb'"completion_tokens":\s*(\d+)')
_TEXT = re.compile(rb'"content":\s*"[^"]')


@dataclass(frozen=True)
class Side:
    """A server that answers, and how it is asked."""

    port: int
    pid: int
    request: bytes


@dataclass(frozen=True)
class Run:
    """One burst: tokens per second of all streams and per second of the server's CPU time, seconds to each first
    token, the fewest tokens of a stream."""

    rate: float
    per_cpu: float
    firsts: list[float]
    fewest: int


def endless(model: Path, place: Path) -> Path:
    """A copy of the model whose answers never end by themselves: the peer cannot be told to go on."""
    copy = place / "model"
    shutil.copytree(model, copy)
    never = json.loads((copy / "config.json").read_text())["vocab_size"] - 1
    for name in ("config.json", "generation_config.json"):
        path = copy / name
        fields = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**fields, "eos_token_id": never}))
    return copy


def request_bytes(model: str, *, ours: bool) -> bytes:
    """A streamed chat request for exactly so many tokens; the peer refuses fields that it does not know."""
    fields = {
        "model": model,
        "messages": [{"role": "user", "content": ASK}],
        "stream": True,
        "max_tokens": TOKENS,
        "temperature": 0.8,
    }
    if ours:
        fields |= {"ignore_eos": True, "stream_options": {"include_usage": True}}
    body = json.dumps(fields).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _one(port: int, request: bytes) -> tuple[int, float]:
    """Tokens by the server's count, and seconds to the first."""
    began = time.monotonic()
    first = 0.0
    data = b""
    async with asyncio.timeout(120):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            while piece := await reader.read(65536):
                data += piece
                if not first and _TEXT.search(data):
                    first = time.monotonic() - began
        finally:
            writer.close()
    counts = _COUNT.findall(data)
    if not counts or not first:
        raise Unavailable(f"not a whole answer: {data[-300:].decode(errors='replace')}")
    return int(counts[-1]), first


def burst(side: Side, concurrent: int, each: int) -> Run:
    async def client() -> list[tuple[int, float]]:
        return [await _one(side.port, side.request) for _ in range(each)]

    async def all_of_them() -> list[list[tuple[int, float]]]:
        return await asyncio.gather(*(client() for _ in range(concurrent)))

    began, spent = time.monotonic(), cpu_seconds(side.pid)
    answers = [one for some in asyncio.run(all_of_them()) for one in some]
    took, spent = time.monotonic() - began, cpu_seconds(side.pid) - spent
    tokens = sum(n for n, _ in answers)
    return Run(tokens / took, tokens / max(spent, 0.01), [first for _, first in answers], min(n for n, _ in answers))


@contextlib.contextmanager
def ours(model: Path, place: Path, threads: int) -> Generator[Side]:
    """Our host process."""
    settings = HostSettings(
        name="m", path=str(model), context=CONTEXT, slots=SLOTS, threads=threads, batch=512, device="cpu",
        dtype="float32", device_map="", bits=None, trust_remote_code=False, adapter="", template="",
        generates=True, embeddings=False, pooling=None, grace=5.0,
    )  # fmt: skip
    command = [sys.executable, "-P", "-m", "trunkcall.workers.transformers", msgspec.json.encode(settings).decode()]
    with Child(command, log=place / "ours.log") as child:
        deadline = time.monotonic() + 120
        while True:
            found = re.search(r'"address":"http://127.0.0.1:(\d+)"', child.log.read_text(errors="replace"))
            if found:
                break
            if not child.running or time.monotonic() > deadline:
                raise Unavailable(f"our host did not start: {child.last_words()}")
            time.sleep(0.1)
        yield Side(int(found[1]), child.pid, request_bytes("m", ours=True))


@contextlib.contextmanager
def theirs(model: Path, place: Path, threads: int) -> Generator[Side]:
    """`transformers serve` of the same installation."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--continuous-batching",
        "--cb-num-blocks", "512", "--cb-max-batch-tokens", "1024", "--device", "cpu", "--dtype", "float32",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    env = {"PYTHONPATH": str(serving()), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with Child(command, log=place / "theirs.log", env=env) as child:
        deadline = time.monotonic() + 120
        while True:
            try:
                side = Side(port, child.pid, request_bytes(str(model), ours=False))
                burst(side, 1, 1)
                break
            except (Unavailable, OSError) as error:
                if not child.running or time.monotonic() > deadline:
                    raise Unavailable(f"transformers serve did not start: {error}: {child.last_words()}") from None
            time.sleep(0.2)
        yield side


def serving() -> Path:
    """What the peer needs, in a folder of its own beside the other peers, kept between runs."""
    place = ROOT / "bench" / ".cache" / "transformers-serve"
    if not (place / "fastapi").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*pip, "--target", str(place), *SERVING], check=False, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"pip cannot install {', '.join(SERVING)}: {done.stderr[-300:]}")
    return place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.transformers_throughput", description=__doc__)
    parser.add_argument("--model", type=Path, default=POCKET, help="a model folder; default: the shipped model's")
    parser.add_argument("--pairs", type=int, default=5, choices=range(1, 41), metavar="N", help="1 to 40 (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on both sides (default 1)")
    options = parser.parse_args()
    unwind_on_signals()
    rows: list[list[str]] = []
    bars: list[Bar] = []
    try:
        with scratch() as place:
            model = endless(options.model, place)
            with ours(model, place, options.threads) as us, theirs(model, place, options.threads) as them:
                for side in (us, them):
                    burst(side, 8, 1)
                for concurrent, each in LEVELS.items():
                    runs: dict[Side, list[Run]] = {us: [], them: []}
                    for turn in range(options.pairs):
                        for side in (us, them) if turn % 2 == 0 else (them, us):
                            runs[side].append(burst(side, concurrent, each))
                    ratios = [a.rate / b.rate for a, b in zip(runs[us], runs[them], strict=True)]
                    rows.append(row(concurrent, runs[us], runs[them], ratios))
                    name = f"of transformers serve, {concurrent} clients"
                    bars.append(Bar(name, statistics.median(ratios), 1.0, True))
    except (Unavailable, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    head = [
        "clients",
        "ours tok/s",
        "serve tok/s",
        "ratio",
        "spread",
        "ours tok/CPU s",
        "serve tok/CPU s",
        "ours first ms",
        "serve first ms",
        "tokens each",
    ]
    title = f"{options.model.name}: tokens/s, {SLOTS} slots, {options.threads} thread(s) of torch, float32"
    print(table(title, head, rows))
    print(bars_table(bars))
    print(f"\nratio: median over {options.pairs} alternating pairs; tok/CPU s holds on a busy machine too")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    return 0


def row(concurrent: int, us: list[Run], them: list[Run], ratios: list[float]) -> list[str]:
    def first(runs: list[Run]) -> str:
        return f"{statistics.median(one for run in runs for one in run.firsts) * 1000:.0f}"

    def per_cpu(runs: list[Run]) -> str:
        return f"{statistics.median(run.per_cpu for run in runs):,.0f}"

    fewest = min(run.fewest for run in us + them)
    return [
        str(concurrent),
        f"{statistics.median(run.rate for run in us):,.0f}",
        f"{statistics.median(run.rate for run in them):,.0f}",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} .. {max(ratios):.2f}",
        per_cpu(us),
        per_cpu(them),
        first(us),
        first(them),
        str(TOKENS) if fewest == TOKENS else f"only {fewest}",
    ]


if __name__ == "__main__":
    sys.exit(main())
