"""Settings that are read again: what they change, by table; and on a server whose streams go on meanwhile."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import trustme
from running import Server, eventually

from trunkcall import reload
from trunkcall.config import Listener, Settings
from trunkcall.core.models import ModelSettings, Source

Serve = Callable[..., Server]


def model(name: str, source: str = "debug", **more: Any) -> ModelSettings:
    return ModelSettings(name=name, sources=(Source(source),), **more)


def settings(*models: ModelSettings, **more: Any) -> Settings:
    return Settings(models={found.name: found for found in models}, **more)


A, B = model("a"), model("b")


@pytest.mark.parametrize(
    ("now", "read", "live", "restart", "removed", "changed", "added"),
    [
        (settings(A), settings(A), (), (), (), (), ()),
        (settings(A), settings(B), (), (), ("a",), (), (B,)),
        (settings(A, B), settings(B, A), (), (), (), (), ()),
        (settings(A), settings(model("a", "dummy")), (), (), (), (model("a", "dummy"),), ()),
        (settings(A), settings(model("a", slots=3)), (), (), (), (model("a", slots=3),), ()),
        (settings(pocket=True), settings(pocket=False), (), (), (), (), ()),
        (settings(), settings(log_level="debug", cors=("*",)), ("log_level", "cors"), (), (), (), ()),
        (settings(), settings(keys=("env:A",), access_log=True), ("keys", "access_log"), (), (), (), ()),
        (settings(), settings(listen=(Listener(port=1),), store="postgresql://h/x", queue=3), ("queue",), ("listen", "store"), (), (), ()),
        (
            settings(model("a", aliases=("x", "y")), model("b", aliases=("z",))),
            settings(model("a", aliases=("z", "y")), model("b", aliases=("x",))),
            (), (), (),
            (
                model("a", aliases=("y",)), model("b", aliases=()),
                model("a", aliases=("z", "y")), model("b", aliases=("x",)),
            ),
            (),
        ),
        (settings(model("a", aliases=("x",))), settings(A, model("x")), (), (), (), (A,), (model("x"),)),
    ],
)  # fmt: skip
def test_what_changes(
    now: Settings, read: Settings, live: Any, restart: Any, removed: Any, changed: Any, added: Any
) -> None:
    plan = reload.plan(now, read)
    assert (plan.live, plan.restart, plan.removed, plan.changed, plan.added) == (live, restart, removed, changed, added)
    assert plan.settings == msgspec.structs.replace(read, **{name: getattr(now, name) for name in restart})
    after = msgspec.structs.replace(plan.settings, models=read.models)
    assert reload.plan(after, read).restart == restart, "it is told until it has been restarted"


def test_what_waits_for_a_restart_is_a_setting() -> None:
    assert reload.FIXED.issubset(Settings.__struct_fields__)


# On a server


class Setup:
    """A server, its file, and both ways to have it read again."""

    def __init__(self, serve: Serve, file: Path, text: str, *flags: str, **environ: str) -> None:
        self.file = file
        self.write(text)
        self.server = serve("--config", str(file), "--no-pocket", *flags, env=environ)

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def reload(self, text: str, **headers: str) -> tuple[int, Any]:
        self.write(text)
        status, _, answer = self.server.post("/admin/reload", {}, **headers)
        return status, answer

    def models(self) -> list[str]:
        return sorted(found["id"] for found in self.server.get("/v1/models")["data"])


@pytest.fixture
def setup(serve: Serve, tmp_path: Path) -> Callable[..., Setup]:
    return lambda text, *flags, **environ: Setup(serve, tmp_path / "t.yaml", text, *flags, **environ)


def test_a_file_that_is_not_what_is_in_force_is_told(setup: Callable[..., Setup]) -> None:
    found = setup("models: {a: debug}")

    def told() -> tuple[bool, bool]:
        settings = found.server.get("/admin/settings")
        return settings["reloads"], settings["changed"]

    assert told() == (True, False)
    assert found.reload("models: {a: nonsense}")[0] == 400
    assert told() == (True, True)
    assert found.reload("models: {a: debug, b: debug}")[0] == 200
    assert told() == (True, False)
    found.file.unlink()
    assert told() == (True, True)


class Stream:
    """A streaming answer, read in a thread."""

    def __init__(self, server: Server, model: str, words: int) -> None:
        split = urlsplit(server.url)
        self.words = words
        self.received = b""
        self.connection = socket.create_connection((split.hostname, split.port), timeout=50)
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": " ".join(["word"] * words)}]}
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\nConnection: close\r\n"
        self.connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)
        self.began = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self.began.wait(30)

    def _read(self) -> None:
        while data := self.connection.recv(65536):
            self.received += data
            self.began.set()
        self.connection.close()

    def whole(self) -> bool:
        self._thread.join(100)
        return self.received.count(b"word") == self.words and b"[DONE]" in self.received


def test_models_come_change_and_go(setup: Callable[..., Setup]) -> None:
    found = setup("models: {a: debug, b: {source: debug, aliases: x}, c: debug}")
    server = found.server
    assert server.post("/admin/models", {"name": "added", "source": "debug"})[0] == 201
    status, answer = found.reload("models: {b: {source: 'dummy', aliases: y}, c: debug, x: debug, d: debug}")
    assert status == 200, answer
    assert sorted(answer["changed"]) == ["models.a", "models.b", "models.d", "models.x"]
    assert answer["restart"] == []
    assert found.models() == sorted(["b", "y", "c", "x", "d", "added"])
    assert server.chat("a", "hi")[0] == 404
    assert server.chat("x", "hello you")[2]["choices"][0]["message"]["content"] == "hello you"
    assert server.chat("y", "hello you")[2]["choices"][0]["message"]["content"] != "hello you"
    assert found.reload(found.file.read_text()) == (200, {"changed": [], "restart": []})
    assert server.request("DELETE", "/admin/models/added")[0] == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modles: {}", "t.yaml:2: modles: unknown setting"),
        ("models: [", "t.yaml:"),
        ("models: {a: 'nowhere:x', b: debug}", "has no scheme that is known here"),
        ("models: {a: ./gone.gguf, b: debug}", "gone.gguf"),
        ("models: {a: 'debug:soon', b: debug}", "debug:0.05"),
        ("models: {a: dummy}\nkeys: [env:NOT_SET_ANYWHERE]", "NOT_SET_ANYWHERE"),
        ("models: {a: {source: dummy, fallback: gone}}", "there is no model 'gone'"),
    ],
)
def test_an_invalid_file_changes_nothing_and_says_why(setup: Callable[..., Setup], text: str, words: str) -> None:
    found = setup("models: {a: debug}")
    status, answer = found.reload(f"max_body: 100\n{text}")
    assert status == 400
    assert words in answer["error"]["message"]
    assert found.models() == ["a"]
    status, _, answer = found.server.chat("a", "hello " * 50)
    assert (status, answer["choices"][0]["message"]["content"].split()[0]) == (200, "hello")
    found.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "the settings stay as they are" in found.server.output)
    assert words in found.server.output


def test_settings_that_take_effect_at_once(setup: Callable[..., Setup]) -> None:
    found = setup("models: {a: debug}", MY_KEY="s3cret")
    server = found.server
    page = {"origin": "http://my.page"}
    assert server.chat("a", "hello " * 50)[0] == 200
    status, answer = found.reload(
        "models: {a: debug}\nmax_body: 200\ncors: ['http://my.page']\nlog_level: debug\njson_logs: true\naccess_log: true\n"
        "keys: [env:MY_KEY]\nstall_timeout: 5\nqueue: 3\nretention: 1d\nmemory: 1GiB\nlisten: [9, 10]\nstore: sqlite:////x\n"
    )
    assert (status, answer["restart"]) == (200, ["listen", "store"])
    assert {"max_body", "cors", "log_level", "json_logs", "access_log", "keys", "memory"} <= set(answer["changed"])
    assert server.chat("a", "hi")[0] == 401
    key = {"authorization": "Bearer s3cret"}
    body = {"model": "a", "messages": [{"role": "user", "content": "hello " * 50}]}
    assert server.post("/v1/chat/completions", body, **key)[0] == 413
    headers = server.request("GET", "/v1/models", headers={**page, **key})[1]
    assert headers["access-control-allow-origin"] == "http://my.page"
    (line,) = eventually(lambda: [line for line in server.lines if '"/v1/models"' in line])
    told = json.loads(line)
    assert (told["logger"], told["status"], told["key"]) == ("trunkcall.access", 200, "env:MY_KEY")
    assert "s3cret" not in server.output
    status, answer = found.reload("models: {a: debug}", **key)
    assert (status, answer["restart"]) == (200, [])
    assert server.chat("a", "hello " * 50)[0] == 200


def test_flags_and_environment_still_win(setup: Callable[..., Setup]) -> None:
    found = setup("models: {a: debug}", "--model", "m=debug", TRUNKCALL_QUEUE="7")
    assert found.reload("models: {m: dummy, b: debug}\nqueue: 9")[1]["changed"] == ["models.a", "models.b"]
    assert found.server.chat("m", "one two")[2]["choices"][0]["message"]["content"] == "one two"


def test_a_model_that_is_removed_finishes_its_streams(setup: Callable[..., Setup]) -> None:
    found = setup("models: {slow: 'debug:0.05', a: debug}")
    stream = Stream(found.server, "slow", 40)
    assert found.reload("models: {a: debug}")[1]["changed"] == ["models.slow"]
    assert found.server.chat("slow", "hi")[0] == 404
    found.write("models: {a: debug, slow: dummy}")
    found.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: found.server.chat("slow", "hi")[0] == 200)
    assert stream.whole()
    assert found.server.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_twenty_reloads_under_load(setup: Callable[..., Setup]) -> None:
    found = setup("models: {slow: 'debug:0.05', quick: debug}")
    server = found.server
    streams = [Stream(server, "slow", 100) for _ in range(20)]
    asked, stop = [0], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, _, answer = server.chat("quick", "one two")
            assert status == 200, answer
            asked[0] += 1

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for number in range(20):
                slots = f"{{source: 'debug:0.05', slots: {100 + number}}}"
                other = f"{{source: debug, aliases: alias{number}}}"
                status, answer = found.reload(f"models: {{slow: {slots}, quick: debug, other{number % 2}: {other}}}")
                assert status == 200, answer
                assert f"models.other{number % 2}" in answer["changed"]
                assert server.chat(f"alias{number}", "one two")[0] == 200
        finally:
            stop.set()
        for one in asking:
            one.result(60)
    assert asked[0] > 20
    assert all(stream.whole() for stream in streams)
    assert "Traceback" not in server.output


def presented(port: int) -> bytes:
    """The certificate that a listener shows to who trusts anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain, context.wrap_socket(plain) as connection:
        return connection.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_shown_to_new_connections(
    setup: Callable[..., Setup], tmp_path: Path, free_port: int
) -> None:
    text = f"models: {{a: debug}}\nlisten: [1, {{port: {free_port}, apis: [landing], certificate: c.pem, private_key: k.pem}}]"
    first, second = (trustme.CA().issue_cert("localhost") for _ in range(2))

    def put(certificate: trustme.LeafCert, key: trustme.LeafCert) -> None:
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
        key.private_key_pem.write_to_path(tmp_path / "k.pem")

    put(first, first)
    found = setup(text)
    before = presented(free_port)
    put(second, first)
    status, answer = found.reload(text)
    assert status == 400
    assert "no pair" in answer["error"]["message"]
    assert presented(free_port) == before
    put(second, second)
    assert found.reload(text)[0] == 200
    assert presented(free_port) not in (before, b"")


