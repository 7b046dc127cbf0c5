"""A replica without a model: it answers from a script, piece by piece; what debug, dummy and sysinfo are made of."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Start, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings
from trunkcall.core.requests import Generate, MessagesPrompt, TextPrompt
from trunkcall.protocols.openai import requested_fields

Script = Callable[[Generate], tuple[str, ...]]
"""The answers to a request, one for each of its prompts."""

Delay = Annotated[float, msgspec.Meta(ge=0, le=60)]
"""Seconds."""

_HONOURED: Final = frozenset(
    {"model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "user"}
)

_delay: Final = msgspec.json.Decoder(Delay | None)


class ScriptedOptions(msgspec.Struct, frozen=True):
    """A model's `options`. unit: what one piece of an answer is; delay: seconds before each piece."""

    unit: Literal["word", "character"] = "word"
    delay: Delay | None = None


class Scripted:
    """Fits core.ports.Backend and Generates; a piece stands for a token in its counts.

    target: the delay, as the source's target says it; empty for none.

    Raises ServingError (bad_request) when the target is not a number of seconds, or the option delay is given too.
    """

    protocols: frozenset[str] = frozenset()

    def __init__(self, script: Script, target: str, settings: ModelSettings, options: ScriptedOptions) -> None:
        if target and options.delay is not None:
            raise ServingError(
                "bad_request",
                f"model {settings.name!r}: the source says a delay of {target} and the option delay another;"
                " leave one of them out",
                param="delay",
            )
        self._script = script
        self._unit = options.unit
        self._delay = _seconds(target) if target else options.delay or 0.0
        self._name = settings.name

    async def health(self) -> Health:
        """Always well."""
        return Health(True, models=(self._name,))

    async def aclose(self) -> None:
        """Nothing to give back."""

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """The script's pieces, one event each, for each prompt and choice.

        Raises ServingError (bad_request) for an `llm_delay` that is no delay.
        """
        delay, honoured = self._delay, _HONOURED
        own = request.extra.get("kuwa", {}).get("llm_delay")
        if own is not None:
            honoured |= {"llm_delay"}
            delay = _own_delay(own, otherwise=delay)
        meter.dropped = tuple(field for field in requested_fields(request) if field not in honoured)
        events = self._events(request, delay)
        try:
            yield events
        finally:
            await events.aclose()

    async def _events(self, request: Generate, delay: float) -> AsyncGenerator[Event]:
        answers = [self._pieces(text) for text in self._script(request)]
        limit = request.sampling.max_tokens
        choices = request.sampling.n or 1
        yield Start(f"chatcmpl-{uuid.uuid4().hex}", request.model, int(time.time()))
        said = 0
        for index in range(choices * len(answers)):
            pieces = answers[index // choices]
            allowed = pieces[:limit] if isinstance(limit, int) else pieces
            for piece in allowed:
                if delay:
                    await asyncio.sleep(delay)
                yield Text(index, piece)
            said += len(allowed)
            yield Finish(index, "stop" if len(allowed) == len(pieces) else "length")
        yield Usage(sum(map(len, answers)), said)

    def _pieces(self, text: str) -> list[str]:
        if self._unit == "character":
            return list(text)
        first, *others = text.split(" ")
        return [first, *(f" {word}" for word in others)]


def for_each_prompt(request: Generate, text: str) -> tuple[str, ...]:
    """The same answer to all prompts of a request."""
    match request.prompt:
        case MessagesPrompt():
            return (text,)
        case TextPrompt(texts=texts):
            return (text,) * len(texts)
        case tokens:
            return (text,) * len(tokens.prompts)


def _seconds(target: str) -> float:
    try:
        return msgspec.convert(target, Delay, strict=False)
    except msgspec.ValidationError:
        raise ServingError(
            "bad_request", f"{target!r} is not a delay in seconds between 0 and 60; write `debug:0.05`"
        ) from None


def _own_delay(raw: msgspec.Raw, otherwise: float) -> float:
    """What a request says itself; null says nothing."""
    try:
        delay = _delay.decode(raw)
    except msgspec.DecodeError:
        raise ServingError(
            "bad_request", "llm_delay: expected a number of seconds between 0 and 60", param="llm_delay"
        ) from None
    return otherwise if delay is None else delay
