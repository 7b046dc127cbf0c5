"""`trunkcall up` as a process: start, refusals at the start, and every way to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from running import Server, alive, eventually

from trunkcall.home import Home
from trunkcall.pocket import gguf_path

Serve = Callable[..., Server]


def refused(*arguments: str, home: Path, cwd: Path | None = None) -> str:
    """The words of an `up` that must not start; exit code non-zero, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "trunkcall", "up", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=cwd,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said
    return said


def children(pid: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_it_says_where_to_click_and_what_to_paste(serve: Serve) -> None:
    server = serve()
    assert server.url in server.output
    # What is printed behind its address comes a moment later.
    eventually(lambda: "Ctrl-C ends it" in server.output)
    curl = server.output[server.output.index("curl ") :].split("\n\n")[0]
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=50)
    assert "chat.completion.chunk" in done.stdout
    assert "data: [DONE]" in done.stdout


def test_page_health_and_ready(serve: Serve) -> None:
    server = serve()
    assert server.get("/health") == {"status": "ok"}
    assert server.get("/ready")["status"] == "ready"
    status, headers, page = server.request("GET", "/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b"<title>Trunkcall</title>" in page


def test_yaml_names_models_of_all_kinds(serve: Serve, tmp_path: Path) -> None:
    upstream = serve("--model", "theirs=debug")
    file = tmp_path / "my.gguf"
    file.symlink_to(gguf_path())
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(
        f"models:\n  my: my.gguf\n  big: 'openai:{upstream.url}/v1#theirs'\n  d: {{source: debug}}\n", encoding="utf-8"
    )
    server = serve("--config", str(settings), "--no-pocket")
    assert {m["id"] for m in server.get("/v1/models")["data"]} == {"my", "big", "d"}
    assert "Pocket" in server.chat("my", "Who are you?", temperature=0)[2]["choices"][0]["message"]["content"]
    status, _, answer = server.chat("big", "say this")
    assert status == 200
    assert answer["model"] == "big"
    assert answer["choices"][0]["message"]["content"] == "say this"


def test_environment_of_a_model_reaches_its_engine(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("models: {pocket: {source: pocket, env: {CUDA_VISIBLE_DEVICES: '3'}}}\n", encoding="utf-8")
    server = serve("--config", str(settings))
    server.chat("pocket", "hi")
    pid = server.get("/admin/models/pocket")["replicas"][0]["pid"]
    assert b"CUDA_VISIBLE_DEVICES=3" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_second_server_on_a_home_names_the_first(serve: Serve) -> None:
    server = serve()
    said = refused("--port", "0", home=server.home)
    assert server.url in said
    assert str(server.process.pid) in said


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "--port" in refused("--port", str(taken.getsockname()[1]), home=tmp_path / "home")


def test_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--home" in refused("--port", "0", home=tmp_path / "file" / "home")


def test_yaml_with_an_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("log_level: info\nmodles: {}\n", encoding="utf-8")
    said = refused("--config", str(settings), home=tmp_path / "home")
    assert "trunkcall.yaml:2" in said
    assert "models" in said


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nowhere.gguf", "nowhere.gguf"),
        ("opnai:http://127.0.0.1:1/v1", "openai"),
        ("openai:not-a-url", "openai:http://HOST:PORT/v1#MODEL"),
        ("debug:soon", "debug:0.05"),
    ],
)
def test_source_that_cannot_work_says_why(tmp_path: Path, source: str, expected: str) -> None:
    assert expected in refused("--port", "0", "--model", f"m={source}", home=tmp_path / "home")


def test_other_address_needs_a_key(tmp_path: Path) -> None:
    assert "key" in refused("--host", "0.0.0.0", "--port", "0", home=tmp_path / "home")