def test_administration_leaves_nothing_that_the_next_start_refuses(setup: Callable[..., Setup]) -> None:
    found = setup("models: {a: {source: debug, aliases: x}}")
    server = found.server
    for entry, param in (
        ({"name": "b", "source": "debug", "fallback": "gone"}, "fallback"),
        ({"name": "b", "source": "debug", "fallback": "b"}, "fallback"),
        ({"name": "b", "source": "debug", "aliases": "x"}, "aliases"),
    ):
        status, _, answer = server.post("/admin/models", entry)
        assert (status, answer["error"]["param"]) == (400, param), answer
    assert server.post("/admin/models", {"name": "b", "source": "debug"})[0] == 201
    text = "models: {a: {source: debug, fallback: b}}"
    assert found.reload(text)[1]["changed"] == ["models.a"]
    status, _, data = server.request("DELETE", "/admin/models/b")
    assert (status, b"'a' falls back to 'b'" in data) == (409, True)
    assert found.reload(text) == (200, {"changed": [], "restart": []})
    assert found.reload("models: {a: debug}")[0] == 200
    assert server.request("DELETE", "/admin/models/b")[0] == 200


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_command_ends_with_the_reason(setup: Callable[..., Setup]) -> None:
    found = setup("models: {a: debug}")

    def reload_by_command() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trunkcall", "reload", "--home", str(found.server.home)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    found.write("models: {a: debug, b: debug}\nlisten: [1, 2]")
    done = reload_by_command()
    assert (done.returncode, done.stderr) == (0, "")
    assert "models.b" in done.stdout and "listen" in done.stdout
    found.write("modles: {}")
    done = reload_by_command()
    assert done.returncode != 0
    assert "t.yaml:1: modles: unknown setting. Did you mean 'models'?" in done.stderr
    assert found.models() == ["a", "b"]
