"""Forwarding FastChat's calls: the model's name is put in, and what passes back is noted."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.requests import Generate
from trunkcall.protocols.fastchat_errors import error_of
from trunkcall.protocols.fastchat_frames import FrameCutter, read_frame
from trunkcall.protocols.fastchat_replies import FrameReader
from trunkcall.protocols.fastchat_words import END, OK
from trunkcall.protocols.openai_decode import check_text, decode
from trunkcall.protocols.openai_lane import replace_model

_TELLING: Final = re.compile(rb'"finish_reason"\s*:\s*"|"error_code"\s*:\s*[1-9]')


_FAILING: Final = re.compile(rb'"error_code"\s*:\s*[1-9]')
_EMPTY: Final = re.compile(rb"\s*\{\s*\}\s*")


_VECTORS: Final = re.compile(rb'"token_num"\s*:\s*(\d{1,9})\s*\}')
"""How an answer of vectors ends."""


class _Named(msgspec.Struct):
    model: Raw = Raw(b"")


_named: Final = msgspec.json.Decoder(_Named)
_encode: Final = msgspec.json.Encoder().encode


def with_model(body: bytes, name: str) -> bytes:
    """The body of any call with `model` set to a name, which some workers insist on; all other bytes stay.

    Raises ServingError (bad_request) for what is no JSON object.
    """
    if not body.strip() or _EMPTY.fullmatch(body):
        return _encode({"model": name})
    check_text(body)
    if decode(_named, body).model:
        return replace_model(body, name)
    at = body.index(b"{") + 1
    return b'%b"model":%b,%b' % (body[:at], _encode(name), body[at:])


class FrameTap:
    """Notes in the meter what a forwarded answer tells: usage, finish, errors and progress."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._cutter = FrameCutter()

    def feed(self, data: bytes) -> None:
        """Look at bytes that pass; raises ServingError as FrameCutter does."""
        whole = self._cutter.feed(data)
        if whole:
            self._meter.progress(len(whole))
            for one in whole:
                self._note(one)

    def end(self) -> None:
        """Look at an object that has no end mark, as /worker_generate answers."""
        rest = self._cutter.end()
        if rest:
            self._meter.progress()
            self._note(rest)

    def _note(self, data: bytes) -> None:
        if not _TELLING.search(data):
            found = _VECTORS.search(data)
            if found is not None:
                self._meter.usage = Usage(int(found[1]), 0)
            return
        try:
            frame = read_frame(data)
        except ServingError:
            # The client gets what the worker sent; that it makes no sense is for the client to say.
            return
        meter = self._meter
        if frame.error_code != OK:
            meter.error = meter.error or error_of(frame.error_code, frame.text).kind
            return
        meter.finish = frame.reason
        meter.usage = frame.counts or meter.usage


def until_failure(data: bytes) -> tuple[bytes, ServingError | None]:
    """Whole objects up to the one that tells of the worker's own failure, and that failure; None for no such object."""
    passed: list[bytes] = []
    for one in data.split(END)[:-1] if _FAILING.search(data) else ():
        error = _error_in(one)
        if error is not None and error.is_of_replica:
            return b"".join(passed), error
        passed.append(one + END)
    return data, None


def retold(data: bytes, request: Generate) -> list[Event]:
    """The events of the objects in the beginning of a stream; request: as FastChat's api reads it."""
    return [event for event in FrameReader(request).feed(data) if not isinstance(event, Fault)]


def _error_in(data: bytes) -> ServingError | None:
    try:
        frame = read_frame(data)
    except ServingError:
        return None
    return None if frame.error_code == OK else error_of(frame.error_code, frame.text)
