"""Administration over HTTP, against a real server: each operation of its description, and what it refuses."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jsonschema
import pytest
from apis.admin_rules import check_document
from chatty import chatty
from running import Server, eventually


class Caller:
    """Calls a server's administration and notes which of the described operations it has called."""

    def __init__(self, server: Server) -> None:
        self.server = server
        status, _, data = server.request("GET", "/admin/openapi.json")
        assert status == 200
        self.document = json.loads(data)
        self.called = {"openapi"}
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "(.+)", re.escape(path))), path) for path in self.document["paths"]
        ]
        # The longest first, as `/admin/models/{name}` fits them all.
        self._paths.sort(key=lambda one: -len(one[1]))

    def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The answer's JSON, which is as the description says for this status."""
        found, _, data = self.server.request(method, path, body)
        assert found == status, (method, path, data)
        answer = json.loads(data)
        told = self.described(method, path)
        self.called.add(told["operationId"])
        assert str(status) in told["responses"], f"{method} {path} does not describe {status}"
        schema = told["responses"][str(status)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, {**schema, "components": self.document["components"]})
        return answer

    def described(self, method: str, path: str) -> Any:
        path = path.partition("?")[0]
        for pattern, template in self._paths:
            if pattern.fullmatch(path) and method.lower() in self.document["paths"][template]:
                return self.document["paths"][template][method.lower()]
        raise AssertionError(f"{method} {path} is not described")

    def refused(self, method: str, path: str, body: Any = None, *, status: int = 400, param: Any = None) -> str:
        error = self(method, path, body, status=status)["error"]
        assert error["param"] == param, error
        return error["message"]