def test_keys_are_checked(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("keys: [env:MY_KEY]\nmodels: {d: debug}\n", encoding="utf-8")
    server = serve("--config", str(settings), env={"MY_KEY": "s3cret"})
    status, _, answer = server.chat("d", "hi")
    assert status == 401
    assert answer["error"]["type"] == "authentication_error"
    body = {"model": "d", "messages": [{"role": "user", "content": "hi"}]}
    assert server.post("/v1/chat/completions", body, authorization="Bearer s3cret")[0] == 200
    assert server.post("/v1/chat/completions", body, authorization="Bearer other")[0] == 401
    assert server.request("GET", "/admin/models")[0] == 401
    assert server.request("GET", "/health")[0] == 200
    assert "s3cret" not in server.output


def test_corrupt_gguf_tells_the_engines_own_error(serve: Serve, tmp_path: Path) -> None:
    whole = gguf_path().read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole[: len(whole) // 2])
    server = serve("--model", f"broken={broken}", "--no-pocket")
    status, headers, answer = server.chat("broken", "hi")
    assert status == 503
    assert "broken" in answer["error"]["message"]
    assert "tensor" in answer["error"]["message"] or "file" in answer["error"]["message"]
    assert headers["x-trunkcall-failed-by"] == "gateway"
    assert server.get("/admin/models/broken")["replicas"][0]["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_and_its_children_end_in_order(serve: Serve, number: int) -> None:
    server = serve()
    server.chat("pocket", "hi")
    child = server.get("/admin/models/pocket")["replicas"][0]["pid"]
    assert child in children(server.process.pid)
    began = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began < 20, "it waits for nobody's answer"
    assert not alive(child)
    assert not (server.home / "server.json").exists()
    assert "Traceback" not in server.output


def test_children_end_when_the_server_is_killed(serve: Serve) -> None:
    server = serve()
    server.chat("pocket", "hi")
    started = children(server.process.pid)
    assert started
    server.process.kill()
    server.process.wait(15)
    eventually(lambda: not any(alive(pid) for pid in started))


def stream_lines(server: Server, body: dict[str, Any]) -> socket.socket:
    """A streaming request on a socket of its own."""
    split = urlsplit(server.url)
    connection = socket.create_connection((split.hostname, split.port), timeout=40)
    data = json.dumps({**body, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + data)
    return connection


def test_running_stream_is_finished_before_the_end(serve: Serve) -> None:
    server = serve("--model", "slow=debug:0.05", "--no-pocket")
    words = " ".join(["word"] * 30)
    connection = stream_lines(server, {"model": "slow", "messages": [{"role": "user", "content": words}]})
    received = connection.recv(65536)
    server.process.send_signal(signal.SIGTERM)
    while data := connection.recv(65536):
        received += data
    connection.close()
    assert received.count(b"word") == 30
    assert b"[DONE]" in received
    assert server.stop() == 0


def test_stream_that_takes_too_long_is_told_at_the_end(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("drain_timeout: 0.3\nmodels: {slow: 'debug:0.2'}\n", encoding="utf-8")
    server = serve("--config", str(settings), "--no-pocket")
    words = " ".join(["word"] * 300)
    connection = stream_lines(server, {"model": "slow", "messages": [{"role": "user", "content": words}]})
    received = connection.recv(65536)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    while data := connection.recv(65536):
        received += data
    connection.close()
    assert b"shutting down" in received
    assert server.stop() == 0
    assert time.monotonic() - began < 30, "its words take a minute"


def test_balancers_are_told_before_requests_are_refused(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("drain_delay: 60\nmodels: {d: debug}\n", encoding="utf-8")
    server = serve("--config", str(settings), "--no-pocket")
    assert server.get("/ready")["status"] == "ready"
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: server.request("GET", "/ready")[0] == 503)
    assert json.loads(server.request("GET", "/ready")[2])["status"] == "draining"
    assert server.request("GET", "/health")[0] == 200
    assert server.chat("d", "still here")[2]["choices"][0]["message"]["content"] == "still here"
    assert server.stop() == 0, "a second signal does not wait"


def test_models_are_added_and_removed_while_it_runs(serve: Serve) -> None:
    server = serve()
    status, _, view = server.post("/admin/models", {"name": "d", "source": "debug"})
    assert status == 201
    assert view["name"] == "d"
    assert server.chat("d", "one two")[2]["choices"][0]["message"]["content"] == "one two"
    assert server.post("/admin/models", {"name": "d", "source": "debug"})[0] == 409
    assert server.post("/admin/models", {"name": "e", "source": "nothing:x"})[0] == 400
    assert server.request("DELETE", "/admin/models/d")[0] == 200
    assert server.chat("d", "hi")[0] == 404
    assert server.request("DELETE", "/admin/models/d")[0] == 404
    # A web page of another origin can send this without asking first; it must not administer.
    data = json.dumps({"name": "x", "source": "debug"}).encode()
    assert server.request("POST", "/admin/models", data, {"content-type": "text/plain"})[0] == 400


def test_requests_are_in_the_ledger_and_metrics(serve: Serve) -> None:
    server = serve("--model", "d=debug")
    server.chat("d", "one two three")
    server.chat("nothere", "hi")
    rows = eventually(lambda: (told := server.get("/admin/usage?by=model,error")["rows"])[1:] and told)
    found = {(row["model"], row["error"]): row for row in rows}
    assert found["d", ""]["requests"] == 1
    assert found["d", ""]["completion_tokens"] == 3
    assert found["", "no_model"]["requests"] == 1, "no model served it"
    text = server.request("GET", "/metrics")[2].decode()
    assert 'vllm:generation_tokens_total{model_name="d"} 3' in text
    assert os.stat(server.home).st_mode & 0o077 == 0


@pytest.mark.parametrize("form", ["--json-logs", "--no-json-logs"])
def test_the_access_log_has_a_line_for_each_request_and_no_secret(serve: Serve, tmp_path: Path, form: str) -> None:
    settings = tmp_path / "t.yaml"
    settings.write_text("keys: [env:MY_KEY]\nmodels: {d: debug}", encoding="utf-8")
    server = serve("--config", str(settings), "--no-pocket", "--access-log", form, env={"MY_KEY": "s3cret"})
    key = {"authorization": "Bearer s3cret"}
    body = {"model": "d", "messages": [{"role": "user", "content": "hush now"}]}
    assert server.post("/v1/chat/completions", body, **key)[0] == 200
    assert server.post("/v1/chat/completions", {**body, "model": "gone\nINFO forged"}, **key)[0] == 404
    assert server.request("GET", "/health?key=s3cret")[0] == 200
    assert server.request("GET", "/v1/models")[0] == 401
    if form == "--json-logs":
        lines = eventually(
            lambda: (told := [line for line in server.lines if '"trunkcall.access"' in line])[3:] and told
        )
        asked, gone, health, refused = map(json.loads, lines)
        assert asked.items() >= {"key": "env:MY_KEY", "model": "d", "status": 200, "prompt": 2, "completion": 2}.items()
        assert (gone["model"], gone["error"], gone["status"]) == ("gone\nINFO forged", "no_model", 404)
        assert (health["path"], health["key"], refused["status"]) == ("/health", "", 401)
        assert len({line["request"] for line in (asked, gone, health, refused)}) == 4
    else:
        lines = eventually(lambda: (told := [line for line in server.lines if " INFO request=" in line])[3:] and told)
        assert "method=POST path=/v1/chat/completions status=200" in lines[0]
        assert "model=d replica=d/0 prompt=2 completion=2 error=-" in lines[0]
        assert r'model="gone\nINFO forged"' in lines[1]
        assert "key=- method=GET path=/health status=200" in lines[2]
    assert "s3cret" not in server.output
    assert "hush" not in server.output


def test_a_line_of_log_names_its_request(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "t.yaml"
    settings.write_text("keys: [env:MY_KEY]\nmodels: {d: debug}", encoding="utf-8")
    server = serve("--config", str(settings), "--no-pocket", "--json-logs", env={"MY_KEY": "s3cret"})
    headers = server.request("GET", "/v1/models", headers={"authorization": "Bearer wr0ng"})[1]
    lines = eventually(lambda: [line for line in server.lines if '"refused' in line])
    assert json.loads(lines[0])["request"] == headers["x-trunkcall-request-id"]
    assert "wr0ng" not in server.output


def test_no_access_log_unless_asked(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--no-pocket")
    server.chat("d", "hi")
    assert "request=" not in server.output


def test_a_terminal_that_is_closed_ends_its_server(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    server = subprocess.Popen(
        [sys.executable, "-m", "trunkcall", "up", "--port", "0", "--no-pocket", "--home", str(tmp_path / "home")],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        info = eventually(lambda: (found := Home(tmp_path / "home").running()) and found.url and found)
        server.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert Home(tmp_path / "home").running() == info, "its terminal is there: it has read its settings again"
        os.close(ours)
        server.send_signal(signal.SIGHUP)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()


def test_cors_is_off_by_default_and_settable(serve: Serve, tmp_path: Path) -> None:
    page = {"origin": "http://my.page"}
    closed = serve("--model", "d=debug", "--no-pocket")
    assert "access-control-allow-origin" not in closed.request("GET", "/v1/models", headers=page)[1]
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("cors: ['http://my.page']\nmodels: {d: debug}\n", encoding="utf-8")
    server = serve("--config", str(settings), "--no-pocket")
    assert server.request("GET", "/v1/models", headers=page)[1]["access-control-allow-origin"] == "http://my.page"
    assert "access-control-allow-origin" not in server.request("GET", "/v1/models", headers={"origin": "http://x"})[1]
    asked = {**page, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    status, headers, _ = server.request("OPTIONS", "/v1/chat/completions", headers=asked)
    assert (status, headers["access-control-allow-methods"]) == (204, "POST")
    assert headers["access-control-allow-headers"] == "content-type"


def test_listeners_of_their_own(serve: Serve, free_port: int) -> None:
    server = serve("--listen", f"127.0.0.1:{free_port}=metrics,landing", "--model", "d=debug", "--no-pocket")
    with socket.create_connection(("127.0.0.1", free_port), timeout=30) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", free_port), timeout=30) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 404")
    assert server.get("/v1/models")["data"]
