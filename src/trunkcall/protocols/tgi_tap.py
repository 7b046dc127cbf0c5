"""Forwarding TGI's answers: what passes is noted, not changed, and can be told again."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, FinishReason, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.requests import Generate
from trunkcall.protocols.frames import SseReader, frames, payloads
from trunkcall.protocols.tgi_errors import STATUS_OK, read_error
from trunkcall.protocols.tgi_replies import StreamReader
from trunkcall.protocols.tgi_words import LENGTH


class _Details(msgspec.Struct):
    finish_reason: str = ""
    generated_tokens: int = 0
    input_length: int | None = None
    prefill: list[msgspec.Raw] = []


class _Told(msgspec.Struct):
    generated_text: str | None = None
    details: _Details | None = None
    error: str | None = None


_told: Final = msgspec.json.Decoder(_Told)
_whole: Final = msgspec.json.Decoder(_Told | list[_Told])
_UNFINISHED: Final = b'"generated_text":null'
_ERROR: Final = b'"error"'


class StreamTap:
    """Notes progress, usage, finish and errors of a stream in a meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._frames = SseReader()

    def feed(self, data: bytes) -> None:
        """Look at bytes that pass."""
        for payload in self._frames.feed(data):
            self._meter.progress()
            if _UNFINISHED not in payload:
                _note(payload, self._meter, self._meter.chunks)


def until_failure(data: bytes) -> tuple[bytes, ServingError | None]:
    """Whole frames up to the one that tells of the server's own failure, and that failure; None for no such frame."""
    passed: list[bytes] = []
    for frame in frames(data) if _ERROR in data else ():
        error = next(filter(None, map(_error_in, payloads(frame))), None)
        if error is not None and error.is_of_replica:
            return b"".join(passed), error
        passed.append(frame)
    return data, None


def retold(data: bytes, request: Generate) -> list[Event]:
    """The events of the frames in the beginning of a stream; request: as TGI's api reads it."""
    stops = tuple(request.stops.strings or ())
    reader = StreamReader(None, stops=stops, kept=request.stops.include)
    return [event for payload in SseReader().feed(data) for event in reader.feed(payload)]


def _error_in(payload: bytes) -> ServingError | None:
    try:
        told = _told.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if told.error is None else read_error(STATUS_OK, payload)


def note_whole(body: bytes, meter: Meter) -> None:
    """Note the same of a whole answer."""
    meter.progress()
    _note(body, meter, None)


def _note(data: bytes, meter: Meter, count: int | None) -> None:
    """count: tokens that were seen, where the answer does not say."""
    try:
        found = _whole.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    told = found if isinstance(found, _Told) else found[0] if found else _Told()
    if told.error is not None:
        meter.error = "upstream_error"
        return
    if told.generated_text is None:
        return
    details = told.details or _Details()
    reason: FinishReason = "length" if details.finish_reason == LENGTH else "stop"
    meter.finish = reason
    prompt = details.input_length or len(details.prefill)
    if prompt:
        meter.usage = Usage(prompt, details.generated_tokens or count or 0)
