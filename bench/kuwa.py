"""Kuwa: what the kernel adds to a call, against the original's, and how soon an executor passes a first piece on."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from bench.gateways import Unavailable
from bench.processes import Child, free_port, scratch, unwind_on_signals
from bench.tables import Bar, bars_table, number, table

ORIGINAL = "TRUNKCALL_KUWA_KERNEL"
"""The environment variable that names the original's `kuwa-kernel` program."""
CALLERS = 32
PIECES = 16
FORM = "content-type: application/x-www-form-urlencoded"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%b}]}\n\n'
)
LIMIT = 30.0


Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""From a request's head to its answer; the body has been read."""


@asynccontextmanager
async def answering(answer: Answer) -> AsyncGenerator[int]:
    """A keep-alive HTTP server in this process; gives its port."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(_length(head))
                await answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The peer, or the benchmark, has ended.
            pass
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(connections):
            task.cancel()
        await asyncio.gather(*connections)


async def execute(head: bytes, writer: asyncio.StreamWriter) -> None:
    """What an executor answers: PIECES pieces at once; 204 to a probe."""
    if head.startswith(b"GET"):
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return
    writer.write(CHUNKED)
    for _ in range(PIECES):
        writer.write(b"5\r\nhello\r\n")
        await asyncio.sleep(0)
    writer.write(b"0\r\n\r\n")


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


async def post(port: int, path: str, fields: dict[str, str]) -> tuple[bytes, float]:
    """The body of a form's answer, and when its first byte came; a connection each, as Kuwa's web interface makes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        body = urlencode(fields)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{FORM}\r\ncontent-length: {len(body)}"
        writer.write(f"{head}\r\n\r\n{body}".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise Unavailable(f"{path} answered {answer[:60]!r}")
        if b"chunked" not in answer.lower():
            return await reader.read(_length(answer)), 0.0
        body_bytes, first = b"", 0.0
        while size := int(await reader.readline(), 16):
            first = first or time.monotonic()
            body_bytes += await reader.readexactly(size)
            await reader.readline()
        return body_bytes, first
    finally:
        writer.close()


async def through_kernel(port: int, at: int) -> None:
    """One call as the web interface makes it."""
    who = {"name": "bench", "history_id": str(at), "user_id": "1"}
    said, _ = await post(port, "/v1.0/worker/schedule", who)
    if said != b"READY":
        raise Unavailable(f"schedule answered {said!r}")
    await spoken(port, "/v1.0/chat/completions", who)


async def spoken(port: int, path: str, who: dict[str, str]) -> None:
    body, _ = await post(port, path, {**who, "input": '[{"isbot": false, "msg": "hi"}]'})
    if body != b"hello" * PIECES:
        raise Unavailable(f"{path} answered {body[:60]!r}")


async def calls(seconds: float, port: int, executors: int | None) -> float:
    """Milliseconds of one call, CALLERS at a time, on average; straight to the executors when their port is given."""
    done = 0
    end = time.monotonic() + seconds

    async def caller(at: int) -> None:
        nonlocal done
        turn = 0
        while time.monotonic() < end:
            turn += 1
            if executors is not None:
                await spoken(executors, f"/chat/{at}", {})
            else:
                await through_kernel(port, at * 100_000 + turn)
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(caller(at) for at in range(CALLERS)))
    return (time.monotonic() - began) * CALLERS / done * 1000


async def register(port: int, executors: int) -> None:
    end = time.monotonic() + LIMIT
    for at in range(CALLERS):
        endpoint = f"http://127.0.0.1:{executors}/chat/{at}"
        while True:
            try:
                await post(port, "/v1.0/worker/register", {"name": "bench", "endpoint": endpoint})
                break
            except OSError:
                if time.monotonic() > end:
                    raise Unavailable("the kernel does not listen") from None
                await asyncio.sleep(0.05)


