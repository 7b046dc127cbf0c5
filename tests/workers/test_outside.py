"""The runner of outside servers, as a real child with a real server below it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from engines import stand_in
from running import alive

from trunkcall.core.models import LaunchSpec
from trunkcall.core.ports import Exited, PlacementEvent, Ready
from trunkcall.engines.launched import runner
from trunkcall.placement.local import LocalChild, LocalPlacement
from trunkcall.protocols.outside_host import OutsideSettings, filled, places

pytestmark = pytest.mark.anyio

SERVER = (sys.executable, stand_in.__file__, "plain", "--host", "{host}", "--port", "{port}")


@asynccontextmanager
async def started(
    does: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[LocalPlacement, LocalChild, AsyncIterator[PlacementEvent]]]:
    placement = LocalPlacement()
    outside = OutsideSettings(**{"name": "s", "command": SERVER, **settings})
    env = {"STAND_IN": json.dumps(does or {}), "PYTHONUNBUFFERED": "1"}
    child = await placement.start(LaunchSpec(command=runner(outside), protocol="openai", slots=1, env=env))
    events = placement.watch(child)
    try:
        async with asyncio.timeout(40):
            yield placement, child, events
    finally:
        await events.aclose()  # type: ignore[attr-defined]
        await placement.stop(child, 10)


async def ready(events: AsyncIterator[PlacementEvent]) -> str:
    event = await anext(events)
    assert isinstance(event, Ready), event
    return event.address


async def exited(events: AsyncIterator[PlacementEvent]) -> Exited:
    event = await anext(events)
    assert isinstance(event, Exited), event
    return event


async def until(check: Callable[[], object], limit: float = 20.0) -> None:
    async with asyncio.timeout(limit):
        while not check():
            await asyncio.sleep(0.01)


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return int(answer.status)


def server_of(child: LocalChild) -> int:
    found = re.search(r"stand-in (\d+) loads", "\n".join(child.log()))
    assert found, child.log()
    return int(found[1])


async def test_ready_once_its_health_path_says_so_and_gone_with_all_its_own(tmp_path: Path) -> None:
    note = tmp_path / "child"
    async with started({"loads": 0.4, "child": str(note)}) as (placement, child, events):
        address = await ready(events)
        assert await asyncio.to_thread(status, f"{address}/v1/models") == 200
        server, sleeper = server_of(child), int(note.read_text())
        assert alive(server)
        assert alive(sleeper)
        await placement.stop(child, 10)
        assert await exited(events) == Exited(0, "stopped")
        assert not alive(server)
        assert not alive(sleeper)


async def test_other_paths_statuses_and_bases() -> None:
    async with started({"health": "/up", "ready": 204}, health="/up", ready=204, base="/api") as (_, _, events):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api", await ready(events))
    async with started({"ready": 500}, health="") as (_, _, events):
        assert await ready(events)


@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ({"says": ["ValueError: no such model"], "exit": 7}, 7, "s ended with exit code 7: ValueError: no such model"),
        ({"says": ["CUDA out of memory"], "exit": 1}, 1, "s ended with exit code 1, out of memory: CUDA out of memory"),
        ({"killed_by": int(signal.SIGILL)}, 132, "this build needs CPU features that the machine lacks"),
        ({"exit": 0}, 1, "stand-in"),
    ],
)
async def test_an_end_while_it_loads_is_explained(does: dict[str, Any], code: int, says: str) -> None:
    async with started(does) as (_, _, events):
        event = await exited(events)
        assert event.code == code
        assert says in event.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "health", "says"),
    [
        ({"says": ["first"]}, "/none", "s was ended: it was not ready after 5 seconds: /none answered 404"),
        ({"says": ["first"], "silent_if": "/"}, "/health", r"not ready after 5 seconds: .*0.5 s"),
    ],
)
async def test_a_server_that_lives_and_is_never_ready(does: dict[str, Any], health: str, says: str) -> None:
    async with started(does, health=health, start_seconds=5, patience=0.5) as (_, child, events):
        event = await exited(events)
        assert re.search(says, event.reason), event
        assert "The option start_seconds gives it longer. Its last words: " in event.reason
        assert not alive(server_of(child))


async def test_an_end_while_it_serves_is_explained(tmp_path: Path) -> None:
    switch = tmp_path / "end"
    async with started({"says": ["error: harmless"], "ends_if": str(switch)}) as (_, _, events):
        await ready(events)
        switch.touch()
        assert (await exited(events)).reason == "fatal: s ended with exit code 3: error: harmless"


async def test_our_own_looks_are_not_in_its_log() -> None:
    looks = [f'INFO: 127.0.0.1:1 - "GET {path} HTTP/1.1" 200 OK' for path in ("/health", "/metrics", "/v1/models")]
    async with started({"says": ["first", *looks, 'INFO: "GET /health HTTP/1.1" 503']}) as (_, child, events):
        await ready(events)
        assert child.log()[-3:] == ("first", looks[2], 'INFO: "GET /health HTTP/1.1" 503')


async def test_what_we_say_has_a_line_of_its_own(tmp_path: Path) -> None:
    switch = tmp_path / "end"
    async with started({"mumbles": "half a line", "ends_if": str(switch)}) as (_, child, events):
        await ready(events)
        switch.touch()
        await exited(events)
        assert child.log()[-2:] == ("half a line", "fatal: s ended with exit code 3: half a line")


async def test_a_program_that_is_not_there() -> None:
    async with started(command=("/nowhere/x", "{port}")) as (_, _, events):
        assert (await exited(events)).reason == "s: /nowhere/x cannot be started: No such file or directory"


async def test_a_port_that_was_taken_meanwhile_costs_a_second_start(tmp_path: Path) -> None:
    note = tmp_path / "taken"
    async with started({"taken_until": str(note)}) as (_, child, events):
        await ready(events)
        assert "\n".join(child.log()).count("loads") == 2
    async with started({"says": ["address already in use"], "exit": 1}) as (_, child, events):
        assert "says twice that its port is taken" in (await exited(events)).reason
        assert "\n".join(child.log()).count("loads") == 2


async def test_a_server_that_no_longer_answers_is_ended(tmp_path: Path) -> None:
    switch = tmp_path / "silent"
    async with started({"silent_if": str(switch)}, patience=1.0) as (_, child, events):
        await ready(events)
        switch.touch()
        event = await exited(events)
        assert event.code == 1
        assert "s was ended: it runs, but has not answered /health for" in event.reason
        assert not alive(server_of(child))


async def test_a_server_that_says_no_is_ended(tmp_path: Path) -> None:
    switch = tmp_path / "broken"
    # So long that a look which is late is not one that was not answered.
    async with started({"broken_if": str(switch)}, patience=4.0) as (_, _, events):
        await ready(events)
        switch.touch()
        assert "cannot serve any more: /health answered 503" in (await exited(events)).reason


async def test_a_stubborn_server_is_killed_after_the_grace() -> None:
    async with started({"stubborn": True}, grace=0.3) as (placement, child, events):
        await ready(events)
        server = server_of(child)
        await placement.stop(child, 10)
        assert not alive(server)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_it_ends_when_our_server_is_killed(tmp_path: Path, stubborn: bool) -> None:
    note = tmp_path / "child"
    async with started({"child": str(note), "stubborn": stubborn}) as (_, child, events):
        await ready(events)
        pids = [child.pid, server_of(child), int(note.read_text())]
        child.link.close()
        await until(lambda: not any(map(alive, pids)))


async def test_it_ends_when_the_runner_is_killed() -> None:
    async with started() as (_, child, events):
        await ready(events)
        server = server_of(child)
        os.kill(child.pid, signal.SIGKILL)
        assert "SIGKILL" in (await exited(events)).reason
        await until(lambda: not alive(server))


async def test_settings_that_are_none() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trunkcall.workers.outside", "{", stdout=asyncio.subprocess.PIPE, stderr=-3
    )
    said, _ = await process.communicate()
    assert b"needs its settings as JSON" in said
    assert process.returncode == 1


async def test_placeholders() -> None:
    words = ("{port}", "a{port2}b", '{"x": 1}', "{host}:{port}", "{porta}")
    assert places(words) == {"port", "port2", "host"}
    values = {"port": "1", "port2": "2", "host": "h"}
    assert [filled(word, values) for word in words] == ["1", "a2b", '{"x": 1}', "h:1", "{porta}"]
