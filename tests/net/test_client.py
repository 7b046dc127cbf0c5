"""The pooled client against real servers that keep to HTTP, break it, stall, and hang up."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.net.client import Client, Exchanged, Timeouts
from trunkcall.net.connection import Connection

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """One accepted connection; `number` counts them from 0."""

    def __init__(self, server: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = server.connections
        self.reader = reader
        self.writer = writer
        self.server = server

    async def request(self) -> bytes:
        """The next request, head and body; raises IncompleteReadError when there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, found, rest = head.partition(b"Content-Length: ")
        body = await self.reader.readexactly(int(rest.split(b"\r\n")[0])) if found else b""
        self.server.requests.append(head + body)
        return head + body

    async def send(self, *pieces: bytes) -> None:
        """Send pieces such that the other side reads them one by one, as a rule."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.001 if len(pieces) < 100 else 0)

    async def gone(self) -> None:
        """Return when the other side has closed or reset the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.server.gone_at.append(time.monotonic())

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Served:
    """A running server and what it has seen."""

    def __init__(self) -> None:
        self.origin = ""
        self.connections = 0
        self.requests: list[bytes] = []
        self.gone_at: list[float] = []
        self.sent = 0


@asynccontextmanager
async def served(
    script: Callable[[Peer], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Served]:
    """A server on loopback that runs the script for each connection and closes it at the script's end."""
    seen = Served()
    running: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(seen, reader, writer)
        seen.connections += 1
        try:
            await script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(run(reader, writer))
        running.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    seen.origin = f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield seen
    finally:
        server.close()
        for task in running:
            task.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end


@asynccontextmanager
async def connected(
    script: Callable[[Peer], Awaitable[None]], *, timeouts: Timeouts = Timeouts(), reuse_after_stream: bool = False
) -> AsyncGenerator[tuple[Client, Served]]:
    """A server, and a client of it; a test that takes longer than 40 s hangs."""
    async with asyncio.timeout(40), served(script) as server:
        client = Client(server.origin, timeouts=timeouts, reuse_after_stream=reuse_after_stream)
        try:
            yield client, server
        finally:
            await client.aclose()


def always(*response: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Answer every request the same, keeping the connection open."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*response)

    return script


def once(*response: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Answer one request and close the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*response)

    return script


def get(client: Client, target: bytes = b"/", timeouts: Timeouts | None = None) -> Exchanged:
    return client.request(b"GET", target, b"", timeouts=timeouts)


async def fetch(client: Client, method: bytes = b"GET", body: bytes = b"") -> bytes:
    async with client.request(method, b"/", b"", body) as answer:
        return await answer.read()


async def failure(client: Client, timeouts: Timeouts | None = None) -> tuple[ServingError, Exchanged]:
    """The error that a GET ends with, which must come as an error of the family."""
    exchanged = get(client, timeouts=timeouts)
    with pytest.raises(ServingError) as caught:
        async with exchanged as answer:
            await answer.read()
    assert caught.value.detail
    return caught.value, exchanged


async def eventually(true: Callable[[], bool], limit: float = 20.0) -> None:
    async with asyncio.timeout(limit):
        while not true():
            await asyncio.sleep(0.002)


# Requests and responses


async def test_a_request_is_written_as_http_and_its_answer_read() -> None:
    async with connected(always(b"HTTP/1.1 201 Made\r\nX-One: a b\r\nCONTENT-LENGTH: 5\r\n\r\nhello")) as (
        client,
        server,
    ):
        async with client.request(b"POST", b"/v1/x?y=%20z", b"X-Two: b\r\n", b"{}") as answer:
            assert answer.status == 201
            assert answer.headers == [(b"x-one", b"a b"), (b"content-length", b"5")]
            assert [piece async for piece in answer] == [b"hello"]
        await fetch(client)
        await fetch(client, b"POST")
        host = server.origin.removeprefix("http://").encode()
        assert server.requests == [
            b"POST /v1/x?y=%20z HTTP/1.1\r\nHost: " + host + b"\r\nX-Two: b\r\nContent-Length: 2\r\n\r\n{}",
            b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\n\r\n",
        ]
        assert server.connections == 1


async def test_many_requests_at_once_get_their_own_answers() -> None:
    async def script(peer: Peer) -> None:
        while True:
            body = (await peer.request()).partition(b"\r\n\r\n")[2]
            await asyncio.sleep(0.001 * (int(body) % 7))
            await peer.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"
            )

    async with connected(script) as (client, server):
        for _ in range(3):
            bodies = [b"%d" % number for number in range(50)]
            assert await asyncio.gather(*(fetch(client, b"POST", body) for body in bodies)) == bodies
        assert server.connections == 50


RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nEmpty:\r\n\r\nhello\r\n\r\nyou",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n7\r\n\r\n\r\nyou\r\n0\r\nTrailer: t\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello\r\n\r\nyou",
    "until close": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello\r\n\r\nyou",
    "http 1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\nhello\r\n\r\nyou",
}


