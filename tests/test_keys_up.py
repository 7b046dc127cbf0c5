"""Keys on a real server: made before and while it runs, told in each protocol, and budgets that hold."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from running import Server, eventually, reserved_port

Serve = Callable[..., Server]

PROMPT = 10
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x "}}]}\n\n'


class Upstream(BaseHTTPRequestHandler):
    """Uses all of `max_tokens`: at once after a while, or as a stream without end."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b'{"object":"list","data":[{"id":"m","object":"model"}]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(CHUNK)
                    time.sleep(0.01)
            except OSError:
                self.close_connection = True
            return
        time.sleep(0.3)
        most = body["max_tokens"]
        usage = {"prompt_tokens": PROMPT, "completion_tokens": most, "total_tokens": PROMPT + most}
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}
        told = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        self._answer(json.dumps(told).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    class Many(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    server = Many(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"openai:http://127.0.0.1:{server.server_address[1]}/v1#m"
    server.shutdown()
    thread.join(5)
    server.server_close()


def keys(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkcall", "keys", *arguments, "--home", str(home)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **env}, cwd=home.parent
    )


def made(home: Path, *arguments: str) -> str:
    done = keys(home, "create", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tk-")
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def shown(home: Path, name: str) -> dict[str, Any]:
    return json.loads(keys(home, "show", name, "--json").stdout)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def ask(server: Server, secret: str, model: str = "d", **more: Any) -> tuple[int, dict[str, str], Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    return server.post("/v1/chat/completions", body, **bearer(secret))


def test_a_public_address_needs_a_key(tmp_path: Path, serve: Serve) -> None:
    home = tmp_path / "home"
    arguments = ("--host", "0.0.0.0", "--no-pocket", "--model", "d=debug")
    refused = Server(*arguments, home=home)
    with pytest.raises(AssertionError, match="ended with 2"):
        refused.wait_ready()
    refused.stop()
    assert "trunkcall keys create admin --role admin" in refused.output
    assert f"--home {home}" in refused.output

    secret = made(home, "admin", "--role", "admin")
    server = serve(*arguments, home=home)
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert ask(server, "dummy")[0] == 401
    assert ask(server, secret)[0] == 200
    assert keys(home, "rm", "admin").returncode == 0
    assert ask(server, secret)[0] == 401
    assert ask(server, "")[0] == 401, "without its last key it is closed, not open"
    assert keys(home, "ls", "--json").stdout.strip() == '{\n  "keys": []\n}', "its own machine administers it still"


def test_the_first_key_closes_a_server_on_loopback_but_not_to_its_operator(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug")
    assert ask(server, "sk-dummy")[0] == 200
    secret = made(server.home, "ann", "--model", "d")
    assert ask(server, "sk-dummy")[0] == 401
    assert ask(server, secret)[0] == 200
    found = keys(server.home, "ls", "--json", TRUNKCALL_API_KEY=secret)
    assert [key["entry"]["name"] for key in json.loads(found.stdout)["keys"]] == ["ann"]
    own = server.home / "operator.key"
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    assert own.read_text() not in server.output
    server.stop()
    assert not own.exists()


def test_keys_are_changed_while_the_server_runs(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug", "--model", "e=debug")
    root = bearer(made(server.home, "root", "--role", "admin"))
    status, _, new = server.post("/admin/keys", {"name": "ann"}, **root)
    assert status == 201
    secret = new["secret"]
    assert ask(server, secret, "e")[0] == 200
    for changes, expected, word in (
        ({"models": ["d"]}, 403, "may not ask for the model 'e'"),
        ({"disabled": True}, 401, "is disabled"),
        ({"disabled": False}, 403, "may not ask"),
        ({"models": []}, 200, ""),
        ({"requests_per_minute": 0}, 429, "may make no requests"),
        ({"requests_per_minute": None, "expires_at": time.time() - 1}, 401, "expired"),
        (None, 401, "not known"),
    ):
        done = server.request("DELETE" if changes is None else "PATCH", "/admin/keys/ann", changes, root)
        assert done[0] == 200, done
        found, _, body = ask(server, secret, "e")
        assert found == expected, (changes, body)
        assert word in json.dumps(body)
    assert server.request("GET", "/admin/keys/ann", headers=root)[0] == 404
    assert server.post("/admin/keys", {"name": "root"}, **root)[0] == 409
    for wrong in ({"name": "x", "role": "owner"}, {"name": "x", "tokens_per_day": -1}, {"name": "x y"}, {}):
        assert server.post("/admin/keys", wrong, **root)[0] == 400, wrong
    done = keys(server.home, "change", "root", "--tpm", "5k")
    assert "5000 tokens per minute" in done.stdout, done.stderr


def test_refusals_in_the_words_of_each_protocol(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug", "--model", "e=debug", "--listen", "127.0.0.1:0=fastchat_openai")
    secret = made(server.home, "ann", "--model", "d", "--rpm", "2")
    generate = {"inputs": "hi", "parameters": {"max_new_tokens": 5}}

    def tgi(key: str, model: str = "d") -> tuple[int, dict[str, str], Any]:
        return server.post(f"/tgi/{model}/generate", generate, **bearer(key))

    status, _, body = tgi("wrong")
    assert (status, body["error_type"]) == (401, "unauthorized")
    status, _, body = tgi(secret, "e")
    assert (status, body["error_type"]) == (403, "forbidden")
    assert "'e'" in body["error"]
    assert server.request("GET", "/tgi/e/info", headers=bearer(secret))[0] == 403
    assert server.request("POST", "/tgi/e/tokenize", {"inputs": "x"}, bearer(secret))[0] == 403
    assert tgi(secret)[0] == 200
    status, headers, _ = ask(server, secret)
    assert (status, headers["x-ratelimit-remaining-requests"]) == (200, "0")
    status, headers, body = tgi(secret)
    assert (status, body["error_type"]) == (429, "rate_limited")
    assert 0 < int(headers["retry-after"]) <= 61
    status, headers, body = ask(server, secret)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert headers["x-ratelimit-limit-requests"] == "2"
    for path, expected in (("/v1/models/d", 200), ("/v1/models/e", 403), ("/admin/models", 403), ("/health", 200)):
        assert server.request("GET", path, headers=bearer(secret))[0] == expected, path
    listed = json.loads(server.request("GET", "/v1/models", headers=bearer(secret))[2])
    assert [model["id"] for model in listed["data"]] == ["d"]
    change = {"name": "x", "source": "debug"}
    assert server.request("POST", "/admin/models", change, bearer(secret))[0] == 403


def test_a_race_on_a_budget_for_ten(serve: Serve, upstream: str) -> None:
    """Each holds its prompt's estimate and 100 tokens; the upstream uses 10 and 100."""
    server = serve("--no-pocket", "--model", f"m={upstream}")
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    held = len(json.dumps(body)) // 4 + 1 + 100
    budget = 10 * held
    secret = made(server.home, "ann", "--tokens-per-day", str(budget))

    def once(_: int) -> tuple[int, dict[str, str], Any]:
        return server.post("/v1/chat/completions", body, **bearer(secret))

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(once, range(100)))
    passed = sum(status == 200 for status, _, _ in answers)
    refused = [(headers, told) for status, headers, told in answers if status == 429]
    assert len(answers) == passed + len(refused)
    assert 1 <= passed <= budget // (PROMPT + 100)
    assert all(told["error"]["code"] == "insufficient_quota" and "retry-after" in head for head, told in refused)
    used = shown(server.home, "ann")["tokens_today"]
    assert used == passed * (PROMPT + 100) <= budget
    while server.post("/v1/chat/completions", body, **bearer(secret))[0] == 200:
        used += PROMPT + 100
    assert budget - held < used <= budget, "it can be used up"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_budgets_go_on_after_a_kill(serve: Serve, upstream: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(
        f"pocket: false\nmodels:\n  m: {{source: '{upstream}', price: {{prompt: 1, completion: 10}}}}\n"
    )
    secret = made(home, "ann", "--tokens-per-day", "500", "--money-per-month", "1")
    server = serve("--config", str(settings), home=home)
    assert ask(server, secret, "m", max_tokens=300)[0] == 200
    operator = bearer((home / "operator.key").read_text())

    def noted() -> bool:
        journal = b"".join(part.read_bytes() for part in (home / "journal").glob("*.jsonl"))
        return b'"close"' in journal or bool(
            json.loads(server.request("GET", "/admin/usage", None, operator)[2])["rows"]
        )

    eventually(noted)
    server.stop(signal.SIGKILL)
    assert shown(home, "ann")["tokens_today"] == 310, "without a server the ledger tells"
    server = serve("--config", str(settings), home=home)
    view = shown(home, "ann")
    assert (view["tokens_today"], view["tokens_this_month"]) == (310, 310)
    assert view["money_this_month"] == pytest.approx((10 + 3000) / 1e6)
    assert ask(server, secret, "m", max_tokens=300)[0] == 429
    assert ask(server, secret, "m", max_tokens=100)[0] == 200


@pytest.mark.slow
def test_a_stream_that_the_client_leaves_costs_what_came(serve: Serve, upstream: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    server = serve("--no-pocket", "--model", f"m={upstream}")
    secret = made(server.home, "ann", "--tokens-per-day", "10000")
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=50)
    body = {"model": "m", "stream": True, "max_tokens": 9000, "messages": [{"role": "user", "content": "hi"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), bearer(secret))
    answer = connection.getresponse()
    read = sum(answer.readline().startswith(b"data: ") for _ in range(60))
    assert ask(server, secret, "m", max_tokens=5000)[0] == 429, "while it runs, all that it may use is held"
    answer.close()
    connection.close()
    used = eventually(lambda: shown(server.home, "ann")["tokens_today"])
    assert read <= used < 9000
    assert ask(server, secret, "m", max_tokens=5000)[0] == 200


def test_a_browser_that_came_by_a_strange_name(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug", env={"TRUNKCALL_HOSTS": "chat.lan"})
    evil = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    status, _, body = server.request("GET", "/v1/models", headers=evil)
    assert status == 403
    assert "hosts" in json.loads(body)["error"]["message"]
    assert server.request("GET", "/admin/models", headers={**evil, "host": "chat.lan"})[0] == 200
    assert server.request("GET", "/v1/models", headers={"host": "evil.example:8000"})[0] == 200


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("arguments", [("ls",), ("rm", "ann"), ("change", "ann", "--rpm", "5"), ("disable", "ann")])
def test_without_a_server_the_store_is_changed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    made(home, "ann", "--tpm", "10k", "--money-per-month", "2.5", "--expires", "30d")
    done = keys(home, *arguments)
    assert done.returncode == 0, done.stderr
    assert "ann" in done.stdout
    if arguments[0] == "rm":
        assert keys(home, "show", "ann").returncode == 1
        return
    view = shown(home, "ann")
    assert view["entry"]["tokens_per_minute"] == 10_000
    assert view["entry"]["requests_per_minute"] == (5 if arguments[0] == "change" else None)
    assert view["disabled"] == (arguments[0] == "disable")
    assert 29 * 86400 < view["entry"]["expires_at"] - time.time() < 31 * 86400


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_store_that_the_settings_do_not_name(tmp_path: Path) -> None:
    home, store = tmp_path / "home", ("--store", f"sqlite:///{tmp_path}/elsewhere.db")
    made(home, "ann", "--rpm", "1500", "--tokens-per-day", "2m", "--expires", "2100-01-02", *store)
    assert "no key" in keys(home, "ls").stdout
    line = keys(home, "ls", *store).stdout.splitlines()[1]
    assert "1500 rpm, 2m tokens/day, until 2100-01-02" in line
    assert keys(home, "rm", "ann", *store).returncode == 0


def test_old_protocols_show_a_key_its_models_only(serve: Serve) -> None:
    kuwa, controller, openai = reserved_port(), reserved_port(), reserved_port()
    server = serve(
        "--no-pocket", "--model", "d=debug", "--model", "e=debug", "--listen", f"127.0.0.1:{kuwa}=kuwa_kernel",
        "--listen", f"127.0.0.1:{controller}=fastchat_controller", "--listen", f"127.0.0.1:{openai}=fastchat_openai",
    )  # fmt: skip
    secret = made(server.home, "ann", "--model", "d")

    def call(port: int, method: str, path: str, body: Any = None, **headers: str) -> Any:
        server.url = f"http://127.0.0.1:{port}"
        status, _, data = server.request(method, path, body, {**bearer(secret), **headers})
        assert status in (200, 403), data
        return json.loads(data.rstrip(b"\0")) if data[:1] in b"[{" else data.decode()

    assert call(kuwa, "GET", "/v1.0/worker/list") == ["d"]
    assert list(call(kuwa, "GET", "/v1.0/worker/read")) == ["d"]
    form = {"content-type": "application/x-www-form-urlencoded"}
    for name, word in (("d", "READY"), ("e", "NOMACHINE")):
        assert call(kuwa, "POST", "/v1.0/worker/schedule", f"name={name}&history_id=1".encode(), **form) == word
    register = b"name=d&endpoint=http://127.0.0.1:9/chat"
    assert call(kuwa, "POST", "/v1.0/worker/register", register, **form) == "Failed", "a user's key registers nobody"
    assert call(controller, "POST", "/list_models") == {"models": ["d"]}
    assert call(controller, "POST", "/get_worker_address", {"model": "e"}) == {"address": ""}
    assert call(controller, "POST", "/worker_get_status")["model_names"] == ["d"]
    told = call(controller, "POST", "/worker_generate_stream", {"model": "e", "prompt": "hi"})
    assert "may not ask for the model 'e'" in told["text"]
    assert [card["id"] for card in call(openai, "GET", "/v1/models")["data"]] == ["d"]
    asked = {"model": "e", "messages": [{"role": "user", "content": "hi"}]}
    assert "may not ask" in json.dumps(call(openai, "POST", "/v1/chat/completions", asked))
    check = {"prompts": [{"model": "e", "prompt": "hi", "max_tokens": 5}]}
    assert "may not ask" in json.dumps(call(openai, "POST", "/api/v1/token_check", check))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_start_waits_for_the_store_and_then_says_why_not(tmp_path: Path) -> None:
    env = {"TRUNKCALL_STORE": "postgresql://nobody@127.0.0.1:1/none"}
    server = Server("--no-pocket", "--model", "d=debug", home=tmp_path / "home", env=env)
    try:
        eventually(lambda: "waiting up to 30 s" in server.output, limit=60)
        eventually(lambda: server.process.poll() is not None, limit=120, pause=0.2)
        assert "does not start without it" in server.output
    finally:
        server.stop()
