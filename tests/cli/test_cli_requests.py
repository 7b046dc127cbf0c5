"""`trunkcall requests` on a real server, and its cells."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from running import Server, eventually

from trunkcall.cli.requests import clock, notes, rows, span, state
from trunkcall.control.stories import Story
from trunkcall.home import Home

pytestmark = pytest.mark.timeout(180)


def story(**fields: Any) -> Story:
    return Story(**{"id": "r", "state": "ended", "model": "m", "opened_at": time.time(), **fields})


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "-"), (0.4, "0 ms"), (999.4, "999 ms"), (1500.0, "1.5 s"), (99_900.0, "99.9 s"), (180_000.0, "3 min")],
)
def test_a_time_is_as_short_as_people_read_it(given: Any, shown: str) -> None:
    assert span(given) == shown


@pytest.mark.parametrize(
    ("fields", "shown", "noted"),
    [
        ({"state": "waiting"}, "waiting", "-"),
        ({"state": "running", "why": "only replica"}, "running", "only replica"),
        ({"finish": "stop"}, "stop", "-"),
        ({"error": "quota", "finish": "stop", "status": 429}, "quota", "-"),
        ({"status": 200}, "200", "-"),
        ({"attempts": 2, "why": "retry"}, "ended", "1 retried; retry"),
        ({"resumes": 2, "resumed": "exact", "dropped": ("seed", "user")}, "ended", "resumed 2 times (exact); dropped seed, user"),
    ],
)  # fmt: skip
def test_how_a_request_went(fields: Any, shown: str, noted: str) -> None:
    assert (state(story(**fields)), notes(story(**fields))) == (shown, noted)


def test_names_and_old_times() -> None:
    assert rows([story(model="big", asked="chat")])[0][2] == "big (chat)"
    assert rows([story(model="", asked="made up")])[0][2] == "made up"
    assert len(clock(time.time())) == 8 and len(clock(0)) == 19


@pytest.mark.slow
def test_requests_of_a_server(cli: Any, home: Home, serve: Callable[..., Server]) -> None:
    found = cli("requests")
    assert found.returncode == 1 and "trunkcall up" in found.stderr and "--url" in found.stderr
    server = serve("--no-pocket", "--model", "echo=debug", "--model", "other=debug", home=home.path)
    assert cli("requests").stdout == "no such request is recorded\n"
    for number in range(3):
        server.chat("echo", f"question {number}")
    server.chat("other", "x")
    server.chat("\x1b[31mred", "x")

    lines = cli("requests").stdout.splitlines()
    assert lines[0].split() == ["TIME", "ID", "MODEL", "KEY", "REPLICA", "STATE", "QUEUE", "FIRST", "TOTAL", "TOKENS", "NOTES"]  # fmt: skip
    assert len(lines) == 6 and "\x1b" not in "".join(lines), "what callers wrote does not reach the terminal"
    assert "no_model" in lines[1] and "stop" in lines[2]
    assert len(cli("requests", "--model", "echo").stdout.splitlines()) == 4
    assert len(cli("requests", "--limit", "2").stdout.splitlines()) == 3
    assert "no_model" in cli("requests", "--errors").stdout.splitlines()[1]
    assert cli("requests", "--caller", "nobody").stdout == "no such request is recorded\n"

    (one,) = json.loads(cli("requests", "--model", "other", "--json").stdout)["requests"]
    shown = dict(line.split(maxsplit=1) for line in cli("requests", one["id"]).stdout.splitlines())
    assert (shown["model"], shown["finish"], shown["replica"]) == ("other", "stop", "other/0")
    assert json.loads(cli("requests", one["id"], "--json").stdout)["id"] == one["id"]
    found = cli("requests", "nosuch")
    assert (found.returncode, found.stdout) == (1, "") and "there is no request 'nosuch'" in found.stderr


@pytest.mark.slow
def test_more_than_one_page_comes_from_the_ledger(cli: Any, home: Home, serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "echo=debug", home=home.path)
    for _ in range(5):
        server.chat("echo", "x")
    server.stop()
    serve("--no-pocket", "--model", "echo=debug", home=home.path)
    # Its importer may not have started before the first one ended.
    eventually(lambda: len(json.loads(cli("requests", "--json", "-n", "1001").stdout)["requests"]) == 5, 40)