def kernels(place: Path) -> dict[str, tuple[int, Child]]:
    """Ours, and the original where it is named."""
    found: dict[str, tuple[int, Child]] = {}
    ours = [sys.executable, "-m", "trunkcall", "as", "kuwa-kernel"]
    for name, command in (("trunkcall", ours), ("original", [os.environ.get(ORIGINAL, "")])):
        if not command[0]:
            print(f"WITHOUT the original kernel: set {ORIGINAL} to its kuwa-kernel program", file=sys.stderr)
            continue
        port = free_port()
        arguments = [*command, "--host", "127.0.0.1", "--port", str(port)]
        home = place / name
        home.mkdir()
        # The original writes its files into the current directory.
        shell = ["sh", "-c", 'cd "$0" && exec "$@"', str(home), *arguments]
        child = Child(shell, log=place / f"{name}.log", env={"TRUNKCALL_HOME": str(home)})
        found[name] = port, child
    return found


async def overheads(place: Path, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Milliseconds per call and round: `direct`, and each kernel's."""
    taken: dict[str, list[float]] = {"direct": []}
    running = kernels(place)
    try:
        async with answering(execute) as executors:
            for name, (port, _) in running.items():
                await register(port, executors)
                taken[name] = []
                await calls(0.3, port, None)
            for at in range(rounds):
                names = ["direct", *running]
                for name in names if at % 2 == 0 else reversed(names):
                    port = running[name][0] if name in running else 0
                    taken[name].append(await calls(seconds, port, executors if name == "direct" else None))
    finally:
        for _, child in running.values():
            child.stop()
    return taken


class Engine:
    """What an OpenAI-speaking engine answers, and when it wrote its first piece."""

    wrote = 0.0

    async def answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        await asyncio.sleep(0.02)
        self.wrote = time.monotonic()
        for delta in (b'{"role":"assistant","content":"hi"}', b'{},"finish_reason":"stop"'):
            data = CHUNK % delta
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def first_pieces(place: Path, repeats: int) -> list[float]:
    """Milliseconds from the engine's first piece to the executor's, each."""
    port = free_port()
    home = place / "executor"
    home.mkdir()
    engine = Engine()
    async with answering(engine.answer) as upstream:
        command = [sys.executable, "-m", "trunkcall", "as", "kuwa-executor", "chatgpt", "--ignore_kernel"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--api_key", "none"]
        command += ["--base_url", f"http://127.0.0.1:{upstream}/v1"]
        with Child(command, log=place / "executor.log", env={"TRUNKCALL_HOME": str(home)}) as child:
            found: list[float] = []
            end = time.monotonic() + LIMIT
            while len(found) < repeats:
                try:
                    _, first = await post(port, "/chat", {"input": '[{"isbot": false, "msg": "hi"}]'})
                except OSError:
                    if time.monotonic() > end or not child.running:
                        raise Unavailable(f"the executor does not answer: {child.last_words()}") from None
                    await asyncio.sleep(0.05)
                    continue
                found.append((first - engine.wrote) * 1000)
            return found


def listing(repeats: int) -> float:
    """Seconds of `kuwa-executor --list`, the median."""
    command = [sys.executable, "-m", "trunkcall", "as", "kuwa-executor", "--list"]
    taken: list[float] = []
    for _ in range(repeats):
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=LIMIT)
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def main() -> int:
    """Measure and print; the exit code says whether that could be done."""
    parser = argparse.ArgumentParser(prog="python -m bench.kuwa", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    unwind_on_signals()
    try:
        with scratch() as place:
            taken = asyncio.run(overheads(place, asked.seconds, asked.rounds))
            firsts = asyncio.run(first_pieces(place, 30))
    except (Unavailable, OSError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    added = {
        name: [call - direct for call, direct in zip(values, taken["direct"], strict=True)]
        for name, values in taken.items()
    }
    rows = [
        [name, number(statistics.median(values), 2), number(statistics.median(added[name]), 2), ""]
        for name, values in taken.items()
    ]
    head = ["schedule + completions", "ms per call", "ms added", ""]
    print(table(f"{CALLERS} callers at once, {PIECES} pieces an answer", head, rows))
    share = None
    if "original" in added:
        share = statistics.median(
            ours / theirs for ours, theirs in zip(added["trunkcall"], added["original"], strict=True)
        )
    bars = [
        Bar("kernel: added, of the original's", share, 1 / 3),
        Bar("executor: first piece after the engine's, ms (median)", statistics.median(firsts), 10),
        Bar("kuwa-executor --list, s", listing(5), 0.3),
    ]
    print(bars_table(bars))
    return 0


if __name__ == "__main__":
    sys.exit(main())
