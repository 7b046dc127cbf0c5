"""Parts of a shared stream: one that is left ends alone, and none outlives the whole."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.log import REQUEST
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.net.listeners import Application
from trunkcall.web.shared_stream import SharedStream

pytestmark = pytest.mark.anyio


class Outer:
    """The exchange that is shared; `told` is what its client has read."""

    path, headers, parameters, client, id, principal, unread = "/", [], {}, "::1", "one", "", 0

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.lost = False

    def header(self, name: bytes) -> bytes | None:
        return None

    async def write(self, data: bytes) -> None:
        if self.lost:
            raise ServingError("cancelled", "gone")
        self.push(data)

    def push(self, data: bytes) -> bool:
        kind, told = data.decode().split("\n")[:2]
        self.told.append((kind.removeprefix("event: "), json.loads(told.removeprefix("data: "))))
        return True


def shared(*bodies: bytes) -> tuple[SharedStream, Outer]:
    outer: Any = Outer()
    return SharedStream(outer, [(f"/{place}", body) for place, body in enumerate(bodies)]), outer


async def hangs(exchange: Exchange) -> None:
    """Works, outside of the relay, until it is cancelled."""
    with closing(exchange.when_gone(exchange.cancel)):
        await asyncio.Event().wait()


async def test_a_part_that_is_left_while_it_is_looked_up_is_told_to_have_ended() -> None:
    stream, outer = shared(b"", b"")
    tasks = [asyncio.create_task(stream.run(part, hangs)) for part in stream.parts]
    await asyncio.sleep(0)
    stream.parts[0].leave()
    async with asyncio.timeout(30):
        await tasks[0]
    assert outer.told == [("end", {"part": 0})] and not tasks[1].done()
    # Everything ends, although this one is left in the same moment.
    stream.parts[1].leave()
    tasks[1].cancel()
    await asyncio.wait(tasks, timeout=30)
    assert tasks[1].cancelled() and len(outer.told) == 1


async def test_a_part_that_was_left_before_it_began_does_nothing() -> None:
    stream, outer = shared(b"")
    stream.leave()
    async with asyncio.timeout(30):
        await stream.run(stream.parts[0], hangs)
    assert outer.told == [("end", {"part": 0})]


async def test_nobody_is_told_when_the_client_has_left() -> None:
    stream, outer = shared(b"")
    outer.lost = True
    async with asyncio.timeout(30):
        await stream.run(stream.parts[0], Application([Words()]).handle)
    assert outer.told == []


async def test_each_part_has_its_own_path_body_and_log_lines() -> None:
    stream, outer = shared("é".encode(), b"two", b"three")
    words = Words()
    handle = Application([words]).handle
    for part in stream.parts:
        await asyncio.create_task(stream.run(part, handle))
    assert words.seen == [("/0", "é", "one-0", False), ("/1", "two", "one-1", False)]
    assert all(part.complete for part in stream.parts)
    heads = [told for kind, told in outer.told if kind == "head"]
    assert [(head["status"], head["headers"]["x-trunkcall-request-id"]) for head in heads] == [
        (200, "one-0"),
        (500, "one-1"),
        (404, "one-2"),
    ]
    assert [told["text"] for kind, told in outer.told if kind == "body"] == ["é", "bug", "no_route"]


class Words:
    """An api that repeats what it is sent at /0, and fails at /1."""

    name = "words"
    plane = "inference"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, bool]] = []

    def routes(self) -> Any:
        return [Route("POST", path, self._answer) for path in ("/0", "/1")]

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, error.kind.encode())

    async def _answer(self, exchange: Exchange) -> None:
        body = await exchange.body()
        logged = REQUEST.get()
        assert logged is not None
        self.seen.append((exchange.path, body.decode(), logged.id, logged.complete))
        if exchange.path == "/1":
            raise ValueError
        await exchange.begin(200, ())
        # In the middle of a character.
        await exchange.write(body[:1])
        exchange.push(body[1:])
        await exchange.finish()
