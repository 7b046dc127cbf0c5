"""Engines killed under streams: how many are complete, how many as if unbroken, and how long their clients wait."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from bench.processes import scratch, unwind_on_signals
from bench.served import Served, asked, serving
from bench.tables import table

ANIMALS = "cat bird cow frog hen fish ant owl".split()
"""Whose stories leave the model no choice between two words that are nearly as likely."""
REPLICAS = 4
START_SECONDS = 60.0


@dataclass
class Stream:
    """One stream as its client saw it; gap: its longest silence in seconds, after the first piece."""

    question: str
    text: str = ""
    whole: bool = False
    begun: bool = False
    gap: float = 0.0
    failed: str = ""


@dataclass
class Phase:
    """200 streams with so many kills among them."""

    kills: int
    streams: list[Stream] = field(default_factory=list)
    resumed: int = 0

    def row(self, unbroken: dict[str, str]) -> list[str]:
        gaps = sorted(stream.gap for stream in self.streams)
        count = len(gaps)
        same = sum(stream.text == unbroken[stream.question] for stream in self.streams)
        return [
            f"{self.kills}",
            f"{sum(stream.whole for stream in self.streams)} of {count}",
            f"{same} of {count}",
            f"{self.resumed}",
            *(f"{gaps[min(count - 1, int(count * share))]:.2f}" for share in (0.5, 0.95, 1.0)),
        ]


async def _stream(port: int, stream: Stream) -> None:
    ask = [{"role": "user", "content": stream.question}]
    body = json.dumps({"model": "m", "stream": True, "temperature": 0, "messages": ask}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(head.encode() + body)
    last = 0.0
    while line := await reader.readline():
        if line.startswith(b"data: [DONE]"):
            stream.whole = not stream.failed
        elif line.startswith(b"data: {"):
            now = monotonic()
            stream.gap = max(stream.gap, now - last) if last else 0.0
            last = now
            said: dict[str, Any] = json.loads(line[6:])
            if "error" in said:
                stream.failed = said["error"]["message"]
            for choice in said.get("choices", ()):
                stream.text += choice["delta"].get("content") or ""
            stream.begun = bool(stream.text)
    writer.close()


def _replicas(port: int) -> list[dict[str, Any]]:
    status, body = asked(port, "/admin/models/m")
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body)["replicas"]
    return [one for one in found if one["state"] == "ready" and one["pid"]]


async def _until_all(port: int) -> None:
    end = monotonic() + START_SECONDS
    while len(await asyncio.to_thread(_replicas, port)) < REPLICAS:
        if monotonic() > end:
            raise RuntimeError(f"not all {REPLICAS} engines were there after {START_SECONDS:g} s")
        await asyncio.sleep(0.2)


async def _phase(port: int, count: int, kills: int) -> Phase:
    await _until_all(port)
    questions = [f"Tell me a story about a {animal}." for animal in ANIMALS]
    phase = Phase(kills, [Stream(questions[number % len(questions)]) for number in range(count)])
    pids = [one["pid"] for one in await asyncio.to_thread(_replicas, port)]
    tasks = [asyncio.create_task(_stream(port, stream)) for stream in phase.streams]
    for number, pid in enumerate(random.sample(pids, kills)):
        while sum(stream.begun for stream in phase.streams) < count * (number + 1) // 4:
            await asyncio.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*tasks)
    _, body = await asyncio.to_thread(asked, port, f"/admin/requests?limit={count}")
    phase.resumed = sum(bool(one["resumes"]) for one in json.loads(body)["requests"])
    return phase


async def measure(served: Served, count: int, kills: list[int]) -> tuple[list[Phase], dict[str, str]]:
    """The phases, and the answers of an unbroken run."""
    await _until_all(served.port)
    unbroken = {}
    for animal in ANIMALS:
        stream = Stream(f"Tell me a story about a {animal}.")
        await _stream(served.port, stream)
        unbroken[stream.question] = stream.text
    return [await _phase(served.port, count, number) for number in kills], unbroken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--kills", type=int, nargs="+", default=[0, 1, 2], help="engines killed, one number a phase")
    args = parser.parse_args()
    unwind_on_signals()
    model = {"source": "pocket", "replicas": REPLICAS, "preload": True, "options": {"slots": 64}}
    with scratch() as place, serving(model, place) as served:
        served.ready()
        phases, unbroken = asyncio.run(measure(served, args.streams, args.kills))
    head = ["killed", "complete", "as unbroken", "went on elsewhere", "silence p50 s", "p95 s", "most s"]
    print(table(f"{args.streams} greedy streams over {REPLICAS} engines", head, [one.row(unbroken) for one in phases]))
    broken = [stream for phase in phases for stream in phase.streams if not stream.whole]
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
