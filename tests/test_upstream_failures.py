"""Upstreams that refuse, hang, lie and break off: what the caller sees, who is blamed, and who takes over."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from running import Server, eventually, reserved_port

Serve = Callable[..., Server]
Behaviour = Callable[[socket.socket], None]

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
KUWA_WORD = b"Error occurred. Please consult support."
LIMITS = "{first_byte_timeout: 15, idle_timeout: 15}"
SHORT = "{first_byte_timeout: 0.4, idle_timeout: 0.4}"
"""Where nothing that is well must be in time."""
IDLE = "{first_byte_timeout: 15, idle_timeout: 0.4}"


class Upstream:
    """A socket server that treats each request as `behave` says, and counts them."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.asked = 0
        self.bodies: list[bytes] = []
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(40)
            try:
                while self._read(connection):
                    self.asked += 1
                    self.behave(connection)
            except OSError:
                pass

    def _read(self, connection: socket.socket) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                return False
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.bodies.append(body)
        return True

    def end(self) -> None:
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


@pytest.fixture
def upstream() -> Iterator[Callable[[Behaviour], Upstream]]:
    started: list[Upstream] = []

    def start(behave: Behaviour) -> Upstream:
        started.append(Upstream(behave))
        return started[-1]

    yield start
    for one in started:
        one.end()


