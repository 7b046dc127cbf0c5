"""`trunkcall top`: what it makes of two looks at a server, in a pipe and in a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import io
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from rich.console import Console
from running import Server

from trunkcall.apis.admin_server import ModelActivity, Status
from trunkcall.cli.top import Snapshot, activities, duration, picture
from trunkcall.control.condition import Condition
from trunkcall.control.stories import Story
from trunkcall.core.models import BreakerView, Health, ModelView, ReplicaView
from trunkcall.home import Home

pytestmark = pytest.mark.timeout(180)


def view(name: str, **fields: Any) -> ModelView:
    one = ReplicaView(**{"id": f"{name}/0", "model": name, "source": "pocket", "state": "ready", "in_flight": 0, "slots": 4, **fields})  # fmt: skip
    return ModelView(name=name, sources=("pocket",), waiting=0, created=0, replicas=(one,))


def snapshot(at: float, tokens: dict[str, int], pid: int = 1, **fields: Any) -> Snapshot:
    counted = [
        ModelActivity(name=name, running=int(name == "busy"), waiting=0, requests=3, failed=1, prompt_tokens=1,
                      completion_tokens=count, first_token_ms=12.0)
        for name, count in tokens.items()
    ]  # fmt: skip
    status = Status(version="9", pid=pid, started_at=0.0, uptime_seconds=90061.0, draining=False, memory=42_000_000,
                    condition=fields.pop("condition", Condition()), models=counted)  # fmt: skip
    stories = tuple(
        Story(id=str(n), state="ended", model="busy", opened_at=1.0, error="quota" if n % 2 else "", finish="stop")
        for n in range(40)
    )
    views = fields.pop("views", tuple(view(name) for name in tokens))
    return Snapshot(at, status, views, stories)


@pytest.mark.parametrize(
    ("before", "now", "speeds"),
    [
        (snapshot(1.0, {"a": 10, "busy": 0}), snapshot(3.0, {"a": 10, "busy": 50}), {"busy": 25.0, "a": 0.0}),
        (snapshot(1.0, {}), snapshot(2.0, {"new": 5}), {"new": 5.0}),
        (snapshot(1.0, {"a": 50}), snapshot(2.0, {"a": 40}), {"a": 0.0}),
        (snapshot(1.0, {"a": 5}, pid=1), snapshot(2.0, {"a": 40}, pid=2), {"a": 0.0}),
    ],
)
def test_the_speed_is_what_came_between_two_looks(before: Snapshot, now: Snapshot, speeds: dict[str, float]) -> None:
    found = activities(before, now)
    assert {one.view.name: one.tokens_per_second for one in found} == speeds
    assert [one.view.name for one in found] == list(speeds), "the busiest first"


@pytest.mark.parametrize(("seconds", "shown"), [(9, "9 s"), (61, "1 min 1 s"), (7322, "2 h 2 min"), (90061, "1 d 1 h")])
def test_how_long_it_runs(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def drawn(before: Snapshot, now: Snapshot, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(picture("http://127.0.0.1:8000", before, now, height))
    return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize("height", [10, 24, 50])
def test_it_fits_the_terminal(height: int) -> None:
    names = {f"a-model-with-quite-a-long-name-{number}": number for number in range(30)}
    lines = drawn(snapshot(1.0, names), snapshot(2.0, names), height=height)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= max(height, 14)
    assert lines[0].startswith("trunkcall 9  http://127.0.0.1:8000  up 1 d 1 h  42.0 MB")


def test_what_is_wrong_is_seen() -> None:
    failing = (
        view("broken", state="failed", error="no such file"),
        view("shy", breaker=BreakerView(state="open", seconds=12.0, why="it refused")),
        view("loads", state="starting", progress="downloading 43 %"),
    )
    sick = Condition(ledger=Health(False, "the database is away"))
    now = snapshot(2.0, {"broken": 0, "shy": 0, "loads": 0}, views=failing, condition=sick)
    text = "\n".join(drawn(snapshot(1.0, {}), now, width=140))
    for words in (
        "no such file",
        "left alone for 12 s: it refused",
        "downloading 43 %",
        "the database is away",
        "quota",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("state", "rss", "shown"), [("off", 0, ""), ("starting", 0, "5.0 MB"), ("ready", 7_000_000, "7.0 MB")]
)
def test_memory_that_is_needed_is_shown_once_it_is_taken(state: str, rss: int, shown: str) -> None:
    now = snapshot(2.0, {"m": 0}, views=(view("m", state=state, rss=rss, memory=5_000_000),))
    text = "\n".join(drawn(snapshot(1.0, {}), now))
    assert ("5.0 MB" in text) == (shown == "5.0 MB")
    assert shown in text


def test_into_a_pipe_it_prints_once(cli: Any, home: Home, serve: Callable[..., Server]) -> None:
    found = cli("top")
    assert found.returncode == 1 and "trunkcall up" in found.stderr
    server = serve("--no-pocket", "--model", "echo=debug", home=home.path)
    server.chat("echo", "hello")
    shown = cli("top").stdout
    assert f"{server.url}" in shown and "0 running  0 waiting" in shown
    assert shown.count("echo") == 3, "as a model, a replica and a request"
    told = json.loads(cli("top", "--json").stdout)
    assert [one["name"] for one in told["models"]] == ["echo"] and len(told["requests"]) == 1
    assert told["status"]["pid"] == server.process.pid


@contextlib.contextmanager
def in_terminal(environ: dict[str, str]) -> Iterator[tuple[Callable[[bytes], bytes], Callable[[bytes], int | None]]]:
    """`trunkcall top` in a terminal of 24 lines and 80 columns.

    Gives a way to wait for what it shows, and one to press a key and have its exit code.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-m", "trunkcall", "top"],
        stdin=slave, stdout=slave, stderr=slave, env={**environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    seen = bytearray()

    def shows(words: bytes) -> bytes:
        end = time.monotonic() + 60
        while words not in seen:
            assert time.monotonic() < end and child.poll() is None, bytes(seen)
            if select.select([master], [], [], 0.1)[0]:
                seen.extend(os.read(master, 1 << 16))
        found = bytes(seen)
        seen.clear()
        return found

    def ends(key: bytes) -> int | None:
        os.write(master, key)
        end = time.monotonic() + 60
        # Its last words must find room in the terminal's buffer.
        while child.poll() is None and time.monotonic() < end:
            if select.select([master], [], [], 0.05)[0]:
                os.read(master, 1 << 16)
        return child.poll()

    try:
        yield shows, ends
        assert termios.tcgetattr(slave)[3] & termios.ECHO, "the terminal is as it was"
    finally:
        child.kill()
        child.wait()
        os.close(slave)
        os.close(master)


@pytest.mark.slow
@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_in_a_terminal_it_goes_on_until_it_is_told_to_end(
    home: Home, serve: Callable[..., Server], environ: dict[str, str], key: bytes
) -> None:
    server = serve("--no-pocket", "--model", "slow=debug:0.01", home=home.path)
    with in_terminal(environ) as (shows, ends):
        shows(b"0 running")
        split = urlsplit(server.url)
        with contextlib.closing(http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)) as asking:
            question = {"model": "slow", "messages": [{"role": "user", "content": "word " * 20_000}], "stream": True}
            asking.request("POST", "/v1/chat/completions", json.dumps(question))
            shows(b"1 running")
            assert ends(key) == 0


@pytest.mark.slow
def test_a_server_that_goes_away_is_said_and_waited_for(
    home: Home, serve: Callable[..., Server], environ: dict[str, str], free_port: int
) -> None:
    server = serve("--no-pocket", "--model", "echo=debug", "--port", str(free_port), home=home.path)
    with in_terminal(environ) as (shows, ends):
        shows(b"0 running")
        server.stop()
        shows(b"no answer from")
        serve("--no-pocket", "--model", "more=debug", "--port", str(free_port), home=home.path)
        shows(b"more/0")
        assert ends(b"q") == 0


def test_the_shapes_are_those_of_the_api() -> None:
    status = snapshot(1.0, {"a": 1}).status
    assert msgspec.json.decode(msgspec.json.encode(status), type=Status) == status
