"""Server-sent events: cutting a byte stream into frames, reading frames, writing them.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Header

FRAME_LIMIT: Final = 64 << 20
"""Most bytes of one frame, so that an upstream that never ends a frame cannot fill the memory."""

DONE: Final = b"[DONE]"
"""The payload that ends a stream of the OpenAI family."""

DONE_FRAME: Final = b"data: [DONE]\n\n"

UNBUFFERED: Final[Header] = (b"x-accel-buffering", b"no")
"""Keeps proxies from gathering a stream before they pass it on."""

LIVE_HEAD: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    UNBUFFERED,
)
"""Of events that go out as they happen, and that nobody is to keep."""

# Numbers, since `in` finds them ten times as fast: looking for bytes, it first fails to take them for a number.
CR: Final = 0x0D
LF: Final = 0x0A

# The group is atomic so that the two halves of one CRLF never count as two line ends.
_FRAME: Final = re.compile(rb"(?s).*?(?>\r\n|\n|\r){2}")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class FrameCutter:
    """Gives the whole frames of a stream as soon as they are there and keeps the rest in `tail`."""

    __slots__ = ("tail",)

    def __init__(self) -> None:
        self.tail = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The longest prefix of whole frames of what was kept and `data`; each ends with a blank line.

        Raises ServingError (upstream_error) when one frame is over FRAME_LIMIT.
        """
        tail = self.tail
        if not tail and data.endswith(b"\n\n"):
            return data
        known = max(len(tail) - 3, 0)
        tail += data
        cut = _last_blank_line(tail, known)
        if not cut:
            if len(tail) > FRAME_LIMIT:
                raise ServingError("upstream_error", f"the upstream sent a frame of more than {FRAME_LIMIT} bytes")
            return b""
        whole = bytes(tail[:cut])
        del tail[:cut]
        return whole

    def end(self) -> bytes:
        """What never became a whole frame."""
        rest = bytes(self.tail)
        self.tail.clear()
        return rest


def _last_blank_line(data: bytearray, start: int) -> int:
    """The offset after the last blank line at or after `start`; 0 when there is none."""
    cut = data.rfind(b"\n\n", start) + 2
    if data.find(b"\r", start) >= 0:
        for mark in (b"\n\r", b"\r\r"):
            after = data.rfind(mark, start) + 2
            if after > 1 and data.startswith(b"\n", after):
                after += 1
            cut = max(cut, after)
    return cut if cut > 1 else 0


def frames(whole: bytes) -> list[bytes]:
    """Cut what FrameCutter gave into its single frames, each with its blank line."""
    if CR in whole or not whole.endswith(b"\n\n"):
        return _FRAME.findall(whole)
    return [frame + b"\n\n" for frame in whole[:-2].split(b"\n\n")]


def payloads(whole: bytes) -> list[bytes]:
    """The data of each event in whole frames; comments, other fields and empty events are left out."""
    if CR in whole:
        whole = b"\n".join(whole.splitlines()) + b"\n\n"
    parts = whole.removesuffix(b"\n\n").split(b"\n\n")
    found = [part[6:] for part in parts if part.startswith(b"data: ") and LF not in part]
    if len(found) < len(parts):
        found = [_data(part) for part in parts]
    return [data for data in found if data]


def _data(frame: bytes) -> bytes:
    fields = (line.partition(b":") for line in frame.split(b"\n"))
    return b"\n".join(value.removeprefix(b" ") for name, _, value in fields if name == b"data")


class SseReader:
    """Reads the payloads of one stream of server-sent events, however it is split."""

    def __init__(self) -> None:
        self._cutter = FrameCutter()
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that are complete now."""
        if self._begun and not self._cutter.tail and data.startswith(b"data: ") and data.find(b"\n\n") == len(data) - 2:
            # One plain frame, as a stream in real time brings them: a third of the general way's time.
            payload = data[6:-2]
            if payload and LF not in payload and CR not in payload:
                return [payload]
        whole = self._cutter.feed(data)
        if not whole:
            return []
        if not self._begun:
            self._begun = True
            whole = whole.removeprefix(b"\xef\xbb\xbf")
        return payloads(whole)

    def end(self) -> list[bytes]:
        """The payload of a last event that lacks its blank line, as some servers end a stream."""
        rest = self._cutter.end()
        if not self._begun:
            rest = rest.removeprefix(b"\xef\xbb\xbf")
        return payloads(rest + b"\n\n")


def sse(data: bytes) -> bytes:
    """One event; line ends in `data` become several data lines."""
    if LF in data or CR in data:
        return b"".join(b"data: %b\n" % line for line in _LINE_END.split(data)) + b"\n"
    return b"data: %b\n\n" % data


def event(kind: str, about: Any) -> bytes:
    """One event with its kind, `about` as JSON, which has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(about))


def comment(text: str) -> bytes:
    """A comment, which clients ignore; line ends become spaces."""
    return b": %b\n\n" % _LINE_END.sub(b" ", text.encode())
