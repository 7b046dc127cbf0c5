"""A replica without a model: it answers from a script, a word at a time; what debug and dummy are made of."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Start, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.requests import Generate
from trunkcall.protocols.openai import requested_fields

Script = Callable[[Generate], tuple[str, ...]]
"""The answers to a request, one for each of its prompts."""

_HONOURED: Final = frozenset(
    {"model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "user"}
)


class _NoOptions(msgspec.Struct, frozen=True):
    """The source has no options of its own."""


class Scripted:
    """Fits core.ports.Backend and Generates; a word stands for a token in its counts.

    target: seconds between two words, as the source's target says; empty for none.

    Raises ServingError (bad_request) when it is not a number of seconds, or for options.
    """

    protocols: frozenset[str] = frozenset()

    def __init__(self, script: Script, target: str, settings: ModelSettings) -> None:
        read_options(settings, _NoOptions)
        self._script = script
        self._delay = _seconds(target)
        self._name = settings.name

    async def health(self) -> Health:
        """Always well."""
        return Health(True, models=(self._name,))

    async def aclose(self) -> None:
        """Nothing to give back."""

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """The script's words, one event each, for each prompt and choice."""
        meter.dropped = tuple(field for field in requested_fields(request) if field not in _HONOURED)
        events = self._events(request)
        try:
            yield events
        finally:
            await events.aclose()

    async def _events(self, request: Generate) -> AsyncGenerator[Event]:
        texts = self._script(request)
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


def _seconds(target: str) -> float:
    if not target:
        return 0.0
    try:
        delay = float(target)
    except ValueError:
        delay = -1.0
    if not 0 <= delay <= 60:
        raise ServingError("bad_request", f"{target!r} is not a delay in seconds between 0 and 60; write `debug:0.05`")
    return delay
