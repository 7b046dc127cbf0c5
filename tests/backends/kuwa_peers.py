"""A small executor and a small kernel that speak Kuwa as the real ones were seen to, and note what they see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.protocols.forms import read_form
from trunkcall.protocols.kuwa import parse_history_ids
from trunkcall.protocols.kuwa_words import ABORTED, BUSY_BODY

PLAIN = ((b"content-type", b"text/html; charset=utf-8"),)


class Fake:
    """What both have: an answer to give in pieces, and notes.

    pieces: of the answer, None breaks off; hold: each piece waits for it, and the head leaves with the first.
    """

    name = "fake"
    plane: Literal["inference", "control", "worker"] = "worker"

    def __init__(self, *pieces: bytes | None) -> None:
        self.pieces = pieces
        self.hold = asyncio.Event()
        self.hold.set()
        self.seen: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.running = 0
        self.abort_seconds = 0.0

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, error.message.encode())

    async def form(self, exchange: Exchange) -> dict[str, str]:
        return read_form(exchange.header(b"content-type"), await exchange.body()).first()

    async def answer(self, exchange: Exchange) -> None:
        """The pieces, until the client leaves."""
        watch = exchange.when_gone(exchange.cancel)
        self.running += 1
        try:
            await exchange.begin(200, [(b"content-type", b"text/event-stream; charset=utf-8")])
            for piece in self.pieces:
                await self.hold.wait()
                if piece is None:
                    raise ServingError("cancelled", "the answer breaks off")
                await exchange.write(piece)
                await asyncio.sleep(0.002)
            await exchange.finish()
            self.seen.append("complete")
        except asyncio.CancelledError:
            self.seen.append("left")
            raise
        finally:
            self.running -= 1
            watch.close()


class Executor(Fake):
    """An executor at /chat. busy: how often it says so first; status: what it answers else."""

    def __init__(self, *pieces: bytes | None, busy: int = 0, status: int = 200) -> None:
        super().__init__(*pieces)
        self.busy = busy
        self.status = status
        self.health = 204
        self.busy_seconds = 0.0
        self.abort_status = 200

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/chat", self._chat),
            Route("GET", "/chat/abort", self._abort),
            Route("GET", "/health", self._health),
        )

    async def _chat(self, exchange: Exchange) -> None:
        self.forms.append(await self.form(exchange))
        self.headers.append(dict(exchange.headers))
        if self.busy:
            self.busy -= 1
            self.seen.append("busy")
            await asyncio.sleep(self.busy_seconds)
            await exchange.respond(Response(429, BUSY_BODY.encode()))
        elif self.status != 200:
            await exchange.respond(Response(self.status, b'{"msg":"what it says"}'))
        else:
            self.seen.append("begun")
            await self.answer(exchange)

    async def _abort(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.abort_seconds)
        self.seen.append("aborted")
        await exchange.respond(Response(self.abort_status, ABORTED.encode()))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.respond(Response(self.health, b""))


class Kernel(Fake):
    """A kernel with so many executors of the name `x`; it forgets a reservation only when it was used.

    verdicts: words that schedule answers first; scheduling: seconds that it takes.
    """

    def __init__(self, *pieces: bytes | None, slots: int = 1, verdicts: Sequence[str] = ()) -> None:
        super().__init__(*pieces)
        self.slots = slots
        self.verdicts = list(verdicts)
        self.scheduling = 0.0
        self.closing: tuple[Header, ...] = ()
        self.status = 200
        self.held: set[tuple[str | None, str | None, str | None]] = set()
        self.most = 0
        self.listing = Response(200, b'["x","y"]')

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/v1.0/worker/schedule", self._schedule),
            Route("POST", "/v1.0/chat/completions", self._complete),
            Route("POST", "/v1.0/chat/abort", self._abort),
            Route("GET", "/v1.0/worker/list", self._list),
            Route("GET", "/v1.0/worker/debug", self._debug),
        )

    async def _schedule(self, exchange: Exchange) -> None:
        form = await self.form(exchange)
        if self.verdicts:
            word = self.verdicts.pop(0)
        elif form["name"] != "x":
            word = "NOMACHINE"
        else:
            word = "READY" if len(self.held) < self.slots else "BUSY"
        if word == "READY":
            self.held.add(_key(form))
            self.most = max(self.most, len(self.held))
        self.seen.append(word)
        await asyncio.sleep(self.scheduling)
        await exchange.respond(Response(200, word.encode(), (*PLAIN, *self.closing)))

    async def _complete(self, exchange: Exchange) -> None:
        form = await self.form(exchange)
        self.forms.append(form)
        self.headers.append(dict(exchange.headers))
        key = _key(form)
        if key not in self.held:
            await exchange.respond(Response(200, b"", PLAIN))
            return
        self.seen.append("begun")
        try:
            if self.status != 200:
                await exchange.respond(Response(self.status, b"<h1>what it says</h1>"))
            elif not self.pieces:
                await exchange.respond(Response(200, b"", PLAIN))
            else:
                await self.answer(exchange)
        finally:
            self.held.discard(key)

    async def _abort(self, exchange: Exchange) -> None:
        form = await self.form(exchange)
        await asyncio.sleep(self.abort_seconds)
        assert parse_history_ids(form["history_id"]) and form["user_id"]
        self.seen.append("aborted")
        await exchange.respond(Response(200, b"Success", PLAIN))

    async def _list(self, exchange: Exchange) -> None:
        await exchange.respond(self.listing)

    async def _debug(self, exchange: Exchange) -> None:
        page = b'<form><textarea name="data" rows="4">{"x": [["http://127.0.0.1:1/chat", "READY", -1, -1]]}</textarea>'
        await exchange.respond(Response(200, page, PLAIN))


def _key(form: dict[str, str]) -> tuple[str | None, str | None, str | None]:
    return form.get("name"), form.get("history_id"), form.get("user_id")


@asynccontextmanager
async def listening(fake: Fake) -> AsyncIterator[str]:
    """The origin where a fake answers."""
    listener = Listening(Application([fake]), bind("127.0.0.1", 0))
    await listener.start()
    try:
        yield listener.url
    finally:
        fake.hold.set()
        await listener.aclose()
