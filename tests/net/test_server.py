"""The HTTP server on real sockets: framing, order, limits, clients that leave, and its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote_to_bytes

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response
from trunkcall.net.exchange import Exchange
from trunkcall.net.listeners import bind
from trunkcall.net.server import Limits, Server

pytestmark = pytest.mark.anyio

PATIENT = Limits(linger_time=20.0)
"""Whoever was refused has time to read the answer, though this machine stands still for seconds."""
QUICK = Limits(head_time=0.2, body_time=0.2, idle_time=0.4, linger_time=0.2, sweep=0.05)


class Echo:
    """Answers by path and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Exchange] = []
        self.bodies: list[bytes] = []
        self.failed: list[str] = []
        self.running = 0
        self.gone = 0
        self.go = asyncio.Event()
        self.server: Server | None = None

    async def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        self.running += 1
        try:
            await self._answer(exchange)
        except ServingError as error:
            self.failed.append(error.kind)
            await exchange.respond(Response(error.status, error.kind.encode()))
        finally:
            self.running -= 1

    async def _answer(self, exchange: Exchange) -> None:
        match exchange.path:
            case "/unread":
                await exchange.respond(Response(200, b"unread"))
                return
            case "/refuse":
                raise ServingError("unauthenticated", "no key")
        body = await exchange.body()
        self.bodies.append(body)
        match exchange.path:
            case "/stream":
                await exchange.begin(200, [(b"content-type", b"text/plain")])
                for piece in (b"one", b"", b"two"):
                    await exchange.write(piece)
                await exchange.finish(b"three")
            case "/counted":
                await exchange.begin(200, [(b"content-length", b"4")])
                await exchange.write(b"12")
                await exchange.finish(b"34")
            case "/short":
                await exchange.begin(200, [(b"content-length", b"4")])
                await exchange.finish(b"12")
            case "/long":
                await exchange.begin(200, [(b"content-length", b"1")])
                await exchange.finish(b"12")
            case "/empty":
                await exchange.respond(Response(204, b"", ()))
            case "/inject":
                await exchange.respond(Response(200, b"", ((b"x-a", unquote_to_bytes(exchange.query)),)))
            case "/bug":
                raise RuntimeError("a bug")
            case "/half":
                await exchange.begin(200, [])
                await exchange.write(b"half")
                raise RuntimeError("a bug")
            case "/wait":
                gone = asyncio.Event()

                def left() -> None:
                    self.gone += 1
                    gone.set()

                watch = exchange.when_gone(left)
                try:
                    await asyncio.wait_for(gone.wait(), 20)
                finally:
                    watch.close()
            case "/slow":
                await asyncio.sleep(0.15)
                await exchange.respond(Response(200, b"slow"))
            case "/held":
                await self.go.wait()
                await exchange.respond(Response(200, b"held"))
            case "/flood":
                await exchange.begin(200, [])
                while True:
                    await exchange.write(b"x" * 65536)
            case "/large":
                await exchange.respond(Response(200, b"x" * 8_000_000))
            case _:
                await exchange.respond(
                    Response(200, exchange.method.encode() + b" " + exchange.path.encode() + b" " + body)
                )


@asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[tuple[Echo, int]]:
    echo = Echo()
    server = echo.server = Server(echo.handle, limits)
    bound = bind("127.0.0.1", 0)
    await server.start(bound)
    try:
        yield echo, bound.getsockname()[1]
    finally:
        await server.aclose()
        bound.close()
        assert not server.peers
        assert echo.running == 0


