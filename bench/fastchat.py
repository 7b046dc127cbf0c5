"""FastChat: one `trunkcall up` against the real controller, worker and OpenAI server, and the controllers alone."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gateways import Unavailable
from bench.kuwa import answering
from bench.processes import Child, free_port, scratch, unwind_on_signals
from bench.served import serving
from bench.tables import Bar, bars_table, number, table

ITS_OWN = Path(sys.prefix) / "fastchat"
"""Where `make env-all` puts FastChat 0.2.36 for the PYTHONPATH of a child."""
MAKER = Path(__file__).parents[1] / "tests" / "engines" / "tiny_llama.py"
TOKENS = 16
"""Of each answer, as FastChat gives when nobody says how many: more are more of the model's time on both sides."""
LEVELS = {1: 24, 32: 64}
"""Callers at once, and how many requests they make in a round."""
WORKERS = 1000
ROUNDS = 5
"""Of questions to the controllers."""
KINDS = {
    "one": "1 worker",
    "silent": f"{WORKERS} silent",
    "pick": f"{WORKERS} heard",
    "names": "list them",
    "nothing": "nothing",
}
LIMIT = 120.0
_TEXT = re.compile(rb'"content":\s*"[^"]')
_SIZE = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


@dataclass
class Side:
    """What was found of one of the two, for each number of callers: milliseconds to each first token, requests/s of
    each round."""

    port: int
    firsts: dict[int, list[float]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    rates: dict[int, list[float]] = field(default_factory=lambda: {level: [] for level in LEVELS})


def env() -> dict[str, str]:
    return {"PYTHONPATH": str(ITS_OWN), "LOGDIR": "", "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost"}


def model(place: Path) -> Path:
    """A Llama of two layers and random weights, which does not come to an end by itself, as both worlds load it."""
    folder = place / "model"
    command = [sys.executable, str(MAKER), str(folder), "4096"]
    done = subprocess.run(
        command, env={**os.environ, **env()}, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode:
        raise Unavailable(f"no model could be made: {done.stderr[-300:]}")
    return folder


@contextlib.contextmanager
def stack(folder: Path, place: Path) -> Generator[int]:
    """The real controller, worker and OpenAI server; gives the port of the last."""
    controller, worker, server = free_port(), free_port(), free_port()
    at = f"http://127.0.0.1:{controller}"
    # The shortest of prompts.
    own = ["--model-path", str(folder), "--model-names", "m", "--device", "cpu"]
    own += ["--worker-address", f"http://127.0.0.1:{worker}", "--conv-template", "raw"]
    with real("controller", controller, place) as first:
        wait(controller, first)
        where = ["--controller-address", at]
        with real("model_worker", worker, place, *where, *own) as second:
            with real("openai_api_server", server, place, *where) as third:
                wait(worker, second)
                wait(server, third)
                yield server


def real(program: str, port: int, place: Path, *words: str) -> Child:
    """A program of FastChat's."""
    command = [sys.executable, "-m", f"fastchat.serve.{program}", "--host", "127.0.0.1", "--port", str(port), *words]
    # It writes files into the current directory.
    shell = ["sh", "-c", 'cd "$0" && exec "$@"', str(place), *command]
    return Child(shell, log=place / f"{program}-{port}.log", env=env())


def wait(port: int, child: Child) -> None:
    end = time.monotonic() + LIMIT
    while True:
        with contextlib.suppress(OSError):
            asyncio.run(Connection.once(port, "GET", "/"))
            return
        if not child.running or time.monotonic() > end:
            raise Unavailable(f"it does not listen: {child.last_words()}")
        time.sleep(0.1)


class Connection:
    """A connection that is kept, as a client of a controller has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncGenerator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    @classmethod
    async def once(cls, port: int, method: str, path: str, body: Any = None) -> bytes:
        async with cls.to(port) as one:
            return await one.ask(method, path, body)

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of the answer, whatever its status; it must tell its size."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        async with asyncio.timeout(LIMIT):
            try:
                found = _SIZE.search(await self._reader.readuntil(b"\r\n\r\n"))
                if found is None:
                    raise Unavailable(f"{path}: an answer without a size")
                return await self._reader.readexactly(int(found[1]))
            except asyncio.IncompleteReadError:
                raise ConnectionResetError(f"{path}: no whole answer") from None


async def first_token(port: int) -> float:
    """Milliseconds to the first text of a streamed answer, which is read to its end."""
    body = json.dumps({**QUESTION, "stream": True}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/json"
    began, first, seen = time.monotonic(), 0.0, b""
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            while piece := await reader.read(65536):
                seen += piece
                if not first and _TEXT.search(seen):
                    first = time.monotonic() - began
        finally:
            writer.close()
    if not first or b"[DONE]" not in seen:
        raise Unavailable(f"not a whole stream: {seen[-300:]!r}")
    return first * 1000


QUESTION = {
    "model": "m",
    "messages": [{"role": "user", "content": "Tell me a short story."}],
    "max_tokens": TOKENS,
    "temperature": 0,
}


async def whole(port: int) -> None:
    said = await Connection.once(port, "POST", "/v1/chat/completions", QUESTION)
    used = json.loads(said).get("usage", {}).get("completion_tokens")
    # FastChat's worker tells the last token's index.
    if used not in (TOKENS, TOKENS - 1):
        raise Unavailable(f"not a whole answer: {said[:300]!r}")


async def burst(side: Side, callers: int, requests: int) -> None:
    """Streams for the first token, then whole answers for the rate."""
    side.firsts[callers] += await asyncio.gather(*(first_token(side.port) for _ in range(callers)))
    left = iter(range(requests))

    async def caller() -> None:
        for _ in left:
            await whole(side.port)

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    side.rates[callers].append(requests / (time.monotonic() - began))


def stacks(place: Path, rounds: int) -> tuple[Side, Side]:
    """Ours and theirs, in turn."""
    folder = model(place)
    settings = {"source": f"transformers:{folder}", "options": {"device": "cpu", "dtype": "float32"}}
    with serving(settings, place) as server, stack(folder, place) as port:
        server.ready()
        ours, theirs = Side(server.port), Side(port)
        for side in (ours, theirs):
            asyncio.run(whole(side.port))
        for at in range(rounds):
            for callers, requests in LEVELS.items():
                for side in (ours, theirs) if at % 2 == 0 else (theirs, ours):
                    asyncio.run(burst(side, callers, requests))
    return ours, theirs


async def be_workers(asked: bytes, writer: asyncio.StreamWriter) -> None:
    """WORKERS workers at one port, each below its number; they tell their status whatever they are asked."""
    number = asked.split(b" ", 2)[1].split(b"/")[1].decode()
    data = json.dumps({"model_names": ["m", f"m{number}"], "speed": 1, "queue_length": 0}).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
    )


@dataclass(frozen=True)
class Found:
    """Milliseconds of each call of a controller: get_worker_address with one worker, with WORKERS that were silent,
    with WORKERS whose heart beats have just come; all of their models; and a call that does nothing."""

    one: list[float] = field(default_factory=list[float])
    silent: list[float] = field(default_factory=list[float])
    pick: list[float] = field(default_factory=list[float])
    names: list[float] = field(default_factory=list[float])
    nothing: list[float] = field(default_factory=list[float])


async def timed(one: Connection, repeats: int, method: str, path: str, body: Any = None) -> list[float]:
    taken: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        await one.ask(method, path, body)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def register(one: Connection, workers: int, numbers: Sequence[int]) -> None:
    for at in numbers:
        status = {"model_names": ["m", f"m{at}"], "speed": 1, "queue_length": 0}
        told = {"worker_name": f"http://127.0.0.1:{workers}/{at}", "check_heart_beat": False, "worker_status": status}
        if await one.ask("POST", "/register_worker", told) != b"null":
            raise Unavailable("a worker cannot register")


async def beat(one: Connection, workers: int) -> None:
    for at in range(WORKERS):
        told = {"worker_name": f"http://127.0.0.1:{workers}/{at}", "queue_length": 0}
        if b"true" not in await one.ask("POST", "/receive_heart_beat", told):
            raise Unavailable("a worker is not known")


async def controllers(places: dict[str, Child], ports: dict[str, int], repeats: int) -> dict[str, Found]:
    """The same questions to each, in turn."""
    found = {name: Found() for name in ports}
    wanted = {"model": "m"}
    async with answering(be_workers) as workers, contextlib.AsyncExitStack() as open_ones:
        ones = {name: await open_ones.enter_async_context(Connection.to(port)) for name, port in ports.items()}
        for one in ones.values():
            await register(one, workers, range(1))
        for _ in range(ROUNDS):
            for name, one in ones.items():
                found[name].one.extend(await timed(one, repeats, "POST", "/get_worker_address", wanted))
        for one in ones.values():
            await register(one, workers, range(1, WORKERS))
        # Ours asks each once more what it serves.
        await asyncio.sleep(3)
        for _ in range(ROUNDS):
            for name, one in ones.items():
                told = found[name]
                told.silent.extend(await timed(one, repeats, "POST", "/get_worker_address", wanted))
                await beat(one, workers)
                told.pick.extend(await timed(one, repeats, "POST", "/get_worker_address", wanted))
                told.names.extend(await timed(one, repeats, "POST", "/list_models"))
                told.nothing.extend(await timed(one, repeats, "GET", "/test_connection"))
        for name, one in ones.items():
            listed = json.loads(await one.ask("POST", "/list_models"))["models"]
            if len(listed) != WORKERS + 1 or not places[name].running:
                raise Unavailable(f"{name} lists {len(listed)} models of {WORKERS + 1}")
    return found


def controllers_alone(place: Path, repeats: int) -> dict[str, Found]:
    ports = {"trunkcall": free_port(), "FastChat": free_port()}
    home = place / "controller"
    ours = [sys.executable, "-m", "trunkcall", "as", "fastchat.serve.controller", "--port", str(ports["trunkcall"])]
    ours += ["--host", "127.0.0.1"]
    with (
        Child(ours, log=place / "controller.log", env={"TRUNKCALL_HOME": str(home)}) as mine,
        real("controller", ports["FastChat"], place) as theirs,
    ):
        children = {"trunkcall": mine, "FastChat": theirs}
        for name, child in children.items():
            wait(ports[name], child)
        return asyncio.run(controllers(children, ports, repeats))


def main() -> int:
    """Measure and print; the exit code says whether that could be done."""
    parser = argparse.ArgumentParser(prog="python -m bench.fastchat", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, choices=range(1, 41), metavar="N", help="default 4")
    parser.add_argument("--repeats", type=int, default=100, help="of each question to the controllers")
    asked = parser.parse_args()
    unwind_on_signals()
    try:
        if not ITS_OWN.is_dir():
            raise Unavailable("FastChat is not installed: make env-all puts it into the environment")
        with scratch() as place:
            found = controllers_alone(place, asked.repeats)
            ours, theirs = stacks(place, asked.rounds)
    except (Unavailable, OSError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    bars = [*said_of_stacks(ours, theirs, asked.rounds), *said_of_controllers(found)]
    print(bars_table(bars))
    print(f"\nload average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    return 0


def said_of_stacks(ours: Side, theirs: Side, rounds: int) -> list[Bar]:
    """Prints the table; gives the bars."""
    rows: list[list[str]] = []
    bars: list[Bar] = []
    for callers in LEVELS:
        for name, side in (("trunkcall up", ours), ("FastChat, three processes", theirs)):
            first, rate = statistics.median(side.firsts[callers]), statistics.median(side.rates[callers])
            rows.append([name, str(callers), number(first, 1), number(rate, 1), ""])
        shares = [a / b for a, b in zip(ours.rates[callers], theirs.rates[callers], strict=True)]
        bars.append(Bar(f"requests/s, {callers} at once, of FastChat's", statistics.median(shares), 5, True))
    head = ["a tiny Llama in transformers", "callers", "first token ms", "requests/s", ""]
    print(table(f"chat completions of {TOKENS} tokens, medians of {rounds} rounds", head, rows))
    return bars


def said_of_controllers(found: dict[str, Found]) -> list[Bar]:
    """The same for the controllers."""
    medians = {name: {kind: statistics.median(getattr(told, kind)) for kind in KINDS} for name, told in found.items()}
    rows = [[name, *(number(ms, 3) for ms in own.values()), ""] for name, own in medians.items()]
    print(table("controllers: get_worker_address and others, ms, p50", ["workers", *KINDS.values(), ""], rows))
    ours, theirs = medians["trunkcall"], medians["FastChat"]
    return [
        Bar("get_worker_address p50, of FastChat's", ours["one"] / theirs["one"], 0.5),
        Bar(f"pick one of {WORKERS} workers that beat, ms more than nothing", ours["pick"] - ours["nothing"], 1),
        Bar(f"list {WORKERS + 1} models, ms more than nothing", ours["names"] - ours["nothing"], 1),
    ]


if __name__ == "__main__":
    sys.exit(main())
