"""The replica that says what it was asked: for trying out clients, routing and streaming without an engine."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Start, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.requests import Generate, Message, MessagesPrompt, TextPart, TextPrompt
from trunkcall.protocols.openai import requested_fields

_HONOURED = frozenset(
    {"model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "user"}
)


class NoOptions(msgspec.Struct, frozen=True):
    """A source without options of its own."""


class Debug:
    """Answers with the last user message, a word at a time.

    delay: seconds between words. Words stand for tokens in its counts.
    """

    protocols: frozenset[str] = frozenset()

    def __init__(self, name: str, delay: float) -> None:
        self._name = name
        self._delay = delay

    async def health(self) -> Health:
        """Always well."""
        return Health(True, models=(self._name,))

    async def aclose(self) -> None:
        """Nothing to give back."""

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """The words of the question, one event each."""
        meter.dropped = tuple(field for field in requested_fields(request) if field not in _HONOURED)
        events = self._events(request)
        try:
            yield events
        finally:
            await events.aclose()

    async def _events(self, request: Generate) -> AsyncGenerator[Event]:
        texts = _texts(request)
        limit = request.sampling.max_tokens
        choices = request.sampling.n or 1
        yield Start(f"chatcmpl-{uuid.uuid4().hex}", request.model, int(time.time()))
        said = 0
        for index in range(choices * len(texts)):
            words = texts[index // choices].split(" ")
            allowed = words[:limit] if isinstance(limit, int) else words
            for number, word in enumerate(allowed):
                if self._delay:
                    await asyncio.sleep(self._delay)
                yield Text(index, word if number == 0 else f" {word}")
            said += len(allowed)
            yield Finish(index, "stop" if len(allowed) == len(words) else "length")
        yield Usage(sum(len(text.split(" ")) for text in texts), said)


def _texts(request: Generate) -> tuple[str, ...]:
    match request.prompt:
        case MessagesPrompt(messages=messages):
            asked = [m for m in messages if m.role == "user"] or list(messages)
            return (_plain(asked[-1]),)
        case TextPrompt(texts=texts):
            return texts
        case other:
            return tuple(" ".join(str(token) for token in prompt) for prompt in other.prompts)


def _plain(message: Message) -> str:
    return "".join(part.text if isinstance(part, TextPart) else f"[{type(part).__name__}]" for part in message.parts)


def connect(target: str, settings: ModelSettings, model: str) -> Debug:
    """`debug` answers at once; `debug:0.05` waits so many seconds before each word."""
    read_options(settings, NoOptions)
    return Debug(model or settings.name, delay_of(target))


def delay_of(target: str) -> float:
    """The seconds in a source's target.

    Raises ServingError (bad_request) when it is not a number of seconds.
    """
    if not target:
        return 0.0
    try:
        delay = float(target)
    except ValueError:
        delay = -1.0
    if not 0 <= delay <= 60:
        raise ServingError("bad_request", f"{target!r} is not a delay in seconds between 0 and 60; write `debug:0.05`")
    return delay
