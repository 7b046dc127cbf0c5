"""`up --detach`, `status` and `down`: a server in the background, from its start to its end."""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Server, alive, eventually

from trunkcall.home import Home

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def background(cli: Any, home: Home) -> Iterator[Any]:
    """Runs `up --detach`; whatever it left running is ended by its number."""

    def up(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return cli("up", "--detach", "--no-pocket", *arguments, **environ)

    yield up
    info = home.running()
    if info is not None and info.alive:
        os.kill(info.pid, 9)


def told(cli: Any, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = cli("status", "--json", *arguments)
    return done.returncode, json.loads(done.stdout)


def test_from_start_to_end(cli: Any, home: Home, background: Any) -> None:
    assert told(cli) == (3, told(cli)[1] | {"state": "stopped", "pid": 0, "models": None})
    assert not home.path.exists(), "looking leaves nothing behind"
    before = time.time()
    done = background("--port", "0", "--model", "d=debug")
    assert done.returncode == 0, done.stderr
    info = home.running()
    assert info is not None
    assert f"process {info.pid} at {info.url}" in done.stdout
    assert str(home.server_log) in done.stdout
    assert "is ready" in home.server_log.read_text()
    assert os.stat(home.server_log).st_mode & 0o077 == 0
    code, found = told(cli)
    assert (code, found["state"], found["pid"], found["url"]) == (0, "ready", info.pid, info.url)
    assert before - 1 <= found["since"] <= time.time() + 1
    assert [view["name"] for view in found["models"]] == ["d"]
    assert found["memory"] > 2**20 or not Path("/proc/self/statm").exists()
    text = cli("status").stdout
    assert text.startswith(f"ready: process {info.pid} at {info.url}\n")
    assert "d      ready" in text
    again = background("--port", "0")
    assert (again.returncode, f"process {info.pid}" in again.stderr) == (1, True)
    done = cli("down")
    assert (done.returncode, f"process {info.pid}" in done.stdout) == (0, True)
    eventually(lambda: not alive(info.pid))
    assert cli("down").stdout == f"no server runs on {home.path}\n"
    assert told(cli)[0] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--model", "x=nowhere:y"), 2, "has no scheme that is known here"),
        (("--host", "0.0.0.0"), 2, "keys create"),
        (("--log-level", "loud"), 2, "--log-level: must be one of"),
    ],
)
def test_a_start_that_fails_says_why(
    background: Any, home: Home, arguments: tuple[str, ...], code: int, words: str
) -> None:
    home.ensure()
    home.server_log.write_text("of an earlier start\n")
    done = background("--port", "0", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert str(home.server_log) in done.stderr
    assert "of an earlier start" not in done.stderr
    assert home.running() is None


def test_a_taken_port_fails_at_once(background: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = background("--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "flags", "status", "cut"), [(80, (), 200, False), (1200, ("--timeout", "0.5"), 503, True)]
)
def test_running_answers_go_on_until_the_timeout(
    cli: Any, serve: Any, home: Home, words: int, flags: tuple[str, ...], status: int, cut: bool
) -> None:
    server: Server = serve("--no-pocket", "--model", "slow=debug:0.1", home=home.path)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(server.chat, "slow", " ".join(["word"] * words))
        eventually(lambda: server.get("/admin/models/slow")["replicas"][0]["in_flight"])
        done = cli("down", *flags)
        assert answer.result(60)[0] == status
    assert done.returncode == 0, done.stderr
    assert ("are cut" in done.stderr) == cut
    assert server.stop() == 0


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_told_from_one_that_is_not_there(cli: Any, home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, home.lock():
        code, found = told(cli)
        assert (code, found["state"], found["url"]) == (3, "starting", "")
        home.write_server(os.getpid(), f"http://127.0.0.1:{silent.getsockname()[1]}")
        code, found = told(cli)
        assert (code, found["state"]) == (4, "silent")
        assert "no answer from" in found["trouble"]


def test_models_need_the_key(cli: Any, serve: Any, home: Home, work: Path) -> None:
    (work / "t.yaml").write_text("keys: [env:MY_KEY]\nmodels: {d: debug}")
    serve("--no-pocket", "--config", str(work / "t.yaml"), home=home.path, env={"MY_KEY": "s3cret"})
    (home.path / "operator.key").unlink(missing_ok=True)
    for arguments, models in (((), None), (("--key", "s3cret"), ["d"])):
        code, found = told(cli, *arguments)
        assert (code, found["state"]) == (0, "ready")
        assert (found["models"] and [view["name"] for view in found["models"]]) == models


def test_down_never_ends_another_process_of_that_number(cli: Any, home: Home) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("without /proc the numbers are all there is")
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with home.lock():
            home.write_server(os.getpid(), "http://127.0.0.1:1")
            text = json.loads((home.path / "server.json").read_text())
            (home.path / "server.json").write_text(json.dumps(text | {"pid": stranger.pid}))
            done = cli("down", "--timeout", "0.2")
        assert done.returncode == 1
        assert "try again" in done.stderr
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_that_ends_says_so(cli: Any, background: Any, home: Home, tmp_path: Path) -> None:
    settings = tmp_path / "slow.yaml"
    settings.write_text("drain_delay: 600\nmodels: {d: debug}\n")
    assert background("--port", "0", "--config", str(settings)).returncode == 0
    since = told(cli)[1]["since"]
    info = home.running()
    assert info is not None
    os.kill(info.pid, 15)
    assert eventually(lambda: told(cli)[1]["state"] == "ending", 60)
    code, found = told(cli)
    assert (code, found["pid"], found["since"]) == (3, info.pid, since)
    assert "which is ending" in background("--port", "0").stderr
    assert cli("down", "--timeout", "0").returncode == 0


def test_a_server_starts_again_at_once_where_one_was_killed(serve: Any, home: Home, free_port: int) -> None:
    first: Server = serve("--port", str(free_port), home=home.path)
    assert first.chat("pocket", "hi")[0] == 200
    engine = first.get("/admin/models/pocket")["replicas"][0]["pid"]
    with socket.create_connection(("127.0.0.1", free_port)) as held:
        held.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 200")
        first.process.kill()
        first.process.wait(30)
        second: Server = serve("--port", str(free_port), home=home.path)
    assert second.url == first.url
    assert second.chat("pocket", "hi")[0] == 200
    eventually(lambda: not alive(engine))
