"""The relay on the real server: a client that leaves, stalls or outlives its deadline stops the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response, Route
from trunkcall.net.exchange import Exchange
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.relay import Relay, Reply

pytestmark = pytest.mark.anyio


class Service:
    """An api whose work is watched by the test."""

    name = "service"
    plane: Literal["inference", "control", "worker"] = "inference"

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.running = 0
        self.sent = 0
        self.stayed: list[bool] = []
        self.failed: list[ServingError] = []
        self.deadline: float | None = None

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/silent", self._silent),
            Route("POST", "/flood", self._flood),
            Route("POST", "/short", self._short),
            Route("POST", "/broken", self._broken),
        )

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, error.kind.encode())

    async def _run(self, exchange: Exchange, work: object) -> None:
        await exchange.body()
        self.running += 1
        deadline = None if self.deadline is None else asyncio.get_running_loop().time() + self.deadline
        try:
            self.stayed.append(await self.relay.run(exchange, work, deadline))  # type: ignore[arg-type]
        except ServingError as error:
            self.failed.append(error)
            raise
        finally:
            self.running -= 1

    async def _silent(self, exchange: Exchange) -> None:
        async def work(reply: Reply) -> None:
            await asyncio.sleep(30)

        await self._run(exchange, work)

    async def _flood(self, exchange: Exchange) -> None:
        async def work(reply: Reply) -> None:
            await reply.exchange.begin(200, [(b"content-type", b"text/plain")])
            while True:
                await reply.exchange.write(b"x" * 16384)
                self.sent += 16384

        await self._run(exchange, work)

    async def _short(self, exchange: Exchange) -> None:
        async def work(reply: Reply) -> None:
            await reply.exchange.begin(200, [(b"content-type", b"text/plain"), (b"content-length", b"2")])
            await reply.exchange.finish(b"ok")

        await self._run(exchange, work)

    async def _broken(self, exchange: Exchange) -> None:
        async def work(reply: Reply) -> None:
            raise RuntimeError("a bug")

        await self._run(exchange, work)


@asynccontextmanager
async def serving(relay: Relay) -> AsyncIterator[tuple[Service, int]]:
    service = Service(relay)
    bound = bind("127.0.0.1", 0)
    listening = Listening(Application([service]), bound)
    await listening.start()
    try:
        yield service, bound.getsockname()[1]
    finally:
        await listening.aclose()


async def ask(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    await writer.drain()
    return reader, writer


async def until(check: object) -> None:
    """Wait until check() is true."""
    async with asyncio.timeout(20):
        while not check():  # type: ignore[operator]
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("path", ["/silent", "/flood"])
async def test_client_that_leaves_stops_the_work(path: str) -> None:
    async with serving(Relay()) as (service, port):
        reader, writer = await ask(port, path)
        await until(lambda: service.running == 1)
        if path == "/flood":
            await reader.read(100)
        writer.transport.abort()
        await until(lambda: service.running == 0)
        assert service.stayed == [False]
        assert service.relay.live == 0


async def test_answer_that_ends_normally_is_not_taken_for_a_client_that_left() -> None:
    async with serving(Relay()) as (service, port):
        reader, writer = await ask(port, "/short")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(2) == b"ok"
        # Keep-alive: the same connection answers again.
        writer.write(b"POST /short HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert service.stayed == [True, True]
        writer.close()


async def test_slow_reader_pauses_the_work_and_memory_stays_bounded() -> None:
    async with serving(Relay()) as (service, port):
        _, writer = await ask(port, "/flood")
        await until(lambda: service.sent > 0)
        at_rest = 0
        while at_rest < 5:
            before = service.sent
            await asyncio.sleep(0.1)
            at_rest = at_rest + 1 if service.sent == before else 0
        assert before < 16 * 2**20
        assert service.running == 1
        writer.transport.abort()
        await until(lambda: service.running == 0)


async def test_reader_that_stays_stalled_is_cut() -> None:
    async with serving(Relay(stall_timeout=1.0)) as (service, port):
        _, writer = await ask(port, "/flood")
        await until(lambda: service.running == 1)
        await until(lambda: service.running == 0)
        assert [error.kind for error in service.failed] == ["cancelled"]
        writer.transport.abort()


async def test_deadline_ends_the_work_with_its_own_status(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody waits for a sweep.
    monkeypatch.setattr("trunkcall.net.relay.SWEEP_SECONDS", 60.0)
    async with serving(Relay()) as (service, port):
        service.deadline = 0.1
        reader, writer = await ask(port, "/silent")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 408")
        assert await reader.readexactly(8) == b"deadline"
        writer.close()


async def test_cut_all_ends_everything() -> None:
    async with serving(Relay()) as (service, port):
        writers = [(await ask(port, "/silent"))[1] for _ in range(3)]
        await until(lambda: service.running == 3)
        service.relay.cut_all(ServingError("draining", "ending"))
        await until(lambda: service.running == 0)
        assert await service.relay.drained(20.0)
        assert [error.kind for error in service.failed] == ["draining"] * 3
        for writer in writers:
            writer.close()


async def test_a_bug_is_told_without_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Relay()) as (_, port):
        reader, writer = await ask(port, "/broken")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 500")
        assert await reader.readexactly(3) == b"bug"
        writer.close()
    assert "RuntimeError: a bug" in caplog.text


async def test_many_clients_that_leave_at_random_leave_nothing_behind() -> None:
    async with serving(Relay()) as (service, port):

        async def one(number: int) -> None:
            _, writer = await ask(port, "/silent" if number % 2 else "/flood")
            await asyncio.sleep(number % 7 * 0.003)
            writer.transport.abort()

        await asyncio.gather(*(one(number) for number in range(60)))
        await until(lambda: service.running == 0)
        assert service.relay.live == 0
        # Those that left before their request was read never became work.
        assert set(service.stayed) <= {False}


class Gone:
    """An exchange whose client has left, before anybody was told."""

    complete = False

    def __init__(self) -> None:
        self.asked: list[Response] = []

    async def respond(self, response: Response) -> None:
        self.asked.append(response)


async def test_a_whole_answer_that_nobody_takes_is_cancelled() -> None:
    gone = Gone()
    with pytest.raises(ServingError) as raised:
        await Reply(gone).whole(200, [(b"content-type", b"text/plain")], b"ok")  # type: ignore[arg-type]
    assert raised.value.kind == "cancelled"
    assert gone.asked == [Response(200, b"ok", ((b"content-type", b"text/plain"),))]
