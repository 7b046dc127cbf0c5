"""The replica that always gives the same answer: for load tests and for a place that a model will take."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trunkcall.backends.debug import NoOptions, delay_of
from trunkcall.core.events import Event, Finish, Start, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.requests import Generate
from trunkcall.protocols.openai import requested_fields

_ANSWER = ("This ", "is ", "a ", "fixed ", "answer ", "from ", "the ", "dummy ", "model.")
_HONOURED = frozenset({"model", "messages", "prompt", "stream", "stream_options", "n", "user"})


class Dummy:
    """Says its one sentence, a word every `delay` seconds, whatever it is asked."""

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
        """The sentence, for each choice."""
        meter.dropped = tuple(field for field in requested_fields(request) if field not in _HONOURED)
        events = self._events(request)
        try:
            yield events
        finally:
            await events.aclose()

    async def _events(self, request: Generate) -> AsyncGenerator[Event]:
        choices = request.sampling.n or 1
        yield Start(f"chatcmpl-{uuid.uuid4().hex}", request.model, int(time.time()))
        for index in range(choices):
            for word in _ANSWER:
                if self._delay:
                    await asyncio.sleep(self._delay)
                yield Text(index, word)
            yield Finish(index, "stop")
        yield Usage(0, choices * len(_ANSWER))


def connect(target: str, settings: ModelSettings, model: str) -> Dummy:
    """`dummy` answers at once; `dummy:0.05` waits so many seconds before each word."""
    read_options(settings, NoOptions)
    return Dummy(model or settings.name, delay_of(target))
