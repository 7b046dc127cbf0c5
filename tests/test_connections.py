"""Many connections at once, idle, dropped, dribbling or refused by the system: the server goes on, its memory bounded."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running import Server, eventually

Serve = Callable[..., Server]
MIB = 2**20


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process holds the clients' ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 4096:
        pytest.skip(f"this system allows {before[1]} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def resident(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def connect(server: Server) -> socket.socket:
    split = urlsplit(server.url)
    return socket.create_connection((split.hostname, split.port), timeout=50)


@contextmanager
def connected(server: Server, number: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server)) for _ in range(number)]


def chat(*, stream: bool) -> bytes:
    body = json.dumps({"model": "d", "stream": stream, "messages": [{"role": "user", "content": "a b c"}]}).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def test_a_thousand_idle_connections(serve: Serve, many_files: None) -> None:
    server = serve("--model", "d=debug", "--no-pocket", env={"TRUNKCALL_QUEUE": "2000"})
    assert server.chat("d", "hi")[0] == 200
    before, opened = resident(server), files(server)
    with connected(server, 1000) as clients:
        eventually(lambda: files(server) >= opened + 1000)
        # A quarter of them has asked already and is idle between two requests, the others never said a word.
        for client in clients[:250]:
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        for client in clients[:250]:
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert resident(server) - before < 40 * MIB
        assert [server.chat("d", "hi")[0] for _ in range(20)] == [200] * 20
        assert clients[999].send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert clients[999].recv(4096).startswith(b"HTTP/1.1 200")
    eventually(lambda: files(server) <= opened + 5)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_thousand_connections_opened_and_dropped(serve: Serve) -> None:
    server = serve("--model", "d=debug:0.01", "--no-pocket")
    server.chat("d", "hi")
    opened = files(server)

    def drop(number: int) -> None:
        client = connect(server)
        # Nothing at all, half a head, half a body, a whole request that nobody waits for; a reset every third time.
        said = (b"", b"POST /v1/chat/com", chat(stream=False)[:-20], chat(stream=True))[number % 4]
        if said:
            client.sendall(said)
        if number % 3 == 0:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(drop, range(1000)))
        first = eventually(lambda: files(server) <= opened + 5 and resident(server), 60)
        list(pool.map(drop, range(9000)))
    eventually(lambda: files(server) <= opened + 5, 60)
    assert resident(server) - first < 30 * MIB
    assert server.chat("d", "hi")[0] == 200

    def busy() -> tuple[int, int]:
        found = server.get("/admin/models/d")
        return found["waiting"], found["replicas"][0]["in_flight"]

    eventually(lambda: busy() == (0, 0))
    assert "Traceback" not in server.output


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_heads_that_dribble_are_ended_while_others_are_served(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--no-pocket")
    head = b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: "
    with connected(server, 100) as clients:
        began, ended = time.monotonic(), 0
        for client in clients:
            client.sendall(head)
            client.setblocking(False)
        while ended < len(clients) and time.monotonic() - began < 60:
            ended = sum(_is_cut(client) for client in clients)
            assert server.get("/health")
            time.sleep(0.5)
        assert ended == len(clients)
        # A byte now and then does not prolong it: the head as a whole has 15 s, and a sweep or two.
        assert 14 < time.monotonic() - began < 50


def _is_cut(client: socket.socket) -> bool:
    """Send one more byte; whether the server has answered or closed."""
    try:
        client.send(b"a")
        client.recv(4096)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.slow
def test_a_system_that_has_no_more_files_refuses_some_and_the_server_goes_on(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--no-pocket")
    server.chat("d", "hi")
    limit = files(server) + 40
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    with ExitStack() as stack:
        for _ in range(100):
            try:
                stack.enter_context(connect(server))
            except OSError:
                break
        time.sleep(0.5)
        assert server.process.poll() is None
    assert eventually(lambda: _asked(server)) == 200
    assert "Traceback" not in server.output


def _asked(server: Server) -> int:
    """0 while it refuses."""
    try:
        return server.chat("d", "hi")[0]
    except OSError:
        return 0


def test_names_that_nobody_serves_leave_nothing_behind(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--no-pocket")

    def ask(number: int) -> int:
        return server.chat(f"nobody-{number}", "x" * 1000)[0]

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(1200))) == {404}
        before, told = resident(server), len(server.request("GET", "/metrics")[2])
        assert set(pool.map(ask, range(1200, 2400))) == {404}
    count = b'trunkcall_requests_total{model="",protocol="openai",outcome="no_model"} 2400'
    text = eventually(lambda: count in (told := server.request("GET", "/metrics")[2]) and told)
    assert b"nobody" not in text
    assert abs(len(text) - told) < 200
    assert resident(server) - before < 8 * MIB