@pytest.mark.parametrize("kind", RESPONSES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, 160), max_size=12))
async def test_any_splitting_gives_the_same_body(kind: str, cuts: set[int]) -> None:
    await same_body(RESPONSES[kind], sorted(cut for cut in cuts if cut < len(RESPONSES[kind])))


@pytest.mark.parametrize("kind", RESPONSES)
async def test_byte_by_byte_gives_the_same_body(kind: str) -> None:
    await same_body(RESPONSES[kind], list(range(1, len(RESPONSES[kind]))))


async def same_body(response: bytes, cuts: list[int]) -> None:
    pieces = [response[start:end] for start, end in zip([0, *cuts], [*cuts, len(response)], strict=True)]

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            peer.writer.write(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async with connected(script) as (client, _), get(client) as answer:
        got = [piece async for piece in answer]
        assert b"".join(got) == b"hello\r\n\r\nyou"
        assert b"" not in got
        assert answer.status == 200
        assert (b"link", b"</x>") not in answer.headers and (b"trailer", b"t") not in answer.headers


async def test_framing_that_comes_apart_from_its_data_is_no_bloat() -> None:
    frames = [b"800\r\n", bytes(2048), b"\r\n"] * 60
    async with connected(once(STREAM, *frames, b"0\r\n\r\n")) as (client, _):
        assert await fetch(client) == bytes(2048 * 60)


async def test_pieces_that_arrived_together_are_given_as_one() -> None:
    async with (
        connected(always(STREAM + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")) as (client, _),
        get(client) as answer,
    ):
        await asyncio.sleep(0.05)
        assert [piece async for piece in answer] == [b"abc"]


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(method: bytes, response: bytes) -> None:
    async with connected(always(response)) as (client, _):
        for _ in range(2):
            assert await fetch(client, method) == b""


async def test_bytes_after_the_answer_to_head_are_not_its_body() -> None:
    async with connected(always(OK)) as (client, server):
        assert await fetch(client, b"HEAD") == b""
        assert await fetch(client) == b"ok"
        assert server.connections == 2


async def test_a_whole_body_over_the_limit_is_refused() -> None:
    async with connected(always(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + bytes(100))) as (client, _):
        async with get(client) as answer:
            assert await answer.read(100) == bytes(100)
        async with get(client) as answer:
            with pytest.raises(ServingError, match="larger than 99 bytes") as caught:
                await answer.read(99)
            assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize("target", [b"", b"x", b"/a b", b"/a\r\nX: y", b"/a\n", b"/\0", b"/\x7f"])
async def test_a_target_that_breaks_the_request_line_is_refused(target: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        Client("http://127.0.0.1:1").request(b"GET", target, b"")
    assert caught.value.kind == "bad_request"


async def test_a_method_that_breaks_the_request_line_is_refused() -> None:
    with pytest.raises(ServingError):
        Client("http://127.0.0.1:1").request(b"GET / HTTP/1.1\r\n\r\nGET", b"/", b"")


@pytest.mark.parametrize(
    "headers",
    [
        b"A: b",
        b"A: b\n",
        b"A: b\r\n\r\n",
        b"\r\nA: b\r\n",
        b"A: b\nC: d\r\n",
        b"A: \x00\r\n",
        b"A : b\r\n",
        b" A: b\r\n",
        b"Content-Length: 3\r\n",
        b"A: b\r\ntransfer-encoding: chunked\r\n",
        b"HOST: x\r\n",
        b"Expect: 100-continue\r\n",
    ],
)
async def test_header_lines_that_break_the_message_are_refused(headers: bytes) -> None:
    client = Client("http://127.0.0.1:1")
    client.request(b"GET", b"/", b"A: b\r\nHostess: c\r\nX-Bytes: \xc3\xa9\r\n")
    with pytest.raises(ServingError) as caught:
        client.request(b"GET", b"/", headers)
    assert caught.value.kind == "bug"


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "127.0.0.1:80",
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:99999",
        "http://a/v1",
        "http://u:p@a",
        "http://a?b",
        "http://a b",
        "http://[::1",
        "http://" + "a" * 64,
    ],
)
async def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ServingError, match="write http://HOST:PORT") as caught:
        Client(origin)
    assert caught.value.kind == "bad_request"


# The pool


@pytest.mark.parametrize(
    ("response", "connections"),
    [
        (OK, 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 3),
        (OK + b"garbage", 3),
        (OK + OK, 3),
        (STREAM + b"2\r\nok\r\n0\r\n\r\n", 3),
    ],
)
async def test_a_connection_is_used_again_only_when_that_is_safe(response: bytes, connections: int) -> None:
    async with connected(always(response)) as (client, server):
        for _ in range(3):
            assert await fetch(client) == b"ok"
        assert server.connections == connections


async def test_a_stream_of_a_server_known_good_gives_its_connection_back() -> None:
    async with connected(always(STREAM + b"2\r\nok\r\n0\r\n\r\n"), reuse_after_stream=True) as (client, server):
        for _ in range(3):
            assert await fetch(client) == b"ok"
        assert server.connections == 1


async def test_a_server_that_promises_keep_alive_and_closes_costs_no_request() -> None:
    head = STREAM.replace(b"\r\n\r\n", b"\r\nConnection: Keep-Alive\r\n\r\n")
    async with connected(once(head + b"2\r\nok\r\n0\r\n\r\n"), reuse_after_stream=True) as (client, server):
        for _ in range(20):
            assert await fetch(client, b"POST", b"x") == b"ok"
        assert len(server.requests) == 20


async def test_bytes_between_two_requests_spoil_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.02)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")
        await peer.gone()

    async with connected(script) as (client, server):
        assert await fetch(client) == b"ok"
        await eventually(lambda: len(server.gone_at) == 1)
        assert await fetch(client) == b"ok"
        assert server.connections == 2


