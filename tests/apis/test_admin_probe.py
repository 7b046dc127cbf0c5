"""Probing addresses and estimating models, against real servers of each kind and against what is none."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_server import running_hub
from running import Server, reserved_port

import trunkcall
from trunkcall.pocket import gguf_path


class Stranger(BaseHTTPRequestHandler):
    """Answers everything with what the server object says, and notes what was asked."""

    protocol_version = "HTTP/1.1"
    server: Strange

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("authorization", "")))
        status, headers, body = self.server.says
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(self.server.claims or len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        self.do_GET()


class Strange(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Stranger)
        self.says: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.claims = 0
        self.asked: list[tuple[str, str]] = []
        self.address = f"127.0.0.1:{self.server_port}"


@pytest.fixture
def strange() -> Iterator[Callable[[], Strange]]:
    started: list[tuple[Strange, threading.Thread]] = []

    def start() -> Strange:
        server = Strange()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def free_ports(count: int) -> list[int]:
    return [reserved_port() for _ in range(count)]


def probed(server: Server, url: str, key: str = "") -> Any:
    status, _, found = server.post("/admin/probe", {"url": url, "key": key})
    assert status == 200, found
    return found


def refused(server: Server, path: str, body: Any) -> tuple[str, str]:
    status, _, told = server.post(path, body)
    assert status == 400, told
    return told["error"]["param"], told["error"]["message"]


@pytest.mark.timeout(180)
def test_each_kind_of_server_is_recognised_and_what_it_offers_can_be_added(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    tgi, controller, worker, kernel, executor = free_ports(5)
    file = tmp_path / "trunkcall.yaml"
    listen = [
        "127.0.0.1:0",
        {"port": tgi, "apis": ["tgi"], "options": {"tgi": {"model": "echo"}}},
        {"port": controller, "apis": ["fastchat_controller"]},
        {"port": worker, "apis": ["fastchat_worker"]},
        {"port": kernel, "apis": ["kuwa_kernel"]},
        {"port": executor, "apis": ["kuwa_executor"], "options": {"kuwa_executor": {"path": "/own/chat"}}},
    ]
    file.write_text(json.dumps({"listen": listen, "models": {"echo": "debug"}, "pocket": False}))
    peer = serve("--config", str(file))
    server = serve("--no-pocket")
    main = peer.url.removeprefix("http://")
    for pasted, kinds, source in (
        (main, ["Trunkcall"], f"openai:{peer.url}/v1#echo"),
        (f"{peer.url}/v1/", ["Trunkcall"], f"openai:{peer.url}/v1#echo"),
        (f"{peer.url}/v1/chat/completions", ["Trunkcall"], f"openai:{peer.url}/v1#echo"),
        (f"localhost:{tgi}", ["TGI", "OpenAI API"], f"tgi:http://localhost:{tgi}"),
        (f"127.0.0.1:{tgi}/info", ["TGI", "OpenAI API"], f"tgi:http://127.0.0.1:{tgi}"),
        (f"127.0.0.1:{controller}", ["FastChat controller"], f"fastchat:http://127.0.0.1:{controller}#echo"),
        (f"127.0.0.1:{worker}", ["FastChat worker"], f"fastchat:http://127.0.0.1:{worker}#echo"),
        (f"http://127.0.0.1:{kernel}/", ["Kuwa kernel"], f"kuwa:http://127.0.0.1:{kernel}#echo"),
        (f"http://127.0.0.1:{executor}/own/chat", ["Kuwa executor"], f"kuwa:http://127.0.0.1:{executor}/own/chat"),
    ):
        found = probed(server, pasted)
        assert [one["kind"] for one in found["found"]] == kinds, (pasted, found)
        # An executor does not tell what it has.
        assert found["found"][0]["models"][0] == {"name": "" if "executor" in kinds[0] else "echo", "source": source}
        assert found["remedy"] == "" and all(one["why"] for one in found["tried"])
        name = f"m{len(server.get('/admin/models')['models'])}"
        assert server.post("/admin/models", {"name": name, "source": source})[0] == 201
        assert server.chat(name, "hello")[2]["choices"][0]["message"]["content"] == "hello", source


@pytest.mark.timeout(180)
def test_who_wants_a_key_says_so_and_a_reference_opens(serve: Callable[..., Server], tmp_path: Path) -> None:
    closed = serve("--no-pocket", "--model", "echo=debug", env={"TRUNKCALL_KEYS": "env:BOSS", "BOSS": "sk-its-key"})
    (tmp_path / "key").write_text("sk-its-key\n")
    server = serve("--no-pocket", env={"UPSTREAM": "sk-its-key", "WRONG": "sk-wrong"})
    found = probed(server, closed.url)
    assert found["found"] == [] and "env:NAME" in found["remedy"]
    assert {one["kind"]: one["why"] for one in found["tried"]}["OpenAI API"] == (
        "/models answered 401: give its key as env:NAME or file:PATH"
    )
    assert "does not accept this key" in probed(server, closed.url, "env:WRONG")["remedy"]
    for key in ("env:UPSTREAM", f"file:{tmp_path}/key"):
        (only,) = probed(server, closed.url, key)["found"]
        assert only["models"][0]["source"] == f"openai:{closed.url}/v1#echo" and "`key`" in only["note"]
    for key, says in (
        ("sk-literal-secret", "env:NAME or file:PATH"),
        ("env:NOT_THERE", "not set in the environment"),
        (f"file:{tmp_path}/none", "cannot be read"),
    ):
        param, message = refused(server, "/admin/probe", {"url": closed.url, "key": key})
        assert param == "key" and says in message
    assert "sk-" not in server.output


@pytest.mark.slow
def test_who_is_silent_is_given_up_after_five_seconds(serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = probed(server, f"127.0.0.1:{silent.getsockname()[1]}")
    assert found["found"] == [] and "no answer within 5 s" in found["remedy"]


def test_what_is_nothing_known_is_told_with_a_remedy(
    serve: Callable[..., Server], strange: Callable[[], Strange]
) -> None:
    server = serve("--no-pocket")
    page, elsewhere, flood, odd, locked = strange(), strange(), strange(), strange(), strange()
    page.says = (200, {"content-type": "text/html"}, b"<!doctype html><title>gradio</title>")
    target = strange()
    elsewhere.says = (307, {"location": f"http://{target.address}/v1/models"}, b"")
    flood.says = (200, {"content-type": "application/json"}, b'{"data":[' + b" " * (8 << 20))
    flood.claims = 1 << 40
    odd.says = (200, {"content-type": "application/json"}, b"[" * 5000)
    locked.says = (401, {"content-type": "text/plain"}, b"who are you?")
    (nobody,) = free_ports(1)
    for address, says, remedy in (
        (page.address, "a page for people", "none of the kinds"),
        (elsewhere.address, "307", "redirections are not followed"),
        (flood.address, "larger than", "none of the kinds"),
        (odd.address, "no list of models", "none of the kinds"),
        (locked.address, "give its key as env:NAME", "It wants a key"),
        (f"127.0.0.1:{nobody}", "refuses connections", "refuses connections"),
    ):
        found = probed(server, address)
        assert found["found"] == [], address
        told = {one["kind"]: one["why"] for one in found["tried"]}
        assert list(told) == ["TGI", "FastChat", "Kuwa kernel", "Kuwa executor", "OpenAI API"]
        assert says in told["OpenAI API"], address
        assert remedy in found["remedy"], address
        assert all(len(why) <= 300 for why in told.values())
    assert all("give its key" in one["why"] for one in probed(server, locked.address)["tried"])
    assert target.asked == []
    assert all(not key for _, key in page.asked), "no key goes where none was given"
    assert server.get("/admin/models") == {"models": []}
    assert "Traceback" not in server.output


def test_what_cannot_be_asked_is_refused_with_the_field(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--no-pocket")
    for path, body, param, words in (
        ("/admin/probe", {}, "url", "lacks the field url"),
        ("/admin/probe", {"url": ""}, "url", "http://HOST:PORT"),
        ("/admin/probe", {"url": "file:///etc/passwd"}, "url", "http://HOST:PORT"),
        ("/admin/probe", {"url": "http://u:p@h"}, "url", "leave out the user"),
        ("/admin/probe", {"url": "h", "kye": ""}, "kye", "Did you mean 'key'?"),
        ("/admin/estimate", {}, "source", "lacks the field source"),
        ("/admin/estimate", {"source": ""}, "source", "empty"),
        ("/admin/estimate", {"source": "opnai:http://h"}, "source", "Did you mean 'openai'?"),
        ("/admin/estimate", {"source": str(tmp_path / "none.gguf")}, None, "does not exist"),
        ("/admin/estimate", {"source": "pocket", "settings": {"slosts": 1}}, "slosts", "Did you mean 'slots'?"),
        ("/admin/estimate", {"source": "pocket", "settings": {"options": {"contxt": 1}}}, "contxt", "Did you mean 'context'?"),
        ("/admin/estimate", {"source": "pocket", "settings": {"source": "debug"}}, "settings", "stands beside"),
        ("/admin/estimate", {"source": "openai:nothing"}, None, "not the URL of a server"),
    ):  # fmt: skip
        found, message = refused(server, path, body)
        assert (found, words in message) == (param, True), (body, found, message)


@pytest.mark.timeout(180)
def test_what_a_model_costs_is_what_its_replica_is_expected_to_take(serve: Callable[..., Server]) -> None:
    server = serve("--model", "echo=debug")
    replica = server.get("/admin/models/pocket")["replicas"][0]
    assert (replica["state"], replica["engine"]) == ("off", "llamacpp")
    with trunkcall.Client(server.url) as client:
        before = client.admin.estimate("pocket")
        assert before["memory"] == replica["memory"] > 10**8, "told before it is loaded"
        assert (before["engine"], before["gpus"], before["fits"], before["download"]) == ("llamacpp", 0, True, 0)
        assert client.admin.estimate("pocket", replicas=2)["memory"] == 2 * replica["memory"]
        small = client.admin.estimate("pocket", options={"context": 64, "slots": 1})
        assert 0 < small["memory"] < before["memory"]
        server.chat("pocket", "Who are you?")
        assert client.admin.estimate("pocket")["rss_free"] == before["rss_free"] - replica["memory"]
        away = client.admin.estimate("openai:http://127.0.0.1:1/v1#m")
        assert (away["engine"], away["why"], away["memory"], away["fits"]) == ("", "runs elsewhere", 0, True)
        assert client.admin.probe(server.url)["found"][0]["kind"] == "Trunkcall"
        assert [one["name"] for one in client.admin.models()["models"]] == ["echo", "pocket"], "nothing was added"


def test_a_server_with_little_memory_says_what_does_not_fit(serve: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "trunkcall.yaml"
    file.write_text("memory: 100MB\npocket: false\n")
    server = serve("--config", str(file))
    found = server.post("/admin/estimate", {"source": "pocket"})[2]
    assert (found["fits"], found["rss_free"]) == (False, 100_000_000)
    memory = server.get("/admin/machine")["memory"]
    huge = {"options": {"slots": 10_000_000}}
    found = server.post("/admin/estimate", {"source": "pocket", "settings": huge})[2]
    assert found["fits"] is False and found["memory"] > memory, "told, though such a model is refused"
    assert "this machine has" in found["note"] and "force: true" in found["note"]
    assert server.post("/admin/models", {"name": "huge", "source": "pocket", **huge})[0] == 400


def test_a_model_of_the_hub_is_weighed_and_not_fetched(serve: Callable[..., Server], tmp_path: Path) -> None:
    weights = gguf_path().read_bytes()
    with running_hub() as hub:
        hub.files["org/pocket-GGUF"] = {"pocket-Q8_0.gguf": weights, "README.md": b"x" * 99}
        server = serve("--no-pocket", env=hub.environ(tmp_path / "hf"))
        found = server.post("/admin/estimate", {"source": "hf:org/pocket-GGUF"})[2]
        assert (found["engine"], found["download"], found["memory"]) == ("llamacpp", len(weights), len(weights))
        assert found["fits"] is None and "once it is fetched" in found["note"]
        assert [asked for asked in hub.asked if asked[0] == "GET" and "resolve" in asked[1]] == [], "only listed"
        none = server.post("/admin/estimate", {"source": "hf:org/none-GGUF"})[2]
        assert none["download"] is None and "has no model org/none-GGUF" in none["note"]
    away = server.post("/admin/estimate", {"source": "hf:org/pocket-GGUF"})[2]
    assert away["download"] is None and "cannot be reached" in away["note"]
    assert not list((tmp_path / "hf").rglob("*.gguf"))
