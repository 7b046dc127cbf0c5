"""Listeners that speak TLS: the same answers, refusals and news of who left as without; and certificates that are none."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from tls_files import self_made

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.net.client import Client
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.server import Limits
from trunkcall.net.tls import identity

pytestmark = pytest.mark.anyio


class Echo:
    """POST /echo gives its body back, in pieces; GET /wait begins and goes on until the client leaves."""

    name = "echo"
    plane: Literal["inference", "control", "worker"] = "inference"

    def __init__(self) -> None:
        self.left = asyncio.Event()

    def routes(self) -> Sequence[Route]:
        return (Route("POST", "/echo", self._echo), Route("GET", "/wait", self._wait))

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, error.message.encode())

    async def _echo(self, exchange: Exchange) -> None:
        body = await exchange.body()
        await exchange.begin(200, [])
        for start in range(0, len(body), 100_000):
            await exchange.write(body[start : start + 100_000])
        await exchange.finish()

    async def _wait(self, exchange: Exchange) -> None:
        watch = exchange.when_gone(self.left.set)
        await exchange.begin(200, [])
        await exchange.write(b"begun")
        await self.left.wait()
        watch.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_made(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def listening(files: tuple[Path, Path], api: Echo, limits: Limits | None = None) -> AsyncIterator[Listening]:
    tls = identity(str(files[0]), str(files[1]))
    opened = Listening(Application([api], max_body=2**23), bind("127.0.0.1", 0), limits, tls)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.aclose()


def client_of(opened: Listening, files: tuple[Path, Path]) -> Client:
    assert opened.url.startswith("https://127.0.0.1:")
    return Client(opened.url, tls=ssl.create_default_context(cafile=str(files[0])))


async def test_answers_and_the_news_of_who_left_pass_through(files: tuple[Path, Path]) -> None:
    api = Echo()
    async with asyncio.timeout(40), listening(files, api) as opened:
        client = client_of(opened, files)
        for body in (b"", b"hello", bytes(range(256)) * 10_000):
            async with client.request(b"POST", b"/echo", b"", body) as answer:
                assert (answer.status, await answer.read(2**23)) == (200, body)
        async with client.request(b"GET", b"/wait", b"") as answer:
            assert await anext(aiter(answer)) == b"begun"
        await api.left.wait()
        await client.aclose()


async def test_a_refused_request_is_answered_and_the_connection_ends(files: tuple[Path, Path]) -> None:
    limits = Limits(linger_time=0.1, sweep=0.05)
    async with asyncio.timeout(40), listening(files, Echo(), limits) as opened:
        context = ssl.create_default_context(cafile=str(files[0]))
        port = int(opened.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"NO SUCH THING\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_plain_http_gets_nothing(files: tuple[Path, Path]) -> None:
    async with asyncio.timeout(40), listening(files, Echo()) as opened:
        client = Client(opened.url.replace("https", "http"))
        with pytest.raises(ServingError) as caught:
            await client.request(b"GET", b"/wait", b"").__aenter__()
        assert caught.value.kind in ("unreachable", "upstream_error")
        await client.aclose()


def test_files_that_cannot_be_used_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = map(str, files)
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    encrypted = tmp_path / "encrypted.pem"
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", key, "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    for pair, said in (
        ((str(tmp_path / "none"), key), "none' cannot be read"),
        ((cert, str(tmp_path)), "cannot be read: Is a directory"),
        ((str(other), key), "no pair"),
        ((cert, cert), "no pair"),
        ((cert, str(encrypted)), "no pair"),
    ):
        with pytest.raises(ServingError) as caught:
            identity(*pair)
        assert caught.value.kind == "bad_request" and said in caught.value.message
