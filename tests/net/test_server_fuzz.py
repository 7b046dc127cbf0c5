"""The server against h11, the strictest reader at hand: what we hear, it hears too, and never less of it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from typing import Any
from urllib.parse import unquote

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response
from trunkcall.net.exchange import Exchange
from trunkcall.net.listeners import bind
from trunkcall.net.server import Server

Heard = tuple[str, bytes, list[tuple[bytes, bytes]], bytes]

NAMES = st.sampled_from(["Accept", "X-A", "x-b", "Content-Type", "Cookie", "X-Stainless-Lang", "Range"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12)
BODIES = st.binary(max_size=40) | st.sampled_from([b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n"])


@st.composite
def request(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "M-SEARCH"]))
    target = draw(st.sampled_from(["/", "/a?b=c", "/%41%zz", "//x", '/a;b="c"', "/~", "/?"]))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    lines = [f"{method} {target} HTTP/{version}", "Host: x"]
    lines += [
        f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}"
        for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    ]
    extra = draw(
        st.sampled_from(
            [
                "",
                "",
                "",
                "Connection: close",
                "Connection: keep-alive",
                "Expect: 100-continue",
                "Connection: Upgrade\r\nUpgrade: h2c",
            ]
        )
    )
    if extra:
        lines.append(extra)
    body = b""
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "length":
        body = draw(BODIES)
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines[0] = lines[0].replace("1.0", "1.1")
        lines.append("Transfer-Encoding: chunked")
        for piece in draw(st.lists(BODIES.filter(bool), max_size=3)):
            extension = draw(st.sampled_from([b"", b";a", b";a=b"]))
            body += b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
        body += b"0\r\n" + draw(st.sampled_from([b"", b"T: v\r\n"])) + b"\r\n"
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


MUTANTS = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b"0", b"1", b"f", b"-", b"+", b",", b"\x0b", b"\xff",
    b"\r\n\r\n", b"Content-Length: 1\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n",
    b"chunked", b"HTTP/1.1", b"HTTP/1.0", b"RTSP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"Host: y\r\n", b"0\r\n\r\n", b"_",
]  # fmt: skip


@st.composite
def stream(draw: st.DrawFn) -> list[bytes]:
    """Requests one after the other, perhaps damaged, cut into pieces."""
    data = b"".join(draw(st.lists(request(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "delete", "replace", "swap"])):
            case "insert":
                data = data[:at] + draw(st.sampled_from(MUTANTS)) + data[at:]
            case "delete":
                data = data[:at] + data[at + draw(st.integers(1, 6)) :]
            case "replace":
                data = data[:at] + draw(st.sampled_from(MUTANTS)) + data[at + 1 :]
            case _:
                mutant = draw(st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"\r\n", b": ", b"chunked"]))
                data = data.replace(mutant, draw(st.sampled_from(MUTANTS)), 1)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


def oracle(data: bytes) -> tuple[list[Heard], bool]:
    """What h11 hears, and whether it stopped where we may go on: a missing Host, which we do not ask for."""
    heard: list[Heard] = []
    while data:
        # RFC 9112, 2.2: one empty line before a request may be ignored; h11 does not.
        data = data.removeprefix(b"\r\n")
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        reader.receive_data(data)
        head: Any = None
        body = b""
        try:
            while True:
                event = reader.next_event()
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return heard, False
        except h11.RemoteProtocolError as error:
            return heard, "Missing mandatory Host" in str(error)
        headers = [(name, value) for name, value in head.headers]
        heard.append((head.method.decode(), head.target, headers, body))
        options = [
            option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")
        ]
        # h11 never keeps a connection of HTTP/1.0 open, we do when asked; where an upgrade is offered it leaves the choice open.
        asked = b"keep-alive" in options if head.http_version == b"1.0" else reader.their_state is not h11.MUST_CLOSE
        if not asked or b"close" in options:
            return heard, False
        data = reader.trailing_data[0]
    return heard, False


def waiting(plug: Any) -> int:
    """Bytes that have arrived and have not been read."""
    return struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.FIONREAD, b"\0" * 4))[0]


class Bench:
    """A real server, and clients that tell it streams."""

    async def start(self) -> None:
        self.heard: list[Heard] = []
        self.server = Server(self.handle)
        self.bound = bind("127.0.0.1", 0)
        self.port = self.bound.getsockname()[1]
        await self.server.start(self.bound)

    async def handle(self, exchange: Exchange) -> None:
        try:
            body = await exchange.body()
        except ServingError as error:
            await exchange.respond(Response(error.status, b""))
            return
        target = exchange.path.encode()
        self.heard.append((exchange.method, exchange.query or target, exchange.headers, body))
        if len(body) % 2:
            await asyncio.sleep(0)
        await exchange.respond(Response(200, b"%d" % len(self.heard)))

    async def tell(self, pieces: list[bytes]) -> tuple[list[Heard], bytes]:
        """What the handler heard, and what the client was answered; the client leaves at the end."""
        self.heard = []
        loop = asyncio.get_running_loop()
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = b""
        try:
            while not self.server.peers:
                await asyncio.sleep(0)
            (peer,) = self.server.peers
            plug = peer._transport.get_extra_info("socket")
            for piece in pieces:
                try:
                    await loop.sock_sendall(client, piece)
                except OSError:
                    break
                while self.server.peers and not peer.is_closing() and waiting(plug):
                    await asyncio.sleep(0)
            for _ in range(3):
                await asyncio.sleep(0)
                while any(one.task for one in self.server.peers) and peer._state != 2:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            with contextlib.suppress(OSError):
                said = client.recv(1 << 20)
        finally:
            client.close()
            for _ in range(40_000):
                if not self.server.peers:
                    break
                await asyncio.sleep(0.0005)
        assert not self.server.peers, "a connection was left behind"
        return self.heard, said


def plain(heard: Heard) -> Heard:
    """As the handler sees it: the target's query, or its path when there is none."""
    method, target, headers, body = heard
    path, _, query = target.partition(b"?")
    return method, query or unquote(path.decode()).encode(), headers, body


