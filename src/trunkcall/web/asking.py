"""Several questions in one request, their answers side by side in one stream.

A browser opens six connections to a server at most, so that eight answers at once need a way to share one. Each
question is a call like any other: answered by the api that this listener has at its path, with the caller's key,
limits and a line in the ledger.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from trunkcall.control.services import Services
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols.frames import LIVE_HEAD
from trunkcall.protocols.own_json import json_body, read_body
from trunkcall.web.shared_stream import SharedStream

MOST_PARTS: Final = 16


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them: a path of the OpenAI API, and what would be POSTed there."""

    path: Literal["/v1/chat/completions", "/v1/completions"]
    body: msgspec.Raw


class Questions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked at once; answers are told apart by a question's place in the list."""

    questions: Annotated[list[Question], msgspec.Meta(min_length=1, max_length=MOST_PARTS)]


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of a stream is not wanted any longer."""

    stream: str
    part: Annotated[int, msgspec.Meta(ge=0)]


_QUESTIONS: Final = msgspec.json.Decoder(Questions)
_STOP: Final = msgspec.json.Decoder(Stop)


class Asking:
    """Two routes of the page's own api.

    The answer is a stream of events: `stream` {stream}, then of each question `head` {part, status, headers} and
    `body` {part, text} as it comes, and `end` {part}. Who leaves stops all of them.
    """

    def __init__(self, services: Services) -> None:
        self._answer = services.answer
        self._streams: dict[str, SharedStream] = {}

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (Route("POST", "/web/api/ask", self._ask), Route("POST", "/web/api/ask/stop", self._stop))

    async def _ask(self, exchange: Exchange) -> None:
        asked = read_body(await json_body(exchange), _QUESTIONS)
        name = secrets.token_urlsafe(12)
        stream = self._streams[name] = SharedStream(
            exchange, [(question.path, bytes(question.body)) for question in asked.questions]
        )
        watch = exchange.when_gone(stream.leave)
        try:
            await exchange.begin(200, LIVE_HEAD)
            await stream.tell("stream", {"stream": name})
            async with asyncio.TaskGroup() as tasks:
                for part in stream.parts:
                    tasks.create_task(stream.run(part, self._answer))
            await exchange.finish()
        finally:
            watch.close()
            del self._streams[name]

    async def _stop(self, exchange: Exchange) -> None:
        asked = read_body(await json_body(exchange), _STOP)
        stream = self._streams.get(asked.stream)
        if stream is not None and stream.exchange.principal == exchange.principal:
            for part in stream.parts[asked.part : asked.part + 1]:
                part.leave()
        # One that has ended meanwhile is stopped, too.
        await exchange.respond(Response(200, b"{}"))