async def test_bytes_after_the_answer_and_before_leaving_spoil_the_connection() -> None:
    async with connected(always(OK, b"HTTP/1.1 200 OK\r\n")) as (client, server):
        async with get(client) as answer:
            assert await answer.read() == b"ok"
            for _ in range(5):
                # Each is a turn of the loop, in which what has come is read.
                await asyncio.sleep(0.01)
        assert await fetch(client) == b"ok"
        assert server.connections == 2


async def test_the_pool_keeps_no_more_than_its_size_and_uses_the_latest() -> None:
    async def script(peer: Peer) -> None:
        try:
            while True:
                await peer.request()
                await asyncio.sleep(0.02)
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % peer.number)
        except asyncio.IncompleteReadError:
            server.gone_at.append(peer.number)

    async with asyncio.timeout(40), served(script) as server:
        client = Client(server.origin, max_idle=2)
        async with get(client) as first, get(client) as second:
            numbers = [await first.read(), await second.read()]
        # Left inside out: the first to be entered was the last to be given back.
        assert [await fetch(client) for _ in range(3)] == [numbers[0]] * 3
        await asyncio.gather(*(fetch(client) for _ in range(5)))
        await eventually(lambda: len(server.gone_at) == 3)
        await asyncio.gather(*(fetch(client) for _ in range(2)))
        assert server.connections == 5
        await client.aclose()