@pytest.fixture(scope="module")
def runner() -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        bench = Bench()
        runner.run(bench.start())
        yield lambda pieces: runner.run(bench.tell(pieces))
        runner.run(bench.server.aclose())
        bench.bound.close()


def check(runner: Any, pieces: list[bytes]) -> None:
    heard, said = runner(pieces)
    theirs, open_end = oracle(b"".join(pieces))
    ours = [plain(one) for one in heard]
    known = [plain(one) for one in theirs]
    if open_end:
        ours = ours[: len(known)]
    assert ours == known[: len(ours)]
    # Answers come in the order of the requests.
    assert [int(part.rpartition(b"\r\n")[2]) for part in _bodies(said, heard)] == list(range(1, len(heard) + 1))


def _bodies(said: bytes, heard: list[Heard]) -> list[bytes]:
    """The bodies of the answers, each head with its own length; a HEAD's answer gets the number it would have had."""
    found: list[bytes] = []
    for number, one in enumerate(heard, 1):
        said = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        head, _, said = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        size = len(b"%d" % number)
        assert b"content-length: %d" % size in head
        if one[0] == "HEAD":
            found.append(b"%d" % number)
        else:
            found.append(said[:size])
            said = said[size:]
    return found


@pytest.mark.timeout(300)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(pieces=stream())
def test_what_we_hear_h11_hears_too(runner: Any, pieces: list[bytes]) -> None:
    check(runner, pieces)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(pieces=stream())
@pytest.mark.timeout(600)
def test_what_we_hear_h11_hears_too_at_length(runner: Any, pieces: list[bytes]) -> None:
    check(runner, pieces)


@pytest.mark.timeout(300)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(requests=st.lists(request(), min_size=1, max_size=5), step=st.integers(1, 60))
def test_sound_requests_are_heard_as_h11_hears_them(runner: Any, requests: list[bytes], step: int) -> None:
    data = b"".join(requests)
    heard, _ = runner([data[i : i + step] for i in range(0, len(data), step)])
    theirs, _ = oracle(data)
    assert [plain(one) for one in heard] == [plain(one) for one in theirs]
