"""A wall clock that jumps while a server runs: answers, limits, records and metrics go by time that only goes forward."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Server, eventually

Serve = Callable[..., Server]
DAY = 86400
SHIFTED = """
import os, time
_real = time.time

def _shifted():
    try:
        return _real() + float(open(os.environ["CLOCK_SHIFT"]).read() or 0)
    except FileNotFoundError:
        return _real()

time.time = _shifted
time.time_ns = lambda: int(_shifted() * 1e9)
"""


class Clock:
    """The wall clock of the servers that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SHIFTED)
        self._file = folder / "shift"
        self.env = {"PYTHONPATH": str(folder / "site"), "CLOCK_SHIFT": str(self._file)}

    def jump(self, seconds: float) -> None:
        self._file.write_text(str(seconds))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def rows(server: Server) -> list[dict[str, Any]]:
    return server.get("/admin/requests?limit=100")["requests"]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("jump", [-2 * DAY, 2 * DAY, -40 * 365 * DAY], ids=["back", "ahead", "to the eighties"])
def test_a_jump_during_a_stream(serve: Serve, clock: Clock, jump: int) -> None:
    server = serve("--model", "d=debug:0.1", "--no-pocket", env=clock.env)
    answers: list[bytes] = []
    body = {"model": "d", "stream": True, "messages": [{"role": "user", "content": "a " * 50}]}
    asking = threading.Thread(target=lambda: answers.append(server.request("POST", "/v1/chat/completions", body)[2]))
    asking.start()
    eventually(lambda: server.get("/admin/models/d")["replicas"][0]["in_flight"] == 1)
    time.sleep(0.2)
    clock.jump(jump)
    asking.join(60)
    assert answers and answers[0].rstrip().endswith(b"[DONE]")
    assert server.chat("d", "hi")[0] == 200
    found = eventually(lambda: len(told := rows(server)) == 2 and all(row["state"] == "ended" for row in told) and told)
    for row in found:
        assert not row["error"]
        assert 0 <= (row["first_token_ms"] or 0) <= row["total_ms"] < 60_000
    assert server.get("/ready")["status"] == "ready"
    text = server.request("GET", "/metrics")[2].decode()
    sums = [line for line in text.splitlines() if "_sum" in line]
    assert sums
    assert all(0 <= float(line.rpartition(" ")[2]) < 60 for line in sums)
    assert server.stop() == 0
    assert "Traceback" not in server.output


def test_a_minute_of_a_limit_is_a_minute_whatever_the_clock_says(serve: Serve, clock: Clock) -> None:
    server = serve(
        "--model", "d=debug", "--no-pocket", env={**clock.env, "ADMIN": "tk-admin", "TRUNKCALL_KEYS": "env:ADMIN"}
    )
    admin = {"authorization": "Bearer tk-admin"}
    made = server.post("/admin/keys", {"name": "alice", "requests_per_minute": 2}, **admin)
    assert made[0] in (200, 201), made
    alice = {"authorization": f"Bearer {made[2]['secret']}"}

    def ask() -> int:
        return server.post(
            "/v1/chat/completions", {"model": "d", "messages": [{"role": "user", "content": "hi"}]}, **alice
        )[0]

    assert [ask(), ask(), ask()] == [200, 200, 429]
    clock.jump(DAY)
    assert ask() == 429
    clock.jump(-DAY)
    assert ask() == 429


def test_a_key_expires_by_the_wall_clock(serve: Serve, clock: Clock) -> None:
    server = serve(
        "--model", "d=debug", "--no-pocket", env={**clock.env, "ADMIN": "tk-admin", "TRUNKCALL_KEYS": "env:ADMIN"}
    )
    made = server.post(
        "/admin/keys", {"name": "bob", "expires_at": time.time() + 3600}, authorization="Bearer tk-admin"
    )
    bob = {"authorization": f"Bearer {made[2]['secret']}"}
    assert server.request("GET", "/v1/models", headers=bob)[0] == 200
    clock.jump(2 * 3600)
    assert server.request("GET", "/v1/models", headers=bob)[0] == 401
    clock.jump(0)
    assert server.request("GET", "/v1/models", headers=bob)[0] == 200