async def test_a_connection_that_rested_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(always(OK)) as (client, server):
        await fetch(client)
        await fetch(client)
        assert server.connections == 1
        monkeypatch.setattr("trunkcall.net.client.STALE", 0.01)
        await asyncio.sleep(0.05)
        await fetch(client)
        assert server.connections == 2


# A connection that the server closes


def closing_on_reuse(last_words: bytes = b"", reset: bool = False) -> Callable[[Peer], Awaitable[None]]:
    """The first connection answers once; its second request meets `last_words` and a closed socket."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        if peer.number == 0:
            if last_words:
                await peer.send(last_words)
            if reset:
                peer.reset()
            return
        await peer.send(OK)

    return script


@pytest.mark.parametrize("reset", [False, True])
async def test_a_used_connection_closed_without_a_byte_is_replaced_once(reset: bool) -> None:
    async with connected(closing_on_reuse(reset=reset)) as (client, server):
        assert [await fetch(client, b"POST", b"1"), await fetch(client, b"POST", b"2")] == [b"ok", b"ok"]
        assert server.connections == 2
        assert [request[-1:] for request in server.requests] == [b"1", b"2", b"2"]


async def test_the_replacement_is_tried_only_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(OK)
            await peer.request()

    async with connected(script) as (client, server):
        await fetch(client)
        error, exchanged = await failure(client)
        assert (error.kind, exchanged.zero_bytes) == ("upstream_error", True)
        assert len(server.requests) == 3


async def test_a_used_connection_closed_after_a_byte_is_not_replaced() -> None:
    async with connected(closing_on_reuse(b"H")) as (client, server):
        await fetch(client)
        error, exchanged = await failure(client)
        assert (error.kind, exchanged.zero_bytes) == ("upstream_error", False)
        assert len(server.requests) == 2


@pytest.mark.parametrize("reset", [False, True])
async def test_a_fresh_connection_closed_without_a_byte_is_an_error(reset: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if reset:
            peer.reset()

    async with connected(script) as (client, server):
        error, exchanged = await failure(client)
        assert (error.kind, exchanged.zero_bytes) == ("upstream_error", True)
        assert "without an answer" in error.message and server.origin in error.message
        assert len(server.requests) == 1


async def test_a_pooled_connection_that_the_server_closes_leaves_the_pool() -> None:
    async with connected(once(OK)) as (client, server):
        for _ in range(3):
            assert await fetch(client) == b"ok"
            await asyncio.sleep(0.02)
        # Had one been written to after its end, its request would have been written again.
        assert len(server.requests) == server.connections == 3


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n9\r\n",
        STREAM + b"9\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_body_that_breaks_off_is_an_error_after_what_came(head: bytes, reset: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head + b"hello")
        await asyncio.sleep(0.05)
        if reset:
            peer.reset()

    async with connected(script) as (client, _), get(client) as answer:
        assert await anext(answer) == b"hello"
        if head.endswith(b"OK\r\n\r\n") and not reset:
            with pytest.raises(StopAsyncIteration):
                await anext(answer)
            return
        for _ in range(2):
            with pytest.raises(ServingError, match="closed the connection after 5 bytes") as caught:
                await anext(answer)
            assert caught.value.kind == "upstream_error"


async def test_what_came_before_the_break_is_given_before_the_error() -> None:
    async with connected(once(STREAM + b"5\r\nhello\r\n")) as (client, server), get(client) as answer:
        await eventually(lambda: server.connections == 1)
        await asyncio.sleep(0.05)
        assert await anext(answer) == b"hello"
        with pytest.raises(ServingError, match="after 5 bytes"):
            await anext(answer)


async def test_a_server_that_closes_only_its_own_side_has_ended_its_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.writer.write_eof()
        await peer.gone()

    async with connected(script) as (client, server):
        assert await fetch(client) == b"hello"
        await eventually(lambda: len(server.gone_at) == 1)


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 5_000,
        STREAM + b"0\r\nT: " + b"x" * 400_000,
        STREAM + b"5;" + b"x" * 400_000,
    ],
)
async def test_a_malformed_or_bloated_response_is_an_error(response: bytes) -> None:
    async with connected(always(response)) as (client, server):
        error, exchanged = await failure(client)
        assert (error.kind, exchanged.zero_bytes) == ("upstream_error", False)
        assert server.origin in error.message


# Deadlines


async def test_a_silent_server_meets_the_first_byte_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.gone()

    async with connected(script, timeouts=Timeouts(first_byte=0.2)) as (client, server):
        began = time.monotonic()
        error, exchanged = await failure(client)
        assert time.monotonic() - began >= 0.2
        assert error.kind == "upstream_timeout" and "first_byte" in error.message and "0.2 s" in error.message
        assert not exchanged.zero_bytes
        await eventually(lambda: len(server.gone_at) == 1)


@pytest.mark.slow
async def test_a_body_that_stalls_meets_the_idle_timeout_and_a_slow_one_does_not() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for _ in range(5):
            await asyncio.sleep(1.0)
            await peer.send(b"1\r\nx\r\n")
        await peer.gone()

    async with connected(script, timeouts=Timeouts(idle=4.5)) as (client, _), get(client) as answer:
        got = b""
        with pytest.raises(ServingError, match=r"after 5 bytes .* 4.5 s \(timeout `idle`\)") as caught:
            async for piece in answer:
                got += piece
        assert caught.value.kind == "upstream_timeout" and len(got) == 5


async def test_a_body_that_goes_on_meets_the_whole_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        while not peer.writer.is_closing():
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\nx\r\n")

    async with connected(script) as (client, _):
        error, _ = await failure(client, Timeouts(whole=0.3))
        assert error.kind == "upstream_timeout" and "`whole`" in error.message


async def test_a_server_that_does_not_finish_connecting_meets_the_connect_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with asyncio.timeout(40), served(script) as server:
        client = Client(server.origin.replace("http:", "https:"), timeouts=Timeouts(connect=0.2))
        error, exchanged = await failure(client)
        assert error.kind == "upstream_timeout" and "`connect`" in error.message and exchanged.zero_bytes
        await eventually(lambda: len(server.gone_at) == 1)
        await client.aclose()


async def test_a_timeout_while_nothing_runs_does_not_touch_the_pool() -> None:
    async with connected(always(OK), timeouts=Timeouts(first_byte=1.0, idle=1.0, whole=1.0)) as (client, server):
        await fetch(client)
        await asyncio.sleep(1.3)
        await fetch(client)
        assert server.connections == 1


# Back-pressure


async def test_a_reader_who_does_not_read_stops_the_server_and_is_not_timed_out() -> None:
    piece = bytes(range(256)) * 256
    total = 1024

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * total))
        for _ in range(total):
            peer.writer.write(piece)
            await peer.writer.drain()
            peer.server.sent += len(piece)

    async with connected(script, timeouts=Timeouts(idle=1.0)) as (client, server):
        async with get(client) as answer:
            at_rest = 0
            while at_rest < 15:
                before = server.sent
                await asyncio.sleep(0.1)
                at_rest = at_rest + 1 if server.sent == before else 0
            # What both kernels' buffers hold, and ours; without a brake all 64 MiB would have gone.
            assert server.sent < 24 * 2**20
            stalled_at = server.sent
            await asyncio.sleep(0.3)
            assert server.sent == stalled_at
            largest = await anext(answer)
            assert len(largest) < 2**20
            digest = hashlib.sha256(largest)
            async for data in answer:
                digest.update(data)
        assert digest.digest() == hashlib.sha256(piece * total).digest()


async def test_an_answer_that_came_whole_but_was_not_read_leaves_nothing_to_the_next() -> None:
    async def script(peer: Peer) -> None:
        while True:
            target = (await peer.request()).split()[1]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target)

    async with connected(script) as (client, server):
        async with get(client, b"/unread"):
            await asyncio.sleep(0.05)
        async with get(client, b"/read") as answer:
            assert await answer.read() == b"/read"
        assert server.connections == 1


async def test_a_large_request_waits_for_a_slow_server_and_arrives_whole() -> None:
    body = hashlib.shake_256(b"seed").digest(12 * 2**20)

    async def script(peer: Peer) -> None:
        while True:
            await peer.reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.2)
            digest = hashlib.sha256(await peer.reader.readexactly(len(body))).hexdigest().encode()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)

    async with connected(script) as (client, server):
        for _ in range(2):
            assert await fetch(client, b"POST", body) == hashlib.sha256(body).hexdigest().encode()
        assert server.connections == 1


async def test_a_large_request_is_not_heaped_up_before_a_server_that_takes_nothing() -> None:
    async def script(peer: Peer) -> None:
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(40), served(script) as server:
        host, port = server.origin.removeprefix("http://").split(":")
        transport, connection = await loop.create_connection(
            lambda: Connection(loop, server.origin, lambda _: None), host, int(port)
        )
        connection.begin(b"POST / HTTP/1.1\r\n\r\n", False, Timeouts())
        sending = asyncio.create_task(connection.send(bytes(64 * 2**20)))
        await eventually(lambda: transport.get_write_buffer_size() > 0)
        await asyncio.sleep(0.3)
        await eventually(lambda: transport.get_write_buffer_size() > 0)
        assert transport.get_write_buffer_size() < 2**18
        assert not sending.done()
        connection.abort()
        await sending
        await asyncio.sleep(0.02)


async def test_a_server_that_answers_before_it_read_a_large_request_is_heard() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(60)

    async with connected(script) as (client, server):
        for _ in range(2):
            async with client.request(b"POST", b"/", b"", bytes(64 * 2**20)) as answer:
                assert (answer.status, await answer.read()) == (413, b"no")
        assert server.connections == 2


async def test_a_server_that_takes_nothing_of_a_large_request_meets_the_first_byte_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(5)

    async with connected(script, timeouts=Timeouts(first_byte=0.3)) as (client, _):
        with pytest.raises(ServingError, match="first_byte"):
            await fetch(client, b"POST", bytes(64 * 2**20))


# Leaving


async def stay(peer: Peer) -> None:
    """Answer nothing, or the beginning of a stream to /stream, and wait for the other side to leave."""
    head = await peer.reader.readuntil(b"\r\n\r\n")
    if b"/stream" in head:
        await peer.send(STREAM + b"2\r\nok\r\n")
    await peer.gone()


@pytest.mark.parametrize("target", [b"/silent", b"/stream"])
async def test_a_cancelled_task_closes_its_connection_at_once(target: bytes) -> None:
    async with connected(stay) as (client, server):

        async def call() -> None:
            async with get(client, target) as answer:
                await answer.read()

        task = asyncio.create_task(call())
        await eventually(lambda: server.connections == 1)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: len(server.gone_at) == 1)


async def test_a_task_cancelled_while_it_sends_closes_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        await peer.gone()

    async with connected(script) as (client, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await fetch(client, b"POST", bytes(64 * 2**20))
        await eventually(lambda: len(server.gone_at) == 1)


async def test_leaving_before_the_end_closes_the_connection_at_once() -> None:
    async with connected(stay) as (client, server):
        async with get(client, b"/stream") as answer:
            assert await anext(answer) == b"ok"
        await eventually(lambda: len(server.gone_at) == 1)
        with pytest.raises(ServingError, match="had been left"):
            await anext(answer)


async def test_a_cancelled_read_closes_the_connection_though_its_context_goes_on() -> None:
    async with connected(stay) as (client, server), get(client, b"/stream") as answer:
        await anext(answer)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(answer), 0.05)
        await eventually(lambda: len(server.gone_at) == 1)
        with pytest.raises(ServingError, match="given up"):
            await anext(answer)


async def test_pieces_are_poured_until_there_is_no_room_and_reading_goes_on() -> None:
    pieces = [b"2\r\n%02d\r\n" % number for number in range(20)]
    got: list[bytes] = []

    def sink(data: bytes) -> bool:
        got.append(data)
        return b"09" not in data

    script = always(STREAM, *pieces, b"0\r\n\r\n")
    async with connected(script, reuse_after_stream=True) as (client, server):
        async with get(client) as answer:
            await answer.pour(sink)
            assert b"".join(got).endswith(b"09")
            got.append(await anext(answer))
            await answer.pour(sink)
            with pytest.raises(StopAsyncIteration):
                await anext(answer)
        assert b"".join(got) == b"".join(b"%02d" % number for number in range(20))
        await fetch(client)
        assert server.connections == 1


async def test_a_sink_that_refuses_ends_the_answer_with_its_reason() -> None:
    def sink(data: bytes) -> bool:
        raise ServingError("upstream_error", "a frame without end")

    async with connected(stay) as (client, server), get(client, b"/stream") as answer:
        await answer.pour(sink)
        with pytest.raises(ServingError, match="a frame without end"):
            await anext(answer)
        await eventually(lambda: len(server.gone_at) == 1)


async def test_a_break_while_pouring_is_told_after_what_came() -> None:
    got: list[bytes] = []
    async with connected(once(STREAM, b"5\r\nhello\r\n")) as (client, _), get(client) as answer:
        await answer.pour(lambda data: not got.append(data))
        assert b"".join(got) == b"hello"
        with pytest.raises(ServingError, match="after 5 bytes"):
            await anext(answer)


async def test_a_cancelled_pour_closes_the_connection() -> None:
    async with connected(stay) as (client, server), get(client, b"/stream") as answer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.pour(lambda data: True), 0.05)
        await eventually(lambda: len(server.gone_at) == 1)


async def test_two_readers_of_one_answer_are_told() -> None:
    async with connected(stay) as (client, _), get(client, b"/stream") as answer:
        await anext(answer)
        first = asyncio.create_task(answer.read())
        await asyncio.sleep(0.02)
        with pytest.raises(ServingError, match="two tasks"):
            await anext(answer)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_closing_the_client_ends_everything() -> None:
    async def script(peer: Peer) -> None:
        if b"/stream" in await peer.request():
            await peer.send(STREAM + b"2\r\nok\r\n")
        else:
            await peer.send(OK)
        await peer.gone()

    async with connected(script) as (client, server):
        async with get(client, b"/stream") as answer:
            await fetch(client)
            assert await anext(answer) == b"ok"
            await client.aclose()
            with pytest.raises(ServingError) as caught:
                await anext(answer)
            assert caught.value.kind == "upstream_error"
        await eventually(lambda: len(server.gone_at) == 2)
        with pytest.raises(ServingError) as caught:
            await fetch(client)
        assert caught.value.kind == "draining"
        await client.aclose()
    gc.collect()


# Addresses that do not answer, and TLS


async def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{bound.getsockname()[1]}"
        client = Client(origin)
        error, exchanged = await failure(client)
        assert error.kind == "unreachable" and origin in error.message and "server runs" in error.message
        assert exchanged.zero_bytes
        await client.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return cert, key


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_https_is_spoken_pooled_and_left(certificate: tuple[Path, Path]) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if b"/stream" in request:
                await peer.send(STREAM + b"2\r\nok\r\n")
                return await peer.gone()
            body = request.partition(b"\r\n\r\n")[2]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with asyncio.timeout(40), served(script, server_side(certificate)) as server:
        client = Client(server.origin, tls=ssl.create_default_context(cafile=certificate[0]))
        assert await fetch(client, b"POST", b"hello") == b"hello"
        large = hashlib.shake_256(b"seed").digest(3 * 2**20)
        assert await fetch(client, b"POST", large) == large
        assert server.connections == 1
        async with get(client, b"/stream") as answer:
            assert await anext(answer) == b"ok"
        await eventually(lambda: len(server.gone_at) == 1)
        await fetch(client)
        await client.aclose()


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    async with asyncio.timeout(40), served(always(OK), server_side(certificate)) as server:
        client = Client(server.origin)
        error, _ = await failure(client)
        assert error.kind == "unreachable" and "not trusted" in error.message and "SSL_CERT_FILE" in error.message
        assert server.requests == []
        await client.aclose()


async def test_https_to_a_server_without_tls_is_unreachable() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with asyncio.timeout(40), served(script) as server:
        client = Client(server.origin.replace("http:", "https:"))
        error, _ = await failure(client)
        assert error.kind == "unreachable" and "write http://" in error.message
        await client.aclose()
