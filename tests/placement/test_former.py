"""What a killed server has left is ended, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import alive, eventually

from trunkcall.placement.former import MARK, end_left_behind, mark

WAITS = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait(5)
        if child.stdout is not None:
            child.stdout.close()


def start(children: list[subprocess.Popen[bytes]], said: str, code: str = WAITS) -> int:
    child = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, MARK: said}, stdout=subprocess.PIPE if code != WAITS else None
    )
    children.append(child)
    if child.stdout is not None:
        child.stdout.readline()
    eventually(lambda: said.encode() in Path(f"/proc/{child.pid}/environ").read_bytes())
    return child.pid


def test_only_those_of_dead_servers_of_this_home(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    own = mark(tmp_path)[MARK]
    home, pid, started = own.rsplit(":", 2)
    left = start(children, f"{home}:{pid}:{int(started) - 1}")
    kept = [
        start(children, said)
        for said in (own, f"{home}2:{pid}:1", f"{home}:{pid}:", f"{home}:x:1", "", f"{home}:{pid}:{started}")
    ]
    began = time.monotonic()
    assert end_left_behind(tmp_path, grace=40) == [left]
    assert time.monotonic() - began < 20, "the time is for those who need it"
    eventually(lambda: not alive(left))
    assert all(map(alive, kept))
    assert end_left_behind(tmp_path) == []


def test_who_does_not_listen_is_killed(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    pid = start(children, f"{tmp_path.resolve()}:{2**22 + 1}:5", STUBBORN)
    assert end_left_behind(tmp_path, grace=0.2) == [pid]
    eventually(lambda: not alive(pid))


def test_who_asks_is_not_ended(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trunkcall.placement.former import end_left_behind;"
        "print(end_left_behind(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, MARK: f"{tmp_path.resolve()}:{2**22 + 1}:5"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stdout == "[]\n"