@contextmanager
def events(server: Server, path: str) -> Iterator[Callable[[str], Any]]:
    """A stream of server-sent events: gives a way to wait for the next of a kind."""
    split = urlsplit(server.url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert (answer.getheader("content-type") or "").startswith("text/event-stream")
        assert answer.readline() == b": live\n"

        def following(kind: str) -> Any:
            said = b""
            for line in answer:
                name, _, value = line.strip().partition(b": ")
                if name == b"event":
                    said = value
                elif name == b"data" and said == kind.encode():
                    return json.loads(value)
            raise AssertionError("the stream has ended")

        yield following
    finally:
        connection.close()


@pytest.mark.timeout(300)
def test_each_operation_of_the_description_is_there_and_answers_as_described(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("--model", "echo=debug")
    call = Caller(server)
    check_document(call.document)

    # Models
    added = call(
        "POST", "/admin/models", {"name": "a/b", "source": ["debug", "dummy"], "ttl": "10m", "slots": 2}, status=201
    )
    assert [one["source"] for one in added["replicas"]] == ["debug", "dummy"]
    assert {one["name"] for one in call("GET", "/admin/models")["models"]} == {"echo", "pocket", "a/b"}
    changed = call("PATCH", "/admin/models/a/b", {"settings": {"slots": 3, "ttl": None}})
    assert [one["slots"] for one in changed["replicas"]][:2] == [3, 3]
    assert json.loads((server.home / "models.json").read_text()) == {"a/b": {"source": ["debug", "dummy"], "slots": 3}}
    assert call("GET", f"/admin/models/{quote('a/b', safe='')}")["name"] == "a/b"
    assert call("DELETE", "/admin/models/a/b") == {}
    assert server.chat("pocket", "Who are you?")[0] == 200
    pid = call("GET", "/admin/models/pocket")["replicas"][0]["pid"]
    call("POST", "/admin/models/pocket/restart", {"replica": "pocket/0"})
    eventually(lambda: call("GET", "/admin/models/pocket")["replicas"][0]["pid"] not in (pid, None), 60)
    call("POST", "/admin/models/pocket/drain")
    assert server.chat("pocket", "Who are you?")[0] == 503
    call("POST", "/admin/models/pocket/restart", {})
    assert server.chat("pocket", "Who are you?")[0] == 200
    call("POST", "/admin/models/pocket/drain", {})
    call("POST", "/admin/models/pocket/load", {})
    assert server.chat("pocket", "Who are you?")[0] == 200
    call("POST", "/admin/models/pocket/unload", {})
    assert eventually(lambda: call("GET", "/admin/models/pocket")["replicas"][0]["state"] == "off", 60)

    # Before one is added
    (found,) = call("POST", "/admin/probe", {"url": server.url})["found"]
    assert found["kind"] == "Trunkcall" and found["models"][0]["source"] == f"openai:{server.url}/v1#echo"
    assert call("POST", "/admin/estimate", {"source": "pocket", "settings": {"slots": 1}})["engine"] == "llamacpp"

    # Logs
    logs = call("GET", "/admin/logs/pocket?lines=1")["logs"]
    assert [one["replica"] for one in logs] == ["pocket/0"] and len(logs[0]["lines"]) <= 1
    assert call("GET", "/admin/logs/echo/0") == {"logs": [{"replica": "echo/0", "lines": []}]}
    own = call("GET", "/admin/logs")["logs"]
    assert [one["replica"] for one in own] == [""] and "administration: POST '/admin/estimate'" in own[0]["lines"][-1]
    with events(server, "/admin/logs?follow=true&lines=1") as following:
        assert following("line") == {"replica": "", "line": own[0]["lines"][-1]}
        call("POST", "/admin/models/echo/load", {})
        assert "/admin/models/echo/load" in following("line")["line"]

    # Records
    server.chat("echo", "hello")
    (newest,) = call("GET", "/admin/requests?model=echo&limit=1")["requests"]
    assert (newest["model"], newest["state"], newest["finish"], newest["replica"]) == (
        "echo",
        "ended",
        "stop",
        "echo/0",
    )
    assert newest["why"] and newest["queue_ms"] >= 0 and newest["attempts"] == 1
    assert call("GET", f"/admin/requests/{newest['id']}")["id"] == newest["id"]
    usage = call("GET", "/admin/usage?by=model&since=2026-01-31")
    assert {row["model"] for row in usage["rows"]} == {"echo", "pocket"}

    # The server
    status = call("GET", "/admin/status")
    echo = next(one for one in status["models"] if one["name"] == "echo")
    assert (echo["requests"], echo["running"], echo["failed"]) == (1, 0, 0)
    assert status["pid"] == server.process.pid and status["memory"] > 10**6
    assert call("GET", "/admin/machine")["cores"] >= 1
    assert call("GET", "/admin/settings")["settings"]["models"]["echo"] == {"source": "debug"}
    assert call("POST", "/admin/reload", {}) == {"changed": [], "restart": []}

    # What happens
    with events(server, "/admin/events?kinds=request,model") as following:
        server.chat("echo", "again")
        assert following("request")["model"] == "echo"
    call.called.add(call.described("GET", "/admin/events")["operationId"])

    # Keys, last: from now on one is needed.
    made = call("POST", "/admin/keys", {"name": "ops", "role": "admin"}, status=201)
    assert made["key"]["entry"]["name"] == "ops" and made["secret"]
    call.server = WithKey(server, made["secret"])
    assert [one["entry"]["name"] for one in call("GET", "/admin/keys")["keys"]] == ["ops"]
    call("POST", "/admin/keys", {"name": "app", "requests_per_minute": 5, "models": ["echo"]}, status=201)
    assert call("GET", "/admin/keys/app")["entry"]["requests_per_minute"] == 5
    limited = call("PATCH", "/admin/keys/app", {"requests_per_minute": None, "tokens_per_day": 9, "disabled": True})
    assert (limited["disabled"], limited["entry"]["requests_per_minute"], limited["entry"]["tokens_per_day"]) == (
        True,
        None,
        9,
    )
    assert call("PATCH", "/admin/keys/app", {"role": "user"})["disabled"] is True, "what is left out stays"
    assert call("DELETE", "/admin/keys/app") == {}
    call.refused("GET", "/admin/keys/app", status=404, param="name")

    described = {one["operationId"] for path in call.document["paths"].values() for one in path.values()}
    assert call.called == described, "each operation is called here"
    page = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
    for path, operations in call.document["paths"].items():
        for method in operations:
            assert f"| `{method.upper()} {path}` |" in page, "each operation stands in docs/admin.md"


class WithKey:
    """A server as a holder of a key calls it."""

    def __init__(self, server: Server, secret: str) -> None:
        self._server = server
        self._headers = {"authorization": f"Bearer {secret}"}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        return self._server.request(method, path, body, self._headers)


def test_bad_input_is_told_with_the_field_at_fault(serve: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "trunkcall.yaml"
    file.write_text("models: {filed: debug}\npocket: false\n")
    server = serve("--config", str(file))
    call = Caller(server)
    for method, path, body, status, param, words in (
        ("POST", "/admin/models", b"", 400, "source", "lacks the field source"),
        ("POST", "/admin/models", b"[", 400, None, "expected `object`"),
        ("POST", "/admin/models", b"{", 400, None, "no JSON"),
        ("POST", "/admin/models", b'{"name": "\xff"}', 400, None, "no JSON"),
        ("POST", "/admin/models", b'{"name":"x","source":"debug","options":' + b'{"a":' * 50_000, 400, None, "no JSON"),
        ("POST", "/admin/models", {"name": "x"}, 400, "source", "lacks the field source"),
        ("POST", "/admin/models", {"name": 1, "source": "debug"}, 400, "name", "expected `str`"),
        ("POST", "/admin/models", {"name": "x", "source": "debug", "slosts": 1}, 400, "slosts", "Did you mean 'slots'?"),
        ("POST", "/admin/models", {"name": "x", "source": "debug", "slots": 0}, 400, "slots", ">= 1"),
        ("POST", "/admin/models", {"name": "x", "source": "debug", "replicas": 10**12}, 400, "replicas", "<= 10000"),
        ("POST", "/admin/models", {"name": "x", "source": ["debug"] * 9, "replicas": 9999}, 400, "replicas", "more than"),
        ("POST", "/admin/models", {"name": "x", "source": "debug", "ttl": "soon"}, 400, "ttl", "10m"),
        ("POST", "/admin/models", {"name": "x", "source": "opnai:http://h"}, 400, "source", "Did you mean 'openai'?"),
        ("POST", "/admin/models", {"name": "x y", "source": "debug"}, 400, "name", "spaces"),
        ("POST", "/admin/models", {"name": "filed", "source": "debug"}, 409, "name", "exists"),
        ("PATCH", "/admin/models/filed", {"settings": {"slots": 2}}, 409, "name", "trunkcall reload"),
        ("PATCH", "/admin/models/filed", {"asleep": "yes"}, 400, "asleep", "expected `bool`"),
        ("PATCH", "/admin/models/nosuch", {}, 404, "model", "does not exist"),
        ("DELETE", "/admin/models/filed", None, 409, "name", "trunkcall reload"),
        ("POST", "/admin/models/nosuch/load", {}, 404, "model", "does not exist"),
        ("POST", "/admin/models/filed/restart", {"replca": "x"}, 400, "replca", "Did you mean 'replica'?"),
        ("POST", "/admin/keys", {"name": "k", "role": "king"}, 400, "role", "king"),
        ("GET", "/admin/usage?by=modle", None, 400, "by", "Did you mean 'model'?"),
        ("GET", "/admin/usage?since=ever", None, 400, "since", "2026-01-31"),
        ("GET", "/admin/usage?sine=1", None, 400, "sine", "Did you mean 'since'?"),
        ("GET", "/admin/requests?limit=0", None, 400, "limit", ">= 1"),
        ("GET", "/admin/requests?limit=1&limit=2", None, 400, "limit", "twice"),
        ("GET", "/admin/requests?before=nan", None, 400, "before", "no time"),
        ("GET", "/admin/requests/nosuch", None, 404, "name", "there is no request"),
        ("GET", "/admin/logs/filed/7", None, 404, "name", "filed/0"),
        ("GET", "/admin/logs/nosuch", None, 404, "model", "does not exist"),
        ("GET", "/admin/events?kinds=replcia", None, 400, "kinds", "Did you mean 'replica'?"),
        ("GET", "/admin/status?" + "&".join(f"a{n}=1" for n in range(40)), None, 400, None, "parameters"),
    ):  # fmt: skip
        message = call.refused(method, path, body, status=status, param=param)
        assert words in message, (path, message)
    # A web page elsewhere can send this without asking first; it must not administer.
    for method, path in (("POST", "/admin/models"), ("POST", "/admin/models/filed/unload"), ("POST", "/admin/reload"), ("POST", "/admin/keys")):  # fmt: skip
        status, _, data = server.request(method, path, b"{}", {"content-type": "text/plain"})
        assert (status, json.loads(data)["error"]["param"]) == (400, "content-type")
    assert server.process.poll() is None
    assert "Traceback" not in server.output


def test_administration_needs_a_key_of_role_admin_everywhere_and_tells_no_secret(serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "echo=debug", env={"TRUNKCALL_KEYS": "env:BOSS", "BOSS": "sk-boss-secret"})
    boss = WithKey(server, "sk-boss-secret")
    status, _, data = boss.request("POST", "/admin/keys", {"name": "app"})
    assert status == 201
    app = WithKey(server, json.loads(data)["secret"])
    document = json.loads(boss.request("GET", "/admin/openapi.json")[2])
    for path, operations in document["paths"].items():
        for method in operations:
            real = path.replace("{name}", "x")
            assert server.request(method.upper(), real, {})[0] == 401, (method, path)
            assert app.request(method.upper(), real, {})[0] == 403, (method, path)
    (told,) = [line for line in server.lines if "'/admin/keys' by env:BOSS" in line]
    assert "done" in told
    everything = (
        server.output
        + boss.request("GET", "/admin/settings")[2].decode()
        + boss.request("GET", "/admin/keys")[2].decode()
    )
    assert "sk-boss-secret" not in everything
    assert json.loads(data)["secret"] not in everything


def test_requests_go_on_into_the_past_through_the_ledger(serve: Callable[..., Server], tmp_path: Path) -> None:
    home = tmp_path / "kept"
    first = serve("--no-pocket", "--model", "echo=debug", home=home)
    for number in range(4):
        first.chat("echo", f"question {number}")
    first.chat("nosuch", "?")
    first.stop()
    server = serve("--no-pocket", "--model", "echo=debug", home=home)
    for number in range(3):
        server.chat("echo", f"again {number}")
    call = Caller(server)
    pages: list[list[Any]] = []
    path = "/admin/requests?limit=3"
    while True:
        page = call("GET", path)
        pages.append(page["requests"])
        if page["next"] is None:
            break
        path = f"/admin/requests?limit=3&before={page['next']}"
    found = [story for page in pages for story in page]
    assert [len(page) for page in pages] == [3, 3, 2]
    assert len({story["id"] for story in found}) == 8
    assert [story["opened_at"] for story in found] == sorted((story["opened_at"] for story in found), reverse=True)
    assert found[3]["error"] == "no_model" and found[3]["state"] == "ended"
    assert [story["model"] for story in call("GET", "/admin/requests?error=any")["requests"]] == [""]
    assert found[3]["asked"] == "nosuch"
    assert len(call("GET", "/admin/requests?model=echo&limit=1000")["requests"]) == 7
    old = found[-1]
    assert call("GET", f"/admin/requests/{old['id']}") == old


def test_a_running_request_has_a_story_and_its_tokens_count(serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "slow=debug:0.02")
    call = Caller(server)
    split = urlsplit(server.url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    body = {"model": "slow", "messages": [{"role": "user", "content": "word " * 2000}], "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    try:
        connection.getresponse().readline()
        eventually(lambda: call("GET", "/admin/status")["models"][0]["completion_tokens"] > 2)
        (story,) = call("GET", "/admin/requests")["requests"]
        assert (story["state"], story["stream"], story["estimated"]) == ("running", True, True)
        assert story["completion_tokens"] > 0 and story["first_token_ms"] <= story["total_ms"]
        assert call("GET", "/admin/status")["models"][0]["running"] == 1
    finally:
        connection.close()
    eventually(lambda: call("GET", f"/admin/requests/{story['id']}")["error"] == "cancelled")
    after = call("GET", "/admin/status")["models"][0]
    assert (after["running"], after["failed"], after["requests"]) == (0, 0, 1), "a client that left is no failure"


def test_events_tell_what_happens_and_only_what_is_asked_for(serve: Callable[..., Server]) -> None:
    server = serve("--model", "echo=debug")
    with (
        events(server, "/admin/events") as everything,
        events(server, "/admin/events?kinds=replica") as replicas,
        events(server, "/admin/events?kinds=model") as models,
    ):
        server.chat("pocket", "Who are you?")
        assert everything("request")["state"] == "waiting"
        states: list[str] = []
        while "ready" not in states:
            one = replicas("replica")
            states += [one["state"]] if one["id"] == "pocket/0" else []
        assert "starting" in states and one["log"] == []
        ended = everything("request")
        assert (ended["state"], ended["model"], ended["finish"]) == ("ended", "pocket", "stop")
        server.request("POST", "/admin/models", {"name": "more", "source": "debug"})
        assert "more" in json.dumps(models("model"))
    assert server.stop() == 0, "listeners do not hold up the end"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_listener_that_does_not_read_is_told_what_it_missed_and_holds_up_nobody(serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "echo=debug")
    split = urlsplit(server.url)
    slow = socket.socket()
    try:
        slow.settimeout(60)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((split.hostname or "", split.port or 0))
        slow.sendall(b"GET /admin/events?kinds=request HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b": live" in slow.recv(4096)
        # More than the sockets' buffers hold: two events of more than a kilobyte for each.
        name = "\N{GRINNING FACE}" * 1000
        askers = [threading.Thread(target=ask, args=(server, name, 700)) for _ in range(4)]
        for one in askers:
            one.start()
        for one in askers:
            one.join(200)
        assert not any(one.is_alive() for one in askers)
        received = b""
        while not re.search(rb'event: missed\r?\ndata: {"count":[1-9]', received):
            data = slow.recv(1 << 20)
            assert data, "the server has not given up on it"
            received = received[-100:] + data
    finally:
        slow.close()
    assert server.stop() == 0


def ask(server: Server, model: str, times: int) -> None:
    """Ask so often over one connection."""
    split = urlsplit(server.url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    body = json.dumps({"model": model, "messages": []})
    for _ in range(times):
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        assert connection.getresponse().read()
    connection.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_logs_are_followed_over_the_end_of_a_process(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--no-pocket")
    call = Caller(server)
    call("POST", "/admin/models", {"name": "chatty", **chatty(tmp_path), "replicas": 2}, status=201)
    eventually(lambda: [log for log in call("GET", "/admin/logs/chatty/1")["logs"] if len(log["lines"]) > 5], 60)
    with events(server, "/admin/logs/chatty/1?follow=true&lines=2") as following:
        lines = [following("line") for _ in range(12)]
        assert {line["replica"] for line in lines} == {"chatty/1"}
        told = [line["line"].split() for line in lines]
        numbers = [int(words[-1]) for words in told]
        assert numbers == list(range(numbers[0], numbers[0] + 12)), "none twice, none left out"
        assert numbers[0] > 0, "of the earlier ones the last two only"
        call("POST", "/admin/models/chatty/restart", {"replica": "chatty/1"})
        while (line := following("line")["line"].split())[-1] != "0":
            assert line[0] == told[0][0]
        assert line[0] != told[0][0], "the new process is told from its first line"

    def lengths() -> list[tuple[str, int]]:
        return [(one["replica"], len(one["lines"])) for one in call("GET", "/admin/logs/chatty?lines=3")["logs"]]

    assert eventually(lambda: lengths() == [("chatty/0", 3), ("chatty/1", 3)], 60)
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "entry"),
    [
        ({"slots": 4}, {"source": "debug", "slots": 4}),
        ({"source": "dummy"}, "dummy"),
        ({"price": {"prompt": 1.5}}, {"source": "debug", "price": {"prompt": 1.5}}),
        ({"slots": None}, "debug"),
    ],
)
def test_a_changed_model_is_remembered(serve: Callable[..., Server], settings: Any, entry: Any) -> None:
    server = serve("--no-pocket")
    call = Caller(server)
    call("POST", "/admin/models", {"name": "m", "source": "debug"}, status=201)
    call("PATCH", "/admin/models/m", {"settings": settings})
    assert json.loads((server.home / "models.json").read_text()) == {"m": entry}
    assert server.chat("m", "hello")[0] == 200
