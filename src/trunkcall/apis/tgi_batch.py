"""Several requests in one, as Vertex AI sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, Final

import msgspec

from trunkcall.apis.tgi_inner import Collecting
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response
from trunkcall.protocols.openai_decode import check_text, decode
from trunkcall.protocols.tgi import failure

_OK: Final = 200


class _Vertex(msgspec.Struct):
    instances: list[msgspec.Raw]


class _Answered(msgspec.Struct):
    generated_text: str


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Chatted(msgspec.Struct):
    choices: list[_Choice]


_vertex: Final = msgspec.json.Decoder(_Vertex)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_answered: Final = msgspec.json.Decoder(_Answered)
_chatted: Final = msgspec.json.Decoder(_Chatted)

Answer = Callable[[Exchange, bytes], Awaitable[None]]


async def vertex(exchange: Exchange, body: bytes, most: int, generate: Answer, chat: Answer) -> None:
    """Answer each of `instances` at the same time, with its text as prediction; the first that fails is the answer.

    most: instances; generate, chat: answer one of either shape. Raises ServingError (bad_request) for a body that is
    none, cancelled when the client left.
    """
    check_text(body)
    instances = decode(_vertex, body).instances
    if len(instances) > most:
        raise ServingError(
            "bad_request", f"instances: {len(instances)} are more than the {most} of one request", param="instances"
        )
    shapes = [(decode(_fields, raw, f"instances[{place}]"), raw) for place, raw in enumerate(instances)]
    with closing(exchange.when_gone(exchange.cancel)):
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_one(exchange, place, _whole(fields), chat if "messages" in fields else generate))
                for place, (fields, _) in enumerate(shapes)
            ]
    answers = [task.result() for task in running]
    failed = next((answer for answer in answers if answer.status != _OK), None)
    if failed is not None:
        await exchange.respond(failed)
        return
    texts = [_text(answer.body, "messages" in fields) for answer, (fields, _) in zip(answers, shapes, strict=True)]
    predictions: dict[str, Any] = {"predictions": texts}
    await exchange.respond(Response(_OK, msgspec.json.encode(predictions)))


async def _one(exchange: Exchange, place: int, body: bytes, answer: Answer) -> Response:
    inner = Collecting(exchange, place, body)
    try:
        await answer(inner, body)
    except ServingError as error:
        return failure(error)
    return inner.answer


def _whole(fields: dict[str, msgspec.Raw]) -> bytes:
    """A stream has no place in a prediction."""
    return msgspec.json.encode({name: raw for name, raw in fields.items() if name != "stream"})


def _text(body: bytes, chat: bool) -> str:
    if chat:
        return _chatted.decode(body).choices[0].message.content or ""
    return _answered.decode(body).generated_text