def says(data: bytes, ends: bool = False) -> Behaviour:
    """Sends this, and closes the connection where that is its way."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_RDWR)

    return behave


def http(status: str, body: bytes | Any, *lines: str, kind: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def silent(connection: socket.socket) -> None:
    time.sleep(30)


def refusal(status: str, *lines: str) -> Behaviour:
    return says(http(status, {"error": {"message": "not now", "type": "x", "param": None, "code": None}}, *lines))


well = says(http("200 OK", ANSWER))

# What it does; status, words and who failed as the caller is told; the breaker's state and failures.
BAD: dict[str, tuple[Behaviour, int, str, str, str, int]] = {
    "resets": (resets, 502, "closed the connection", "upstream", "closed", 2),
    "accepts and is silent": (silent, 504, "did not begin", "upstream", "closed", 1),
    "half a head": (says(b"HTTP/1.1 200 OK\r\nConte", True), 502, "within its answer's head", "upstream", "closed", 1),
    "no HTTP": (says(b"\x15\x03\x01 hello\r\n\r\n", True), 502, "not HTTP/1.1", "upstream", "closed", 1),
    "a web page": (
        says(http("200 OK", b"<html>login</html>", kind="text/html")),
        502,
        "its URL",
        "upstream",
        "closed",
        1,
    ),
    "a shorter body than it says": (
        says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{", True),
        502,
        "after 1 bytes",
        "upstream",
        "closed",
        1,
    ),
    "a longer body than it says": (
        says(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
            + json.dumps(ANSWER).encode()
        ),
        502,
        "not OpenAI's JSON",
        "upstream",
        "closed",
        1,
    ),
    "500": (refusal("500 Oops"), 500, "not now", "upstream", "closed", 1),
    "a web page with 502": (says(http("502 Bad", b"<html>", kind="text/html")), 502, "<html>", "upstream", "closed", 1),
    "503 with a time": (refusal("503 Busy", "Retry-After: 7"), 503, "not now", "upstream", "open", 0),
    "429 with a time": (refusal("429 Slow", "Retry-After: 7"), 429, "not now", "upstream", "open", 0),
    "429 without": (refusal("429 Slow"), 429, "not now", "upstream", "closed", 0),
    "does not accept our key": (refusal("401 No"), 502, "wants a key", "upstream", "open", 0),
}


def settings_file(folder: Path, text: str) -> list[str]:
    path = folder / "trunkcall.yaml"
    path.write_text(text, encoding="utf-8")
    return ["--config", str(path), "--no-pocket"]


def model(sources: list[str], options: str = LIMITS, more: str = "") -> str:
    return f"{{source: {json.dumps(sources)}, options: {options}{more}}}"


def source(url: str) -> str:
    return f"openai:{url}#x"


def breakers(server: Server, name: str = "u") -> list[dict[str, Any]]:
    return [replica["breaker"] for replica in server.get(f"/admin/models/{name}")["replicas"]]


def asked(server: Server, name: str = "u", **more: Any) -> tuple[int, dict[str, str], str]:
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}], **more}
    status, headers, data = server.request("POST", "/v1/chat/completions", body)
    return status, headers, data.decode(errors="replace")


def story(server: Server) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = server.get("/admin/requests?limit=1")["requests"][0]
        return found if found["state"] == "ended" else None

    found: dict[str, Any] = eventually(ended)
    return found


@pytest.mark.parametrize("what", BAD)
def test_bad_upstream_alone(serve: Serve, upstream: Any, tmp_path: Path, what: str) -> None:
    behave, status, words, by, state, failures = BAD[what]
    one = upstream(behave)
    limits = SHORT if behave is silent else LIMITS
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url)], limits)}}}\n"))
    told = asked(server)
    assert (told[0], told[1]["x-trunkcall-failed-by"]) == (status, by), told
    assert words in told[2]
    assert [(found["state"], found["failures"]) for found in breakers(server)] == [(state, failures)]
    if state == "open":
        before = one.asked
        later = asked(server)
        assert later[0] in (429, 503)
        assert 1 <= int(later[1]["retry-after"]) <= 38
        assert one.asked == before, "it was asked though it is left alone"
    assert "Traceback" not in server.output


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("lane", ["forwarded", "translated"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_bad_one_of_two_is_not_noticed(
    serve: Serve, upstream: Any, tmp_path: Path, free_port: int, lane: str, stream: bool
) -> None:
    """Each kind of failure is a model whose first replica fails so, and whose second is well."""
    good = serve("--model", "x=debug", "--no-pocket")
    limits = LIMITS.replace("15", "5")
    options = limits if lane == "forwarded" else limits[:-1] + ", normalise: true}"
    bad = {name: source(upstream(row[0]).url) for name, row in BAD.items()}
    bad["refuses"] = source(f"http://127.0.0.1:{free_port}/v1")
    models = "\n".join(
        f"  {name.replace(' ', '-')}: {model([at, source(good.url + '/v1')], options)}" for name, at in bad.items()
    )
    server = serve(*settings_file(tmp_path, f"models:\n{models}\n"))
    for name in bad:
        served = name.replace(" ", "-")
        status, headers, text = asked(server, served, stream=stream)
        assert status == 200, (name, status, text)
        assert f'"model":"{served}"' in text.replace('": "', '":"')
        assert '"error"' not in text
        assert "x-trunkcall-model" not in headers
        found = story(server)
        assert (found["attempts"], found["replica"], found["error"]) == (2, f"{served}/1", ""), (name, found)
        assert found["why"].startswith(f"retry: {served}/0 "), found["why"]
        first, second = breakers(server, served)
        assert first["failures"] == 1 or first["state"] == "open" or name == "429 without", (name, first)
        assert (second["state"], second["failures"]) == ("closed", 0)


def chunk(text: str) -> bytes:
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [delta]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def streams(*pieces: bytes, then: Behaviour) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
        # Or the system may drop what it has not sent yet.
        time.sleep(0.1)
        then(connection)

    return behave


BREAKS: dict[str, Behaviour] = {
    "resets": streams(chunk("one "), chunk("two "), then=resets),
    "half a frame": streams(chunk("one "), chunk("two "), chunk("three")[:40], then=resets),
    "never ends": streams(chunk("one "), chunk("two "), then=silent),
    "breaks off in a chunk": streams(chunk("one "), chunk("two "), then=says(b"fff\r\ndata: {", True)),
}


@pytest.mark.parametrize("what", BREAKS)
def test_stream_that_breaks_is_told_in_the_stream(serve: Serve, upstream: Any, tmp_path: Path, what: str) -> None:
    one = upstream(BREAKS[what])
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url)], IDLE)}}}\n"))
    status, _, text = asked(server, stream=True)
    frames = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert status == 200
    assert [frame["choices"][0]["delta"]["content"] for frame in frames[:-1]] == ["one ", "two "]
    assert frames[-1]["error"]["message"]
    assert "[DONE]" not in text
    assert one.asked == 1, "what the caller has seen is not begun again"
    assert [(found["state"], found["failures"]) for found in breakers(server)] == [("closed", 1)]


def test_breaker_opens_fails_at_once_and_closes_again(serve: Serve, upstream: Any, tmp_path: Path) -> None:
    one = upstream(refusal("500 Oops"))
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url)])}}}\n"))
    assert [asked(server)[0] for _ in range(5)] == [500] * 5
    told = [asked(server) for _ in range(6)]
    _, headers, text = next(one for one in told if one[0] == 503)
    assert headers["x-trunkcall-failed-by"] == "gateway"
    assert "status 500" in text
    assert one.asked < 11
    one.behave = well
    eventually(lambda: breakers(server)[0]["state"] == "half_open")
    assert asked(server)[0] == 200
    eventually(lambda: breakers(server) == [{"state": "closed", "seconds": 0.0, "failures": 0, "why": ""}])


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["forwarded", "translated"])
def test_one_that_is_tried_again_takes_others_once_it_speaks(
    serve: Serve, upstream: Any, tmp_path: Path, lane: str
) -> None:
    one = upstream(refusal("500 Oops"))
    options = "{}" if lane == "forwarded" else "{normalise: true}"
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url)], options)}}}\n"))
    assert all(asked(server)[0] >= 500 for _ in range(5))
    assert breakers(server)[0]["state"] != "closed"
    go_on = threading.Event()

    def waits(connection: socket.socket) -> None:
        assert go_on.wait(40)
        last = b"data: [DONE]\n\n"
        connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))

    one.behave = streams(chunk("one "), then=waits)
    told: list[tuple[int, dict[str, str], str]] = []
    callers = [threading.Thread(target=lambda: told.append(asked(server, stream=True))) for _ in range(3)]
    try:
        for caller in callers:
            eventually(lambda: breakers(server)[0]["state"] != "open")
            caller.start()
        eventually(lambda: one.asked == 8)
        assert breakers(server)[0]["state"] == "closed"
    finally:
        go_on.set()
        for caller in callers:
            caller.join(30)
    assert [status for status, _, _ in told] == [200] * 3


def test_callers_mistakes_are_not_the_upstreams(serve: Serve, upstream: Any, tmp_path: Path) -> None:
    one = upstream(refusal("400 Bad"))
    two = upstream(well)
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url), source(two.url)])}}}\n"))
    assert [asked(server)[0] for _ in range(8)] == [400] * 8
    assert two.asked == 0
    assert breakers(server)[0]["failures"] == 0


def test_deadline_leaves_no_room_for_a_second_try(serve: Serve, upstream: Any, tmp_path: Path) -> None:
    one, two = upstream(silent), upstream(well)
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url), source(two.url)], SHORT)}}}\n"))
    body = {"model": "u", "messages": []}
    status, _, _ = server.request("POST", "/v1/chat/completions", body, {"x-trunkcall-timeout": "0.6"})
    assert status in (408, 504)
    assert two.asked == 0


@pytest.mark.parametrize("lane", ["forwarded", "translated"])
def test_model_that_stands_in(serve: Serve, upstream: Any, tmp_path: Path, free_port: int, lane: str) -> None:
    good = serve("--model", "x=debug", "--no-pocket")
    options = LIMITS if lane == "forwarded" else LIMITS[:-1] + ", normalise: true}"
    bad = upstream(refusal("500 Oops"))
    text = (
        f"models:\n  big: {model([source(bad.url)], options, ', fallback: middle, aliases: [large]')}\n"
        f"  middle: {model([source(f'http://127.0.0.1:{free_port}/v1')], options, ', fallback: small')}\n"
        f"  small: {model([source(good.url + '/v1')], options)}\n"
    )
    server = serve(*settings_file(tmp_path, text))
    for name in ("big", "large"):
        for stream in (False, True):
            status, headers, said = asked(server, name, stream=stream)
            assert (status, headers.get("x-trunkcall-model")) == (200, "small"), said
            assert f'"model":"{name}"' in said.replace('": "', '":"')
            assert '"model":"x"' not in said
    found = story(server)
    assert (found["model"], found["asked"], found["replica"]) == ("small", "large", "small/0")
    assert found["why"].startswith("fallback of big")
    # The breaker of big opens, so that it is not asked each time.
    for _ in range(8):
        assert asked(server, "big")[0] == 200
    assert bad.asked < 12


def test_what_nobody_can_answer_is_told_of_the_model_that_was_asked_for(
    serve: Serve, upstream: Any, tmp_path: Path
) -> None:
    one, two = upstream(refusal("500 Oops")), upstream(refusal("503 Later", "Retry-After: 9"))
    text = f"models:\n  a: {model([source(one.url)], LIMITS, ', fallback: b')}\n  b: {model([source(two.url)])}\n"
    server = serve(*settings_file(tmp_path, text))
    status, headers, said = asked(server, "a")
    assert (status, one.asked, two.asked) == (500, 1, 1), said
    assert "x-trunkcall-model" not in headers
    found = story(server)
    assert (found["model"], found["attempts"], found["error"], found["status"]) == ("a", 2, "upstream_error", 500)
    assert (found["replica"], found["why"]) == ("a/0", "only replica")


def test_aliases_are_listed_and_answer_by_their_name(serve: Serve, upstream: Any, tmp_path: Path) -> None:
    one = upstream(well)
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url)], LIMITS, ', aliases: [gpt]')}}}\n"))
    assert [entry["id"] for entry in server.get("/v1/models")["data"]] == ["u", "gpt"]
    assert server.get("/v1/models/gpt")["id"] == "gpt"
    status, headers, text = asked(server, "gpt")
    assert (status, json.loads(text)["model"], headers["x-trunkcall-model"]) == (200, "gpt", "u")
    assert json.loads(one.bodies[-1])["model"] == "x"
    assert server.get("/admin/models/gpt")["aliases"] == ["gpt"]
    status, _, text = server.request("POST", "/admin/models", {"name": "gpt", "source": "debug"})
    assert status in (400, 409)
    assert b"'gpt'" in text


@pytest.mark.parametrize("value", ["high", "101", "-101", "1.5", "", "٣"])
def test_priority_must_be_a_number(serve: Serve, value: str) -> None:
    server = serve("--model", "d=debug", "--no-pocket")
    body = {"model": "d", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-trunkcall-priority": value.encode().decode("latin-1")}
    status, _, text = server.request("POST", "/v1/chat/completions", body, headers)
    assert (status, b"x-trunkcall-priority" in text) == (400, True)
    headers = {"x-trunkcall-priority": "-100"}
    assert server.request("POST", "/v1/chat/completions", body, headers)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["forwarded", "translated"])
def test_numbers_of_64_bits_and_more(serve: Serve, upstream: Any, tmp_path: Path, lane: str) -> None:
    """They pass untouched where bytes pass, and stop neither answers nor the ledger."""
    huge = 2**64 - 1
    one = upstream(well)
    options = LIMITS if lane == "forwarded" else LIMITS[:-1] + ", normalise: true}"
    server = serve(*settings_file(tmp_path, f"models: {{u: {model([source(one.url)], options)}}}\n"))
    for number in (2**53 + 1, 2**63 - 1, 2**63, huge, 10**40, -1):
        usage = {"prompt_tokens": number, "completion_tokens": number, "total_tokens": number}
        wide = {"id": number if lane == "forwarded" else str(number), "created": number, "usage": usage}
        finish = {"index": 0, "delta": {}, "finish_reason": "stop"}
        frames = [{"choices": [finish], **wide}, {"choices": [], **wide}]
        sse = chunk("well") + b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames)
        whole = http("200 OK", {**ANSWER, **wide})
        stream = http("200 OK", sse + b"data: [DONE]\n\n", kind="text/event-stream")
        one.behave = says(whole if lane == "forwarded" else stream)
        status, _, text = asked(server)
        assert (status, json.loads(text)["choices"][0]["message"]["content"]) == (200, "well"), (number, text)
        if lane == "forwarded":
            assert json.loads(text)["created"] == number
    row = eventually(lambda: next((r for r in server.get("/admin/usage?by=model")["rows"] if r["requests"] == 6), None))
    assert row["model"] == "u"
    assert "Traceback" not in server.output


def test_all_bad_in_the_words_of_each_protocol(serve: Serve, upstream: Any, tmp_path: Path) -> None:
    both = [upstream(refusal("500 Oops")) for _ in range(2)]
    tgi, kuwa = reserved_port(), reserved_port()
    listen = f"listen: [127.0.0.1:0, {{port: {tgi}, apis: [tgi]}}, {{port: {kuwa}, apis: [kuwa_executor]}}]"
    models = f"models: {{u: {model([source(one.url) for one in both])}}}"
    server = serve(*settings_file(tmp_path, f"{listen}\n{models}\n"))
    form = urlencode({"name": "u", "input": json.dumps([{"isbot": False, "msg": "hi"}])}).encode()
    calls = (
        (tgi, "/generate", b'{"inputs": "hi"}', "application/json"),
        (tgi, "/generate_stream", b'{"inputs": "hi"}', "application/json"),
        (kuwa, "/chat", form, "application/x-www-form-urlencoded"),
    )
    assert asked(server)[0] == 500
    for call in calls:
        _, _, told = _post(*call)
        assert b"500" in told or told == KUWA_WORD
    for one in both:
        one.behave = refusal("503 Later", "Retry-After: 50")
    assert asked(server)[0] == 503
    assert [found["state"] for found in breakers(server)] == ["open", "open"]
    status, headers, text = asked(server)
    assert (status, json.loads(text)["error"]["code"]) == (429, "overloaded")
    assert 30 < int(headers["retry-after"]) <= 50
    for call in calls:
        _, head, told = _post(*call)
        assert b"said when to come back" in told or told == KUWA_WORD
        # TGI begins its stream before it knows.
        assert call[1] == "/generate_stream" or "retry-after:" in head.lower()
    assert "Traceback" not in server.output


def test_aliases_and_stand_ins_in_each_protocol(serve: Serve, tmp_path: Path, free_port: int) -> None:
    kuwa, fastchat, old = reserved_port(), reserved_port(), reserved_port()
    listen = (
        f"listen: [127.0.0.1:0, {{port: {kuwa}, apis: [kuwa_kernel]}}, {{port: {fastchat}, apis: [fastchat_controller]}},"
        f" {{port: {old}, apis: [fastchat_openai]}}]"
    )
    away = model([source(f"http://127.0.0.1:{free_port}/v1")], LIMITS, ", fallback: small, aliases: [large]")
    server = serve(*settings_file(tmp_path, f"{listen}\nmodels:\n  big: {away}\n  small: debug\n"))
    main = int(server.url.rpartition(":")[2])
    told = [{"isbot": False, "msg": "hello"}]
    form = "application/x-www-form-urlencoded"

    def calls(name: str) -> Iterator[tuple[int, str, dict[str, Any], str]]:
        chat = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
        yield main, "/v1/chat/completions", chat, ""
        yield old, "/v1/chat/completions", chat, ""
        yield main, f"/tgi/{name}/generate", {"inputs": "hello"}, ""
        yield main, f"/tgi/{name}/v1/chat/completions", chat, ""
        yield fastchat, "/worker_generate_stream", {"model": name, "prompt": "hello"}, ""
        yield kuwa, "/v1.0/worker/schedule", {"name": name, "user_id": 1, "history_id": 2}, form
        chat = {"name": name, "user_id": 1, "history_id": 2, "input": json.dumps(told)}
        yield kuwa, "/v1.0/chat/completions", chat, form

    # The breaker of the one that is away opens on the way.
    for name in ("big", "large", "big"):
        for port, path, fields, kind in calls(name):
            body = (urlencode(fields) if kind else json.dumps(fields)).encode()
            status, head, text = _post(port, path, body, kind or "application/json")
            if path.endswith("schedule"):
                assert text == b"READY"
                continue
            assert (status, b"hello" in text, "x-trunkcall-model: small" in head) == (200, True, True), (
                path,
                head,
                text,
            )
            found = story(server)
            assert (found["model"], found["replica"], found["error"]) == ("small", "small/0", ""), (path, found)
            assert "fallback of " in found["why"], (path, found)
    for port, path, body in (
        (old, "/v1/models", None),
        (fastchat, "/list_models", b""),
        (kuwa, "/v1.0/worker/list", None),
    ):
        with urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=50) as answer:
            assert b'"large"' in answer.read(), path


def _post(port: int, path: str, body: bytes, kind: str) -> tuple[int, str, bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=50) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        received = b""
        while data := connection.recv(65536):
            received += data
    head_text, _, rest = received.partition(b"\r\n\r\n")
    return int(head_text.split()[1]), head_text.decode(), rest