async def talk(port: int, *pieces: bytes, pause: float = 0.01) -> bytes:
    """Everything the server says to these pieces until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            if writer.transport.is_closing():
                break
            writer.write(piece)
            if len(pieces) > 1:
                await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def until(check: object) -> None:
    async with asyncio.timeout(20):
        while not check():  # type: ignore[operator]
            await asyncio.sleep(0.001)


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


CLOSE = "Connection: close"


async def test_whole_answer_has_its_head_and_one_body() -> None:
    async with serving() as (echo, port):
        said = await talk(port, post("/a%20b?q=%20", b"body", CLOSE, "X-Two:  v \t"))
    head, _, body = said.partition(b"\r\n\r\n")
    assert body == b"POST /a b body"
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert lines[1].startswith(b"date: ") and lines[1].endswith(b" GMT")
    assert b"content-length: 14" in lines and b"connection: close" in lines
    exchange = echo.seen[0]
    assert b"x-trunkcall-request-id: " + exchange.id.encode() in lines
    assert exchange.query == b"q=%20"
    assert exchange.header(b"x-two") == b"v"
    assert exchange.client == "127.0.0.1"


async def test_stream_is_chunked_counted_or_ends_with_the_connection() -> None:
    async with serving() as (_, port):
        chunked = await talk(port, get("/stream", CLOSE))
        assert b"transfer-encoding: chunked\r\n" in chunked
        assert chunked.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
        old = await talk(port, get("/stream", version="1.0"))
        assert b"chunked" not in old and b"connection: close\r\n" in old
        assert old.endswith(b"\r\n\r\nonetwothree")
        counted = await talk(port, get("/counted", CLOSE))
        assert b"chunked" not in counted and counted.endswith(b"\r\n\r\n1234")


async def test_http_1_0_stays_only_when_asked_to() -> None:
    async with serving() as (_, port):
        stays = get("/a", "Connection: Keep-Alive", version="1.0")
        said = await talk(port, stays + get("/b", version="1.0"))
        assert said.count(b"HTTP/1.1 200") == 2
        assert said.count(b"connection: keep-alive") == 1 and said.count(b"connection: close") == 1


async def test_head_has_a_length_and_no_body_and_204_neither() -> None:
    async with serving() as (_, port):
        said = await talk(port, get("/a", method="HEAD") + get("/stream", method="HEAD") + get("/empty", CLOSE))
        first, second, third, rest = said.split(b"\r\n\r\n")
        assert b"content-length: 8" in first
        assert second.startswith(b"HTTP/1.1 200") and third.startswith(b"HTTP/1.1 204") and rest == b""
        assert b"content-length" not in third and b"transfer-encoding" not in third


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_pipelined_requests_are_answered_in_order_however_they_arrive(step: int) -> None:
    stream = b"\r\n".join(
        [
            get("/slow") + post("/1", b"x" * 5),
            get("/2", "Transfer-Encoding: chunked", method="POST") + b"3;a=b\r\nabc\r\n0\r\nT: r\r\n\r\n",
            get("/3", CLOSE),
        ]
    )
    async with serving() as (echo, port):
        said = await talk(port, *(stream[i : i + step] for i in range(0, len(stream), step)), pause=0)
        assert [e.path for e in echo.seen] == ["/slow", "/1", "/2", "/3"]
        assert echo.bodies == [b"", b"xxxxx", b"abc", b""]
        found = [said.index(part) for part in (b"slow", b"POST /1 xxxxx", b"POST /2 abc", b"GET /3 ")]
        assert found == sorted(found)


async def test_reading_pauses_while_much_is_queued_and_all_is_answered() -> None:
    one = post("/1", b"x" * 1000)
    async with serving() as (echo, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/held") + one * 2000 + get("/end", CLOSE))
        await until(lambda: echo.running == 1)
        await asyncio.sleep(0.05)
        assert len(echo.seen) == 1
        # Much of the 2 MB is still on our side or in the kernel.
        assert echo.server is not None
        assert sum(len(peer._held) for peer in echo.server.peers) < 600_000
        echo.go.set()
        said = await asyncio.wait_for(reader.read(), 40)
        assert said.count(b"HTTP/1.1 200") == 2002
        writer.close()


async def test_expect_is_answered_only_when_the_body_is_wanted() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/1", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await asyncio.wait_for(reader.readuntil(b"POST /1 ok"), 20)).startswith(b"HTTP/1.1 200")
        writer.close()
        said = await talk(port, get("/refuse", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert said.startswith(b"HTTP/1.1 401") and b"connection: close" in said


async def test_upgrade_is_ignored_and_its_body_kept() -> None:
    async with serving() as (echo, port):
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        said = await talk(port, post("/1", b"GET /evil HTTP/1.1\r\n\r\n", *upgrade) + get("/2", CLOSE))
        assert said.count(b"HTTP/1.1 200") == 2
        assert echo.bodies == [b"GET /evil HTTP/1.1\r\n\r\n", b""]


BAD = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "same length twice": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    "signed length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "huge length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
    "coding in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "folded first": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare lf": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare lf in a field": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n",
    "bare cr": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
    "nul": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nb\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "absolute form": b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "authority form": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "rtsp": b"POST / RTSP/1.1\r\nHost: x\r\n\r\n",
    "0.9": b"GET /\r\n\r\n",
    "2.0": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "two empty lines": b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01",
    "empty size": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "size in words": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "space after size": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "chunk too long": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk without its end": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n",
    "bad trailer": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n",
    "framing in a trailer": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    "lf in chunks": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("split", [False, True])
async def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_heard(name: str, split: bool) -> None:
    async with serving(PATIENT) as (echo, port):
        stream = BAD[name] + get("/smuggled")
        said = await talk(port, *([bytes((byte,)) for byte in stream] if split else [stream]), pause=0)
        assert said.startswith(b"HTTP/1.1 400 ") and said.count(b"\r\ndate: ") == 1
        assert b"connection: close" in said
        assert "/smuggled" not in [exchange.path for exchange in echo.seen]
        if not echo.seen:
            assert b'{"error":{"message":' in said and b'"type":"invalid_request_error"' in said


async def test_other_codings_are_not_implemented() -> None:
    async with serving() as (echo, port):
        said = await talk(port, get("/", "Transfer-Encoding: gzip, chunked", method="POST"))
        assert said.startswith(b"HTTP/1.1 501 ") and not echo.seen


async def test_heads_over_the_limits_are_refused() -> None:
    async with serving() as (echo, port):
        for stream in (
            get("/", "A: " + "b" * 70_000),
            b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000,
            get("/", *[f"A{i}: b" for i in range(256)]),
        ):
            assert (await talk(port, stream)).startswith(b"HTTP/1.1 431 ")
        assert not echo.seen
        assert (await talk(port, get("/", CLOSE, *[f"A{i}: b" for i in range(254)]))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_the_limit_is_answered_though_the_client_goes_on_sending(chunked: bool) -> None:
    size = 1_000_000
    if chunked:
        stream = get("/1", "Transfer-Encoding: chunked", method="POST") + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
    else:
        stream = post("/1", b"x" * size)
    async with serving(Limits(body=1000, linger_time=20.0)) as (echo, port):
        said = await talk(port, *(stream[i : i + 50_000] for i in range(0, len(stream), 50_000)), pause=0.001)
        assert said.startswith(b"HTTP/1.1 413 ") and b"connection: close" in said
        assert echo.failed == ["too_large"] and echo.bodies == []


async def test_large_body_comes_whole_and_an_unread_one_ends_the_connection() -> None:
    body = bytes(range(256)) * 4000
    async with serving() as (echo, port):
        await talk(port, post("/stream", body, CLOSE))
        assert echo.bodies == [body]
        said = await talk(
            port, get("/unread", "Content-Length: 900000", method="POST"), b"GET /smuggled HTTP/1.1\r\n\r\n"
        )
        assert said.endswith(b"unread") and b"connection: close" in said
        assert [e.path for e in echo.seen] == ["/stream", "/unread"]


async def test_slow_heads_and_bodies_are_ended_with_408_and_idle_connections_in_silence() -> None:
    async with serving(QUICK) as (echo, port):
        assert await talk(port) == b""
        assert await talk(port, b"\r\n") == b""
        assert (await talk(port, b"GET /")).startswith(b"HTTP/1.1 408 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        for _ in range(60):
            writer.write(b"x")
            await asyncio.sleep(0.02)
            if answer.done():
                break
        assert (await answer).startswith(b"HTTP/1.1 408 ")
        writer.close()
        assert (await talk(port, get("/", "Content-Length: 5", method="POST"))).startswith(b"HTTP/1.1 408 ")
        assert not echo.seen
        assert (await talk(port, get("/", "Content-Length: 90000", method="POST"))).startswith(b"HTTP/1.1 408 ")
        assert echo.failed == ["deadline"]
        said = await talk(port, get("/1"))
        assert said.startswith(b"HTTP/1.1 200 ") and said.count(b"HTTP/1.1") == 1


@pytest.mark.slow
async def test_slow_answers_and_progressing_bodies_are_not_cut() -> None:
    async with serving(Limits(head_time=4.0, body_time=4.0, idle_time=4.0, sweep=0.02)) as (echo, port):
        asyncio.get_running_loop().call_later(5.0, echo.go.set)
        pieces = [get("/1", "Content-Length: 12", CLOSE, method="POST"), *[b"x"] * 12]
        slow, body = await asyncio.gather(talk(port, get("/held", CLOSE)), talk(port, *pieces, pause=0.5))
        assert b"held" in slow
        assert body.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
async def test_client_that_leaves_is_noticed_at_once(how: str) -> None:
    async with serving() as (echo, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/wait"))
        await until(lambda: echo.running == 1)
        if how == "half-close":
            writer.write_eof()
        elif how == "close":
            writer.close()
        else:
            writer.transport.abort()
        await until(lambda: echo.running == 0)
        assert echo.gone == 1
        await until(lambda: not echo.server.peers)  # type: ignore[union-attr]
        writer.close()


async def test_writing_to_a_client_that_left_ends() -> None:
    async with serving() as (echo, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/flood"))
        await reader.read(1000)
        writer.transport.abort()
        await until(lambda: echo.running == 0)
        assert echo.failed == ["cancelled"]


async def test_client_that_leaves_within_its_body_ends_the_handler() -> None:
    async with serving() as (echo, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/1", "Transfer-Encoding: chunked", method="POST") + b"5\r\nab")
        await until(lambda: echo.running == 1)
        writer.close()
        await until(lambda: echo.running == 0)
        assert echo.failed == ["cancelled"] and echo.bodies == []


async def test_answer_is_sent_whole_to_a_reader_slower_than_the_idle_limit_and_cut_for_one_that_stops() -> None:
    async with serving(Limits(idle_time=0.1, linger_time=0.1, sweep=0.02)) as (echo, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(get("/large"))
        await until(lambda: len(echo.seen) == 1)
        await until(lambda: not echo.server.peers)  # type: ignore[union-attr]
        writer.close()


@pytest.mark.parametrize("path", ["/short", "/long", "/half", "/bug"])
async def test_answer_that_is_not_whole_ends_without_its_end(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (_, port):
        said = await talk(port, get(path) + get("/next"))
        assert said.count(b"HTTP/1.1") <= 1
        assert b"/next" not in said and b"0\r\n\r\n" not in said
    assert ("RuntimeError: a bug" in caplog.text) == (path in ("/half", "/bug"))


@pytest.mark.parametrize("value", ["a%0D%0Aevil:%201", "a%0Aevil:%201", "a%0Devil", "evil%0A", "%0D%0Aevil", "evil%00"])
async def test_header_with_a_line_break_is_refused(value: str) -> None:
    async with serving() as (echo, port):
        said = await talk(port, get(f"/inject?{value}", CLOSE))
        assert said.startswith(b"HTTP/1.1 500") and b"evil" not in said
        assert echo.failed == ["bug"]


async def test_small_writes_are_sent_at_once() -> None:
    async with serving() as (echo, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/wait"))
        await until(lambda: echo.running == 1)
        (peer,) = echo.server.peers  # type: ignore[union-attr]
        plug = peer._transport.get_extra_info("socket")
        assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


async def test_end_closes_idle_connections_and_lets_answers_finish() -> None:
    async with serving() as (echo, port):
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        busy, busy_writer = await asyncio.open_connection("127.0.0.1", port)
        idle_writer.write(get("/1"))
        await idle.readuntil(b"GET /1 ")
        busy_writer.write(get("/held") + get("/next"))
        await until(lambda: echo.running == 1)
        assert echo.server is not None
        echo.server.stop_accepting()
        assert await asyncio.wait_for(idle.read(), 20) == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        echo.go.set()
        said = await asyncio.wait_for(busy.read(), 20)
        assert said.endswith(b"held") and b"connection: close" in said
        idle_writer.close()
        busy_writer.close()


async def test_end_cancels_what_takes_too_long() -> None:
    async with serving() as (echo, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/wait"))
        await until(lambda: echo.running == 1)
        assert echo.server is not None
        await echo.server.aclose(grace=0.05)
        assert echo.running == 0 and not echo.server.peers
        writer.close()


async def test_random_departures_leave_nothing_behind() -> None:
    paths: Sequence[str] = ("/wait", "/flood", "/slow", "/1", "/stream")
    async with serving() as (echo, port):

        async def one(number: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stream = post(paths[number % 5], b"x" * 200) * (1 + number % 3)
            writer.write(stream[: len(stream) - number * 37 % 300])
            await asyncio.sleep(number % 11 * 0.002)
            writer.transport.abort()

        await asyncio.gather(*(one(number) for number in range(150)))
        await until(lambda: echo.running == 0)
        await until(lambda: not echo.server.peers)  # type: ignore[union-attr]
