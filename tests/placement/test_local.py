"""Children of the local placement, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trunkcall.core.models import LaunchSpec
from trunkcall.core.ports import Exited, PlacementEvent, Ready
from trunkcall.placement.local import LOG_LINES, LocalChild, LocalPlacement, LogRing, exit_reason

HEAD = "import os, signal, sys, time\nfrom trunkcall.net.link import ChildLink\nlink = ChildLink()\nlink.watch()\n"
SERVE = "link.report(address='http://127.0.0.1:1')\ntime.sleep(60)"


def spec(text: str, **env: str) -> LaunchSpec:
    return LaunchSpec(command=(sys.executable, "-c", HEAD + text), protocol="openai", slots=1, env=env)


@asynccontextmanager
async def started(text: str, **env: str) -> AsyncIterator[tuple[LocalPlacement, LocalChild]]:
    placement = LocalPlacement()
    child = await placement.start(spec(text, **env))
    try:
        async with asyncio.timeout(40):
            yield placement, child
    finally:
        await placement.stop(child, 0)


async def all_events(placement: LocalPlacement, child: LocalChild) -> list[PlacementEvent]:
    return [event async for event in placement.watch(child)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int, limit: float = 15.0) -> None:
    end = time.monotonic() + limit
    while alive(pid):
        assert time.monotonic() < end, f"{pid} lives on"
        await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_ready_then_stopped() -> None:
    async with started("print('loading', os.environ['COLOUR'], flush=True)\n" + SERVE, COLOUR="blue") as (
        placement,
        child,
    ):
        seen: list[PlacementEvent] = []
        async for event in placement.watch(child):
            seen.append(event)
            if isinstance(event, Ready):
                assert child.address == "http://127.0.0.1:1"
                assert os.getpgid(child.pid) == child.pid
                await placement.stop(child, 5)
                assert not alive(child.pid)
        assert seen == [Ready("http://127.0.0.1:1"), Exited(-signal.SIGTERM, "stopped")]
        assert child.log() == ("loading blue",)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("link.report(error='no such file: x'); sys.exit(3)", Exited(3, "no such file: x")),
        ("print('all is well'); raise ValueError('bad colour')", Exited(1, "ValueError: bad colour (exit code 1)")),
        ("print('Error: early'); print('bye'); sys.exit(2)", Exited(2, "Error: early (exit code 2)")),
        ("print('just words'); sys.exit(2)", Exited(2, "just words (exit code 2)")),
        ("print('fatal: x ended with exit code 2: no'); sys.exit(2)", Exited(2, "fatal: x ended with exit code 2: no")),
        ("print('fatal: x was killed by SIGABRT'); sys.exit(134)", Exited(134, "fatal: x was killed by SIGABRT")),
        ("pass", Exited(0, "exit code 0")),
        ("os.kill(os.getpid(), signal.SIGABRT)", Exited(-signal.SIGABRT, "killed by SIGABRT")),
    ],
)
async def test_an_end_before_ready_says_why(text: str, end: Exited) -> None:
    async with started(text) as (placement, child):
        assert await all_events(placement, child) == [end]


@pytest.mark.anyio
async def test_an_end_after_ready() -> None:
    async with started("link.report(address='a'); print('fatal: gone', flush=True); os._exit(9)") as (placement, child):
        assert await all_events(placement, child) == [Ready("a"), Exited(9, "fatal: gone (exit code 9)")]


BEATING = (
    "import asyncio, ctypes\nasync def main():\n link.report(address='a')\n link.beat()\n await asyncio.sleep(0)\n {}\n"
    " await asyncio.sleep(60)\nasyncio.run(main())"
)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere nobody can tell a process that hangs from one that works"
)
@pytest.mark.parametrize(
    ("text", "ends"),
    [
        pytest.param(BEATING.format("os.kill(os.getpid(), signal.SIGSTOP)"), True, id="stopped"),
        pytest.param(BEATING.format("time.sleep(60)"), True, id="its loop is stuck"),
        pytest.param(BEATING.format("ctypes.PyDLL(None).sleep(60)"), True, id="its lock is stuck"),
        pytest.param(BEATING.format("sum(range(10**10))"), False, id="its loop works"),
        pytest.param(BEATING.format("pass"), False, id="idle"),
        pytest.param(SERVE, False, id="never beat"),
    ],
)
async def test_one_that_hangs_is_killed(text: str, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.placement.local.LOOK_SECONDS", 0.5)
    async with started(text) as (placement, child):
        events = asyncio.create_task(all_events(placement, child))
        try:
            _, pending = await asyncio.wait((events,), timeout=30 if ends else 3.5)
            assert bool(pending) != ends
            if ends:
                end = events.result()[-1]
                assert isinstance(end, Exited)
                assert end.code == -signal.SIGKILL
                assert end.reason.startswith("it hung for 20 seconds")
        finally:
            events.cancel()
            await asyncio.gather(events, return_exceptions=True)


@pytest.mark.anyio
async def test_one_that_ignores_the_signal_is_killed_with_its_children() -> None:
    text = (
        "import subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "own = subprocess.Popen(['sleep', '60'])\nlink.report(address=str(own.pid))\ntime.sleep(60)"
    )
    async with started(text) as (placement, child):
        ready = await anext(aiter(placement.watch(child)))
        assert isinstance(ready, Ready)
        began = time.monotonic()
        await placement.stop(child, 0.3)
        assert 0.3 <= time.monotonic() - began < 20
        assert not alive(child.pid)
        await gone(int(ready.address))
        await placement.stop(child, 5)


@pytest.mark.anyio
async def test_what_a_crashed_child_started_ends_too() -> None:
    text = "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)\nos._exit(1)"
    async with started(text) as (placement, child):
        began = time.monotonic()
        assert len(await all_events(placement, child)) == 1
        assert time.monotonic() - began < 20
        await gone(int(child.log()[0]))


@pytest.mark.anyio
async def test_a_command_that_does_not_exist() -> None:
    held: list[int] = []
    for _ in range(4):
        with pytest.raises(FileNotFoundError):
            await LocalPlacement().start(LaunchSpec(command=("/no/such/program",), protocol="openai", slots=1))
        await asyncio.sleep(0.02)
        held.append(len(os.listdir("/proc/self/fd")))
    assert held[0] >= held[-1]


@pytest.mark.anyio
async def test_a_cancelled_stop_kills() -> None:
    text = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
    async with started(text) as (placement, child):
        await anext(aiter(placement.watch(child)))
        stopping = asyncio.create_task(placement.stop(child, 60))
        await asyncio.sleep(0.05)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await gone(child.pid)


@pytest.mark.anyio
async def test_descriptors_are_given_back() -> None:
    for _ in range(2):
        async with started("sys.exit(0)") as (placement, child):
            await all_events(placement, child)
    await asyncio.sleep(0)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with started("sys.exit(0)") as (placement, child):
            await all_events(placement, child)
    async with asyncio.timeout(15):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.parametrize("busy", ["time.sleep(60)", "while True: pass"])
async def test_children_end_when_their_server_is_killed(tmp_path: Path, busy: str) -> None:
    """A server process of its own, ended by kill -9."""
    server = tmp_path / "server.py"
    child = HEAD + f"link.report(address='a')\n{busy}"
    server.write_text(
        f"""
