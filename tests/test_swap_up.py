"""A real `trunkcall up` whose engines make room for each other, end, come back and leave nothing behind."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import Server, alive, eventually

SMALL = {"context": 512, "slots": 2, "cache_ram_mib": 0}
"""Of the pocket model, which needs 117 MB then."""
ONE = "150MB"


def pocket(**more: Any) -> dict[str, Any]:
    return {"source": "pocket", "options": SMALL, **more}


@contextmanager
def up(tmp_path: Path, models: dict[str, Any], *arguments: str, **settings: Any) -> Iterator[Server]:
    (tmp_path / "trunkcall.yaml").write_text(json.dumps({"pocket": False, "models": models, **settings}))
    with Server("--config", str(tmp_path / "trunkcall.yaml"), *arguments, home=tmp_path / "home") as server:
        yield server


def replicas(server: Server, name: str) -> list[dict[str, Any]]:
    found = next(one for one in server.get("/admin/models")["models"] if one["name"] == name)
    return found["replicas"]


def states(server: Server, name: str) -> list[str]:
    return [one["state"] for one in replicas(server, name)]


def said(server: Server, name: str, tokens: int = 8) -> str:
    status, _, body = server.chat(name, "Say something.", max_tokens=tokens, temperature=0)
    assert status == 200, body
    return body["choices"][0]["message"]["content"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_callers_in_turn_of_models_of_which_one_fits(tmp_path: Path) -> None:
    with up(tmp_path, {"a": pocket(), "b": pocket()}, memory=ONE) as server:
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda number: said(server, "ab"[number % 2]), range(24)))
        seconds = time.monotonic() - began
        assert len(set(answers)) == 1, "the same model by two names"
        both = [*replicas(server, "a"), *replicas(server, "b")]
        starts = sum(one["evictions"] + (one["pid"] is not None) for one in both)
        assert 2 <= starts <= seconds / 3 + 2, "each start serves a batch"
        assert sum(one["pid"] is not None for one in both) == 1
        loaded = next(one for one in both if one["pid"] is not None)
        assert loaded["last_used"] >= loaded["loaded_at"] > time.time() - 240
        eventually(lambda: any(one["rss"] > 10**7 for name in "ab" for one in replicas(server, name)))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_busy_one_is_not_cut_and_a_pinned_one_stays(tmp_path: Path) -> None:
    models = {"a": pocket(), "b": pocket(), "p": pocket(pinned=True)}
    with up(tmp_path, models, memory=ONE) as server, concurrent.futures.ThreadPoolExecutor(4) as threads:
        pid = None
        running = [threads.submit(said, server, "a", 480) for _ in range(4)]
        pid = eventually(lambda: replicas(server, "a")[0]["pid"])
        said(server, "b")
        assert not alive(pid)
        assert len({one.result() for one in running}) == 1
        said(server, "p")
        status, _, body = server.chat("a", "hi")
        assert (status, body["error"]["code"]) == (507, "out_of_memory"), body
        assert "pinned" in body["error"]["message"] and "`memory`" in body["error"]["message"]
        assert states(server, "p") == ["ready"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ttl_ends_an_engine_and_the_next_call_starts_it(tmp_path: Path) -> None:
    with up(tmp_path, {"a": pocket(ttl=1)}) as server:
        said(server, "a")
        pid = replicas(server, "a")[0]["pid"]
        eventually(lambda: not alive(pid))
        eventually(lambda: states(server, "a") == ["off"])
        said(server, "a")


def order(server: Server, words: str) -> Any:
    status, _, data = server.request("POST", f"/admin/models/{words}", {})
    assert status == 200, data
    return json.loads(data)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_orders_under_load_fail_no_request(tmp_path: Path) -> None:
    with up(tmp_path, {"a": pocket(replicas=2)}) as server:
        said(server, "a")
        order(server, "a/load")
        eventually(lambda: states(server, "a") == ["ready", "ready"])
        before = {one["pid"] for one in replicas(server, "a")}
        done = threading.Event()
        answers: list[str] = []

        def call() -> None:
            while not done.is_set():
                answers.append(said(server, "a"))

        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            callers = [threads.submit(call) for _ in range(3)]
            try:
                order(server, "a/restart")
                assert not before & {one["pid"] for one in replicas(server, "a")}
                order(server, "a/unload")
                eventually(lambda: "ready" in states(server, "a"))
            finally:
                done.set()
            for caller in callers:
                caller.result()
        assert len(set(answers)) == 1
        order(server, "a/drain")
        status, headers, body = server.chat("a", "hi")
        assert (status, headers["retry-after"]) == (503, "5") and "operator" in body["error"]["message"]
        order(server, "a/load")
        said(server, "a")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_engine_that_never_starts_is_told_of_each_time(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('RuntimeError: no luck')", "{port}"]
    with up(tmp_path, {"a": {"source": "command", "options": {"command": words}}}) as server:
        for _ in range(3):
            began = time.monotonic()
            status, headers, body = server.chat("a", "hi")
            assert status == 503 and "no luck" in body["error"]["message"], body
            assert headers["retry-after"] == "5" and time.monotonic() - began < 40
        eventually(lambda: states(server, "a") == ["off"])
        assert replicas(server, "a")[0]["restarts"] <= 3


OUTSIDE = """
import http.server, subprocess, sys, time
time.sleep(float(sys.argv[3]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open(sys.argv[2], "w").write(str(child.pid))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        data = b'{"id":"x","object":"chat.completion","created":1,"model":"a","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
        self.send_response(200); self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data))); self.end_headers(); self.wfile.write(data)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_who_streams_hears_that_the_model_loads(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(OUTSIDE)
    command = f"{sys.executable} {tmp_path}/outside.py {{port}} {shlex.quote(str(tmp_path / 'pid'))} 5"
    with up(tmp_path, {"a": {"source": f"command:{command}"}}) as server:
        body = {"model": "a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        status, _, data = server.request("POST", "/v1/chat/completions", body)
        assert status == 200 and re.search(rb"^: queue position 0, loading for [1-9]\d* s$", data, re.MULTILINE), data
        assert replicas(server, "a")[0]["progress"] == ""


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("also", [False, True], ids=["the server", "the server and the runner"])
def test_after_kill_9_nothing_is_left_and_the_same_home_serves_again(tmp_path: Path, also: bool) -> None:
    (tmp_path / "outside.py").write_text(OUTSIDE)
    note = tmp_path / "pid"
    models = {
        "a": pocket(),
        "b": {"source": f"command:{sys.executable} {tmp_path}/outside.py {{port}} {shlex.quote(str(note))} 0"},
    }
    with up(tmp_path, models) as server:
        said(server, "a")
        assert said(server, "b") == "hi"
        children = descendants(server.process.pid)
        grandchild = int(note.read_text())
        assert grandchild in children and len(children) >= 4
        runner = replicas(server, "b")[0]["pid"]
        server.process.send_signal(signal.SIGKILL)
        if also:
            os.kill(runner, signal.SIGKILL)
        server.process.wait(15)
        if not also:
            eventually(lambda: not any(map(alive, children)))
        with Server("--config", str(tmp_path / "trunkcall.yaml"), home=tmp_path / "home") as again:
            eventually(lambda: not any(map(alive, children)))
            said(again, "a")
            assert said(again, "b") == "hi"
        eventually(lambda: not alive(int(note.read_text())))
