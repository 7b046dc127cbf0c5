"""Listeners: which handler answers, what unrouted and failed requests are told, other origins, taken ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Api, Response, Route
from trunkcall.net.exchange import Exchange
from trunkcall.net.listeners import Application, Guard, Listening, RouteTable, bind

pytestmark = pytest.mark.anyio


class Words:
    """An api that says which handler answered."""

    plane: Literal["inference", "control", "worker"] = "inference"

    def __init__(self, name: str, *routes: tuple[str, str]) -> None:
        self.name = name
        self._routes = routes

    def routes(self) -> Sequence[Route]:
        return [Route(method, path, self._answer) for method, path in self._routes]

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, f"{self.name}: {error.kind}: {error.message}".encode())

    async def _answer(self, exchange: Any) -> None:
        body = await exchange.body()
        if exchange.path == "/bug":
            raise RuntimeError("a bug")
        if exchange.path == "/conflict":
            raise ServingError("conflict", "taken")
        await exchange.respond(
            Response(200, f"{self.name} {exchange.parameters} {exchange.principal} {len(body)}".encode())
        )


WORDS = Words(
    "words",
    ("GET", "/a"),
    ("POST", "/a"),
    ("GET", "/m/{name}/x"),
    ("GET", "/f/{rest*}"),
    ("GET", "/bug"),
    ("POST", "/conflict"),
)


@asynccontextmanager
async def listening(
    *apis: Api, max_body: int = 1000, cors: Sequence[str] = (), guard: Guard | None = None
) -> AsyncIterator[Listening]:
    opened = Listening(Application(apis or [WORDS], max_body=max_body, cors=cors, guard=guard), bind("127.0.0.1", 0))
    await opened.start()
    try:
        yield opened
    finally:
        await opened.aclose()


async def ask(opened: Listening, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(opened.url.rpartition(":")[2]))
    head = [f"{line} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    said = (await asyncio.wait_for(reader.read(), 20)).decode()
    writer.close()
    first, *lines = said.partition("\r\n\r\n")[0].split("\r\n")
    return int(first.split()[1]), dict(one.split(": ", 1) for one in lines), said.partition("\r\n\r\n")[2]


def test_two_apis_cannot_claim_one_route() -> None:
    with pytest.raises(ValueError, match="claimed by both one and two"):
        RouteTable([Words("one", ("GET", "/m/{a}")), Words("two", ("GET", "/m/{b}"))])
    RouteTable([Words("one", ("GET", "/m/{a}")), Words("two", ("POST", "/m/{a}"))])


def test_table_finds_exact_paths_before_patterns() -> None:
    table = RouteTable([Words("one", ("GET", "/m/{a*}")), Words("two", ("GET", "/m/b"))])
    exact, pattern = table.find("GET", "/m/b"), table.find("GET", "/m/b/c")
    assert exact is not None and exact[1].name == "two" and exact[2] == {}
    assert pattern is not None and pattern[1].name == "one" and pattern[2] == {"a": "b/c"}
    assert table.find("GET", "/m/") is None
    assert table.methods("/m/b") == ["GET"]
    assert [owner and owner.name for owner in map(table.owner, ("/m/b", "/m/b/c", "/n"))] == ["two", "one", None]


async def test_routes_parameters_and_what_is_not_routed() -> None:
    async with listening() as opened:
        assert (await ask(opened, "POST /a", body=b"four"))[::2] == (200, "words {}  4")
        assert (await ask(opened, "GET /m/a%20b/x?q=1"))[2] == "words {'name': 'a b'}  0"
        assert (await ask(opened, "GET /f/a/b"))[2] == "words {'rest': 'a/b'}  0"
        status, headers, _ = await ask(opened, "PUT /a")
        assert status == 405 and headers["allow"] == "GET, POST"
        status, _, said = await ask(opened, "GET /nothing")
        assert status == 404 and said.startswith("words: no_route: ")
        assert (await ask(opened, "OPTIONS *"))[0] == 404


async def test_failures_are_told_in_the_apis_words(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as opened:
        assert (await ask(opened, "POST /conflict"))[::2] == (409, "words: conflict: taken")
        status, headers, said = await ask(opened, "GET /bug")
        assert status == 500 and headers["x-trunkcall-request-id"] in said and "a bug" not in said
        status, _, said = await ask(opened, "POST /a", body=b"x" * 1001)
        assert status == 413 and "limit of 1000 bytes" in said
    assert "RuntimeError: a bug" in caplog.text


async def test_guard_decides_before_the_handler() -> None:
    def guard(exchange: Exchange, api: Api) -> None:
        if exchange.header(b"authorization") is None:
            raise ServingError("unauthenticated", f"no key for {api.name}")
        exchange.principal = "me"

    async with listening(guard=guard) as opened:
        assert (await ask(opened, "GET /a"))[::2] == (401, "words: unauthenticated: no key for words")
        assert (await ask(opened, "GET /a", "Authorization: k"))[::2] == (200, "words {} me 0")


async def test_other_origins_read_only_what_they_may() -> None:
    async with listening() as opened:
        assert "access-control-allow-origin" not in (await ask(opened, "GET /a", "Origin: http://a"))[1]
    async with listening(cors=["http://a"]) as opened:
        assert (await ask(opened, "GET /a", "Origin: http://a"))[1]["access-control-allow-origin"] == "http://a"
        assert "access-control-allow-origin" not in (await ask(opened, "GET /a", "Origin: http://b"))[1]
        status, headers, _ = await ask(opened, "OPTIONS /a", "Origin: http://a", "Access-Control-Request-Headers: x-a")
        assert status == 204 and headers["access-control-allow-methods"] == "GET, POST"
        assert headers["access-control-allow-headers"] == "x-a"
        assert (await ask(opened, "OPTIONS /a", "Origin: http://b"))[0] == 403
    async with listening(cors=["*"]) as opened:
        assert (await ask(opened, "GET /a", "Origin: http://b"))[1]["access-control-allow-origin"] == "*"


async def test_taken_port_is_told_with_the_remedy_and_free_again_after_the_end() -> None:
    async with listening() as opened:
        port = int(opened.url.rpartition(":")[2])
        with pytest.raises(ServingError, match="--port") as caught:
            bind("127.0.0.1", port)
        assert caught.value.kind == "conflict"
    bind("127.0.0.1", port).close()
