"""How long the parts of a request take, which TGI tells in headers, and comments that fill a stream's silences."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from trunkcall.control.telling import stream_head
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Refusal, Text, Thinking, ToolCall
from trunkcall.core.ports import Emitter, Exchange, Header

SILENCE_SECONDS: Final = 15.0
_SPOKEN: Final = frozenset({Text, Thinking, Refusal, ToolCall})
_COMMENT: Final = b":\n\n"


class Pace:
    """One request's times, in seconds of `time.perf_counter`."""

    __slots__ = ("began", "ended", "granted", "spoke", "validated")

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.validated = self.began
        self.granted = self.began
        self.spoke = self.began
        self.ended = self.began

    def validate(self) -> None:
        """The request is in order and waits from now on."""
        self.validated = self.granted = time.perf_counter()

    def grant(self) -> None:
        """A replica has it."""
        self.granted = self.spoke = time.perf_counter()

    def speak(self) -> None:
        """The first token has come."""
        self.spoke = time.perf_counter()

    def end(self) -> None:
        """The answer is complete."""
        self.ended = time.perf_counter()

    @property
    def total(self) -> float:
        """Of the whole request."""
        return self.ended - self.began

    @property
    def validation(self) -> float:
        """Until the request was in order."""
        return self.validated - self.began

    @property
    def queue(self) -> float:
        """Until a replica had it."""
        return self.granted - self.validated

    @property
    def inference(self) -> float:
        """What was left."""
        return self.ended - self.granted

    @property
    def prefill(self) -> float:
        """From the replica's having it to the first token."""
        return self.spoke - self.granted

    @property
    def decode(self) -> float:
        """From the first token to the end."""
        return self.ended - self.spoke


def compute_headers(kind: str, characters: int) -> list[Header]:
    """Of every answer. kind: of the machine; characters: of the prompt."""
    return [(b"x-compute-type", kind.encode("latin-1", "replace")), (b"x-compute-characters", b"%d" % characters)]


def time_headers(pace: Pace, input_tokens: int | None, generated_tokens: int) -> list[Header]:
    """Of a whole answer: milliseconds but for x-compute-time, which is in seconds."""
    each = pace.inference / max(1, generated_tokens)
    headers = [(b"x-compute-time", b"%.6f" % pace.total)]
    for name, seconds in (
        (b"x-total-time", pace.total),
        (b"x-validation-time", pace.validation),
        (b"x-queue-time", pace.queue),
        (b"x-inference-time", pace.inference),
        (b"x-time-per-token", each),
    ):
        headers.append((name, b"%d" % round(seconds * 1000)))
    headers.append((b"x-prompt-tokens", b"%d" % (input_tokens or 0)))
    headers.append((b"x-generated-tokens", b"%d" % generated_tokens))
    return headers


class Noted:
    """An emitter whose first token and whose end are noted; fits core.ports.Emitter."""

    def __init__(self, emitter: Emitter, spoke: Callable[[], None], ended: Callable[[], None]) -> None:
        self.content_type = emitter.content_type
        self.fault = emitter.fault
        self.feed = self._first
        self._feed = emitter.feed
        self._end = emitter.end
        self._spoke = spoke
        self._ended = ended

    def end(self) -> bytes:
        """The answer's end; raises as the emitter does."""
        data = self._end()
        self._ended()
        return data

    def _first(self, event: Event) -> bytes:
        """Until the first token; what comes after it takes no detour."""
        if type(event) in _SPOKEN:
            self.feed = self._feed
            self._spoke()
        return self._feed(event)


class Silence:
    """Fills the silences of one stream, from `begin` until it is left.

    It is not begun for an answer that is passed on byte for byte, a piece of which may end anywhere.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._seconds = SILENCE_SECONDS
        self._loop = asyncio.get_running_loop()
        self._spoke = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """From now on what is said comes from an emitter that is heard."""
        self._spoke = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._spoke + self._seconds, self._look)

    def hear(self, emitter: Emitter) -> Emitter:
        """An emitter whose pieces end a silence."""
        return _Heard(emitter, self)

    def spoke(self) -> None:
        """A piece of the answer goes out."""
        self._spoke = self._loop.time()

    async def __aenter__(self) -> Silence:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()
            await asyncio.wait({self._comment})

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._spoke >= self._seconds and (self._comment is None or self._comment.done()):
            self._spoke = now
            self._comment = self._loop.create_task(self._fill())
        self._timer = self._loop.call_at(self._spoke + self._seconds, self._look)

    async def _fill(self) -> None:
        try:
            if not self._exchange.started:
                await self._exchange.begin(200, stream_head(b"text/event-stream"))
            await self._exchange.write(_COMMENT)
        except ServingError:
            # The client has left, or the answer has just ended: the request's own task finds out by itself.
            return


class _Heard:
    """Fits core.ports.Emitter."""

    def __init__(self, emitter: Emitter, silence: Silence) -> None:
        self.content_type = emitter.content_type
        self.end = emitter.end
        self.fault = emitter.fault
        self._emitter = emitter
        self._spoke = silence.spoke

    def feed(self, event: Event) -> bytes:
        """Bytes to send now."""
        data = self._emitter.feed(event)
        if data:
            self._spoke()
        return data
