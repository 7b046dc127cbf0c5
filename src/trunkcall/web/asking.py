"""Several questions in one request, their answers side by side in one stream.

A browser opens six connections to a server at most, so that eight answers at once need a way to share one. Each
question is a call like any other, with the caller's key, limits and a line in the ledger.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from trunkcall.control.calls import GenerateCall
from trunkcall.control.services import Services
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.core.requests import Wire
from trunkcall.protocols import openai as codec
from trunkcall.protocols import own_json
from trunkcall.web.shared_stream import Part, SharedStream

MOST_PARTS: Final = 16

_Body = TypeVar("_Body", bound=msgspec.Struct)

_HEAD: Final = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them: a path of the OpenAI API, and what would be POSTed there."""

    path: Literal["/v1/chat/completions", "/v1/completions"]
    body: dict[str, Any]


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
        self._serving = services.serving
        self._streams: dict[str, SharedStream] = {}

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (Route("POST", "/web/api/ask", self._ask), Route("POST", "/web/api/ask/stop", self._stop))

    async def _ask(self, exchange: Exchange) -> None:
        asked = await _read(exchange, _QUESTIONS)
        name = secrets.token_urlsafe(12)
        stream = self._streams[name] = SharedStream(exchange, len(asked.questions))
        watch = exchange.when_gone(stream.leave)
        try:
            await exchange.begin(200, _HEAD)
            await stream.tell("stream", {"stream": name})
            async with asyncio.TaskGroup() as tasks:
                for question, part in zip(asked.questions, stream.parts, strict=True):
                    tasks.create_task(stream.run(part, partial(self._answer, question)))
            await exchange.finish()
        finally:
            watch.close()
            del self._streams[name]

    async def _answer(self, question: Question, part: Part) -> None:
        body = msgspec.json.encode(question.body)
        head = codec.read_head(body)
        chat = question.path == "/v1/chat/completions"
        read, emit = (codec.read_chat, codec.ChatEmitter) if chat else (codec.read_completion, codec.CompletionEmitter)
        call = GenerateCall(
            model=head.model,
            stream=head.stream,
            wire=Wire("openai", question.path.removeprefix("/v1"), part.headers, body),
            read=partial(read, body),
            emitter=lambda request: emit(request, head.stream),
            failure=codec.failure,
            fault=codec.fault_frame,
            comment=codec.comment_frame,
            most=head.most if chat else None,
        )
        await self._serving.serve(part, call)

    async def _stop(self, exchange: Exchange) -> None:
        asked = await _read(exchange, _STOP)
        stream = self._streams.get(asked.stream)
        if stream is not None and stream.exchange.principal == exchange.principal:
            for part in stream.parts[asked.part : asked.part + 1]:
                part.leave()
        # One that has ended meanwhile is stopped, too.
        await exchange.respond(Response(200, b"{}"))


async def _read(exchange: Exchange, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    own_json.check_content_type(exchange.header(b"content-type"))
    return own_json.read_body(await exchange.body(), decoder)
