"""Engines die, clients leave, upstreams hang: what the caller sees, and that the server recovers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from running import Server, alive, eventually

Serve = Callable[..., Server]


def replica(server: Server, model: str = "pocket") -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/admin/models/{model}")["replicas"][0]
    return found


def send(server: Server, body: dict[str, Any]) -> socket.socket:
    """A chat request on a socket of its own."""
    split = urlsplit(server.url)
    connection = socket.create_connection((split.hostname, split.port), timeout=50)
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + data)
    return connection


def long_story(stream: bool, tokens: int = 900) -> dict[str, Any]:
    """Work that keeps the engine busy until its context is full."""
    return {
        "model": "pocket",
        "stream": stream,
        "max_tokens": tokens,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Tell me a story."}],
    }


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    connection.close()
    return received


def test_engine_killed_while_idle_is_started_again(serve: Serve) -> None:
    server = serve()
    assert server.chat("pocket", "hi")[0] == 200
    pid = replica(server)["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: replica(server)["pid"] not in (pid, None) and replica(server)["state"] == "ready")
    assert server.chat("pocket", "hi")[0] == 200
    assert replica(server)["restarts"] == 1


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere nobody can tell a process that hangs from one that works"
)
def test_engine_that_stops_answering_is_replaced_and_its_caller_served(serve: Serve) -> None:
    server = serve()
    server.chat("pocket", "hi")
    before = replica(server)
    os.kill(before["pid"], signal.SIGSTOP)
    connection = send(server, long_story(False, 3))
    connection.settimeout(150)
    assert read_all(connection).startswith(b"HTTP/1.1 200")
    after = replica(server)
    assert after["restarts"] == before["restarts"] + 1
    assert not alive(before["pid"])


def test_request_right_after_the_kill_is_retried_before_its_first_byte(serve: Serve) -> None:
    server = serve()
    server.chat("pocket", "hi")
    for _ in range(3):
        before = replica(server)
        os.kill(before["pid"], signal.SIGKILL)
        status, _, answer = server.chat("pocket", "hi")
        assert status == 200, answer
        eventually(lambda before=before: replica(server)["generation"] > before["generation"])


def test_engine_killed_while_loading_does_not_hang_the_caller(serve: Serve) -> None:
    server = serve()
    answers: list[tuple[int, Any]] = []

    def ask() -> None:
        status, _, answer = server.chat("pocket", "hi")
        answers.append((status, answer))

    asking = threading.Thread(target=ask)
    asking.start()
    pid = eventually(lambda: replica(server)["pid"])
    os.kill(pid, signal.SIGKILL)
    asking.join(50)
    assert not asking.is_alive()
    assert answers[0][0] == 200, answers


@pytest.mark.slow
def test_engine_killed_in_mid_stream_is_told_in_the_stream(serve: Serve) -> None:
    server = serve()
    server.chat("pocket", "hi")
    # Asked before, as the story is told within a second.
    pid = replica(server)["pid"]
    connection = send(server, long_story(True))
    received = b""
    while b"content" not in received:
        more = connection.recv(4096)
        assert more, received
        received += more
    os.kill(pid, signal.SIGKILL)
    received += read_all(connection)
    frames = [line for line in received.decode().splitlines() if line.startswith("data: ")]
    error = json.loads(frames[-1][6:])["error"]
    assert error["message"]
    assert b"[DONE]" not in received
    eventually(lambda: replica(server)["state"] == "ready")
    assert server.chat("pocket", "hi")[0] == 200
    rows = eventually(
        lambda: [r for r in server.get("/admin/usage?by=error")["rows"] if r["error"] == "upstream_error"]
    )
    assert rows[0]["completion_tokens"] > 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_client_that_leaves_frees_the_slot(serve: Serve, stream: bool, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("models: {pocket: {source: pocket, options: {slots: 1}}}\n", encoding="utf-8")
    server = serve("--config", str(settings))
    server.chat("pocket", "hi")
    alone = min(_seconds(server) for _ in range(3))
    began = time.monotonic()
    assert server.post("/v1/chat/completions", long_story(False))[0] == 200
    whole = time.monotonic() - began
    took: list[float] = []
    for _ in range(5):
        # A hundred stories, one after the other, are not over before this client leaves.
        connection = send(server, {**long_story(stream), "n": 100})
        if stream:
            connection.recv(1024)
        else:
            eventually(lambda: replica(server)["in_flight"] == 1)
        connection.close()
        # With one slot, the next caller is served only when the engine has stopped the last one's work.
        took.append(_seconds(server))
    assert min(took) < alone + whole / 2, (took, alone, whole)
    rows = eventually(lambda: [r for r in server.get("/admin/usage?by=error")["rows"] if r["error"] == "cancelled"])
    assert rows[0]["requests"] == 5


def _seconds(server: Server) -> float:
    began = time.monotonic()
    assert server.chat("pocket", "hi", max_tokens=1)[0] == 200
    return time.monotonic() - began


@pytest.mark.slow
def test_client_that_leaves_during_prefill_frees_the_slot_at_the_next_batch(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(
        "models: {pocket: {source: pocket, options: {slots: 1, batch: 32, context: 1000}}}\n", encoding="utf-8"
    )
    server = serve("--config", str(settings))
    server.chat("pocket", "hi")
    alone = min(_seconds(server) for _ in range(3))

    def long_prompt(number: int) -> dict[str, Any]:
        """Differs from its first word on, so that nothing of it is cached."""
        words = " ".join(f"{number}q{word}" for word in range(150))
        return {"model": "pocket", "max_tokens": 1, "messages": [{"role": "user", "content": words}]}

    waits: list[float] = []
    wholes: list[float] = []
    pid = replica(server)["pid"]
    for number in range(5):
        began = time.monotonic()
        status, _, answer = server.post("/v1/chat/completions", long_prompt(number))
        wholes.append(time.monotonic() - began)
        assert status == 200
        assert answer["usage"]["prompt_tokens"] > 500
        # Held, the engine does not get through the prompt before it is seen.
        os.kill(pid, signal.SIGSTOP)
        try:
            connection = send(server, long_prompt(5 + number))
            eventually(lambda: replica(server)["in_flight"] == 1, pause=0.001)
        finally:
            os.kill(pid, signal.SIGCONT)
        replica(server)
        connection.close()
        waits.append(_seconds(server))
    # The one slot is free after a batch of 32 tokens, a small part of the whole prompt.
    assert min(waits) < alone + sorted(wholes)[2] / 2, (waits, alone, wholes)


def test_full_queue_is_refused_with_a_time_to_come_back(serve: Serve, tmp_path: Path) -> None:
    go_on = threading.Event()

    def waits(connection: socket.socket) -> None:
        assert go_on.wait(50)
        chunk = b'{"id":"1","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}'
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: %b\n\ndata: [DONE]\n\n" % chunk
        )
        connection.shutdown(socket.SHUT_RDWR)

    with upstream(waits) as (url, _):
        settings = tmp_path / "trunkcall.yaml"
        settings.write_text(
            f"models: {{d: {{source: 'openai:{url}#x', slots: 1, queue: 1, options: {{normalise: true}}}}}}\n",
            encoding="utf-8",
        )
        server = serve("--config", str(settings), "--no-pocket")
        body = {"model": "d", "messages": [{"role": "user", "content": "a b c d e f g h"}]}
        running = send(server, body)
        eventually(lambda: replica(server, "d")["in_flight"] == 1)
        waiting = send(server, {**body, "stream": True})
        eventually(lambda: server.get("/admin/models/d")["waiting"] == 1)
        status, headers, answer = server.chat("d", "hi")
        told = b""
        while b": queue position 0" not in told:
            more = waiting.recv(4096)
            assert more, told
            told += more
        go_on.set()
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        assert answer["error"]["code"]
        assert b"200 OK" in read_all(running)
        assert b"[DONE]" in read_all(waiting)


def test_waiting_client_that_leaves_gives_up_its_place(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text("models: {d: {source: 'debug:0.2', slots: 1, queue: 1}}\n", encoding="utf-8")
    server = serve("--config", str(settings), "--no-pocket")
    body = {"model": "d", "messages": [{"role": "user", "content": "a " * 500}]}
    running = send(server, body)
    eventually(lambda: replica(server, "d")["in_flight"] == 1)
    waiting = send(server, body)
    eventually(lambda: server.get("/admin/models/d")["waiting"] == 1)
    waiting.close()
    eventually(lambda: server.get("/admin/models/d")["waiting"] == 0)
    running.close()
    eventually(lambda: replica(server, "d")["in_flight"] == 0)


@contextmanager
def upstream(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[float]]]:
    """A server that treats each connection as told; times at which its clients left, not those who never do."""
    listening = socket.create_server(("127.0.0.1", 0))
    left: list[float] = []
    ended = threading.Event()

    def serve_one(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            answer(connection)
            connection.settimeout(50)
            try:
                while connection.recv(65536):
                    pass
            except TimeoutError:
                return
            except OSError:
                pass
            left.append(time.monotonic())

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", left
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def test_client_that_leaves_a_silent_upstream_ends_the_upstreams_work(serve: Serve) -> None:
    asked = threading.Event()
    with upstream(lambda connection: asked.set()) as (url, left):
        server = serve("--model", f"u=openai:{url}#x", "--no-pocket")
        connection = send(server, {"model": "u", "messages": []})
        assert asked.wait(30)
        assert replica(server, "u")["in_flight"] == 1
        assert not left
        connection.close()
        eventually(lambda: left)


def test_upstream_that_is_not_there(serve: Serve, free_port: int) -> None:
    server = serve("--model", f"u=openai:http://127.0.0.1:{free_port}/v1#x", "--no-pocket")
    status, headers, answer = server.chat("u", "hi")
    assert status == 502
    assert headers["x-trunkcall-failed-by"] == "upstream"
    assert str(free_port) in answer["error"]["message"]


def test_second_replica_takes_over_when_the_first_is_not_there(serve: Serve, free_port: int, tmp_path: Path) -> None:
    good = serve("--model", "x=debug", "--no-pocket")
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(
        f"models: {{u: {{source: ['openai:http://127.0.0.1:{free_port}/v1#x', 'openai:{good.url}/v1#x']}}}}\n",
        encoding="utf-8",
    )
    server = serve("--config", str(settings), "--no-pocket")
    assert [server.chat("u", "hi")[0] for _ in range(5)] == [200] * 5


def test_upstream_that_breaks_off_its_stream(serve: Serve) -> None:
    chunk = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"x","choices":[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}\n\n'

    def breaks(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n" % len(chunk)
            + chunk
            + b"\r\n"
        )
        connection.shutdown(socket.SHUT_RDWR)

    with upstream(breaks) as (url, _):
        server = serve("--model", f"u=openai:{url}#x", "--no-pocket")
        received = read_all(send(server, {"model": "u", "stream": True, "messages": []}))
        assert b'"content":"half"' in received
        assert b'"model":"u"' in received
        assert json.loads(received[received.rindex(b"data: ") + 6 :].split(b"\n\n")[0])["error"]["message"]


def test_upstreams_own_error_passes_with_its_status(serve: Serve) -> None:
    body = b'{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"x"}}'

    def refuses(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 7\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )

    with upstream(refuses) as (url, _):
        server = serve("--model", f"u=openai:{url}#x", "--no-pocket")
        status, headers, answer = server.chat("u", "hi")
        assert (status, headers["retry-after"], headers["x-trunkcall-failed-by"]) == (429, "7", "upstream")
        assert answer["error"]["message"] == "slow down"


def test_slow_reader_does_not_fill_the_servers_memory(serve: Serve) -> None:
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % (b"x" * 8000)
    sent = [0]

    def floods(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        connection.settimeout(3)
        try:
            for _ in range(12_000):
                connection.sendall(frame)
                sent[0] += len(frame)
        except OSError:
            pass

    with upstream(floods) as (url, _):
        server = serve("--model", f"u=openai:{url}#x", "--no-pocket")
        connection = send(server, {"model": "u", "stream": True, "messages": []})
        connection.recv(1024)
        eventually(lambda: _steady(sent))
        assert sent[0] < 40 * 2**20, "the upstream was not held back"
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) * 1024
        assert resident < 150 * 2**20
        connection.close()


def _steady(sent: list[int]) -> bool:
    before = sent[0]
    time.sleep(0.5)
    return before > 0 and sent[0] == before


def test_nothing_is_left_after_all_this(serve: Serve) -> None:
    server = serve()
    server.chat("pocket", "hi")
    pid = replica(server)["pid"]
    for connection in [send(server, long_story(True)) for _ in range(20)]:
        connection.close()
    eventually(lambda: replica(server)["in_flight"] == 0)
    assert server.stop() == 0
    assert not alive(pid)
