"""What other models' streams feel while engines start and end beside them, and while the settings are read again."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Child, free_port
from bench.served import asked
from bench.tables import Bar, bars_table, table

PACE = 0.005
STREAMS = 16
SECONDS = 10.0
ADDED_BAR = 5.0
"""Milliseconds that a swap or a reload may add."""

_SMALL = {"context": 512, "slots": 2, "cache_ram_mib": 0}
"""Two of the pocket model with these do not fit into the memory below."""


@dataclass(frozen=True)
class Gaps:
    """Between the pieces of streams that come every 5 ms, in milliseconds; turns: swaps or reloads meanwhile."""

    what: str
    pieces: int
    median: float
    p99: float
    most: float
    turns: int

    def row(self) -> list[str]:
        return [
            self.what,
            f"{self.pieces:,}",
            f"{self.median:.2f}",
            f"{self.p99:.2f}",
            f"{self.most:.2f}",
            f"{self.turns}",
            "ok",
        ]


async def _stream(port: int, until: float, gaps: list[float]) -> None:
    words = " ".join(["word"] * 400)
    body = json.dumps({"model": "d", "stream": True, "messages": [{"role": "user", "content": words}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    while time.monotonic() < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        last = 0.0
        while data := await reader.read(65536):
            now = time.monotonic()
            if b"data: {" in data:
                if last:
                    gaps.append((now - last) * 1000)
                last = now
        writer.close()
        await writer.wait_closed()


async def _phase(port: int, what: str, seconds: float, turn: Callable[[], Awaitable[None]] | None) -> Gaps:
    gaps: list[float] = []
    until = time.monotonic() + seconds
    turns = 0
    streams = [asyncio.create_task(_stream(port, until, gaps)) for _ in range(STREAMS)]
    while turn is not None and time.monotonic() < until:
        await turn()
        turns += 1
    await asyncio.gather(*streams)
    return Gaps(what, len(gaps), statistics.median(gaps), statistics.quantiles(gaps, n=100)[98], max(gaps), turns)


async def _asked(port: int, path: str, body: object) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode())
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{path}: {answer!r}")


async def measure(seconds: float = SECONDS) -> list[Gaps]:
    """The gaps when nothing happens, while models swap, and while changed settings are read."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        file = folder / "trunkcall.yaml"

        def write(turn: int) -> None:
            models = {
                "d": f"debug:{PACE}",
                "a": {"source": "pocket", "options": _SMALL, "queue": 100 + turn},
                "b": {"source": "pocket", "options": _SMALL},
            }
            file.write_text(json.dumps({"pocket": False, "memory": "150MB", "models": models}))

        write(0)
        command = [sys.executable, "-m", "trunkcall", "up", "--port", str(port), "--config", str(file)]
        with Child([*command, "--home", str(folder / "home")], log=folder / "log") as child:
            await _until_up(child, port)
            turn = 0

            async def swap() -> None:
                nonlocal turn
                turn += 1
                # The first stay is cut short, or there would be a swap in three seconds.
                await _asked(port, f"/admin/models/{'ab'[turn % 2]}/unload", {})
                question = {"model": "ab"[1 - turn % 2], "messages": [{"role": "user", "content": "hi"}]}
                await _asked(port, "/v1/chat/completions", {**question, "max_tokens": 2})

            async def reload() -> None:
                nonlocal turn
                turn += 1
                await asyncio.to_thread(write, turn)
                await _asked(port, "/admin/reload", {})

            await swap()
            return [
                await _phase(port, "nothing else happens", seconds, None),
                await _phase(port, "two models swap", seconds, swap),
                await _phase(port, "the settings are read again", seconds, reload),
            ]


async def _until_up(child: Child, port: int) -> None:
    while True:
        try:
            await asyncio.to_thread(asked, port, "/health")
            return
        except OSError:
            if not child.running:
                raise RuntimeError(child.last_words()) from None
            await asyncio.sleep(0.05)


def bars(found: list[Gaps]) -> list[Bar]:
    """What swaps and reloads add to the 99th percentile of a quiet moment."""
    quiet, *others = found
    return [Bar(f"{gaps.what}: added to p99, ms", gaps.p99 - quiet.p99, ADDED_BAR) for gaps in others]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.swap", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each row (default {SECONDS:g})")
    found = asyncio.run(measure(parser.parse_args().seconds))
    title = f"Milliseconds between the pieces of {STREAMS} streams that come every {PACE * 1000:g} ms"
    head = ("meanwhile", "pieces", "median", "p99", "most", "turns", "note")
    print(table(title, head, [gaps.row() for gaps in found]))
    print(bars_table(bars(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