import asyncio, sys, uvloop
from trunkcall.core.models import LaunchSpec
from trunkcall.placement.local import LocalPlacement
async def main():
    placement = LocalPlacement()
    spec = LaunchSpec(command=(sys.executable, "-c", {child!r}), protocol="openai", slots=1)
    children = [await placement.start(spec) for _ in range(2)]
    for one in children:
        async for event in placement.watch(one):
            break
    print(*(one.pid for one in children), flush=True)
    await asyncio.sleep(60)
uvloop.run(main())
"""
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(server), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(40):
        pids = [int(word) for word in (await process.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    process.kill()
    await process.wait()
    for pid in pids:
        await gone(pid)


def test_the_log_is_bounded() -> None:
    ring = LogRing()
    for number in range(1000):
        ring.feed(b"line %d\n" % number)
    assert len(ring.lines()) == LOG_LINES
    assert ring.lines()[-1] == "line 999"
    for _ in range(100):
        ring.feed(b"x" * 100_000)
    assert len(ring.lines()[-1]) < 2010
    ring.feed(b"\n10%\r50%\r\xe2\x82")
    ring.feed(b"\xac\r\n")
    assert ring.lines()[-1] == "€"


@pytest.mark.parametrize(
    ("code", "reported", "log", "stopped", "reason"),
    [
        (1, "told", ("error: x",), False, "told"),
        (1, "", ("error: x", "", "done"), False, "error: x (exit code 1)"),
        (0, "", ("done",), False, "exit code 0"),
        (-9, "", ("loading",), False, "loading (killed by SIGKILL (the kernel does so when memory runs out))"),
        (-9, "", ("error",), True, "stopped"),
        (-99, "", (), False, "killed by signal 99"),
    ],
)
def test_reasons(code: int, reported: str, log: tuple[str, ...], stopped: bool, reason: str) -> None:
    assert exit_reason(code, reported, log, stopped=stopped) == reason
