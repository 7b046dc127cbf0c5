"""Where HTTP/1.1 requests begin and end in a stream of bytes, read strictly and without I/O.

RFC 9112, with everything refused that two readers could take differently: bare CR or LF, folded
lines, space before a colon, a length given twice or beside a coding, other codings than chunked.
llhttp (httptools) was measured 0.6 us (3 headers) to 2.5 us (18) faster per request, but takes RTSP
and HTTP/0.9 for HTTP/1.1, drops the body of a request that asks for an upgrade, and reads on into
the next request before this one is answered.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trunkcall.core.ports import Header

FRAMING_LIMIT: Final = 16 * 1024
"""Most bytes of chunk extensions, and of trailers, in one body."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TEXT: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]"
_LINE: Final = re.compile(rb"(%b{1,32}) ([!-~]+) HTTP/1\.([01])\r\n" % _TOKEN)
# Possessive, so that no head costs more than one pass.
_FIELD: Final = re.compile(rb"(%b++):[ \t]*+(%b*+)" % (_TOKEN, _TEXT))
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(;%b*+)?\r\n" % _TEXT)
_BROKEN: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_FRAMING_FIELDS: Final = (b"content-length", b"transfer-encoding", b"host")


class Refusal(Exception):
    """A request that is answered with an error before anybody reads it, and ends its connection."""

    def __init__(self, status: int, message: str, code: str = "malformed_request") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


class Head(msgspec.Struct, frozen=True):
    """A request's head. headers: lower-case names; length: of the body in bytes, -1 when chunked."""

    method: str
    target: bytes
    minor: int
    headers: list[Header]
    first: dict[bytes, bytes]
    """The first value of each name."""
    length: int
    keep_alive: bool
    expects: bool
    """The client waits for 100 Continue before it sends the body."""


_SECRET: Final = re.compile(rb"auth|cookie|credential|key|pass|secret|token")
"""In the names of headers that are not remembered; nor is what stands behind a `?`."""
_QUERY: Final = 0x3F
_KNOWN_LENGTH: Final = 128
_MOST_KNOWN: Final = 1024
_known: dict[bytes, Header] = {}
"""Lines that have come before, as fields: a client's are mostly the same, and a pattern takes five times as long."""
_Asked = tuple[str, bytes, int]
"""Method, target and minor version."""
_asked: dict[bytes, _Asked] = {}
"""First lines that have come before."""


def check_partial(data: bytes | bytearray, start: int) -> None:
    """Raise Refusal when what came of a head, new from `start` on, cannot become one."""
    if _BROKEN.search(data, max(0, start - 1)):
        raise Refusal(400, "the request is not HTTP/1.1; check that the client speaks plain HTTP to this port")


def read_head(data: bytes, start: int, end: int, most_fields: int) -> Head:
    """The head in data[start:end]; `end` is after the CRLF of its last line, before the empty line.

    Raises Refusal: 400 malformed, 431 too many fields, 501 a transfer coding other than chunked.
    """
    at = data.find(b"\r\n", start, end) + 2
    line = data[start:at]
    method, target, minor = _asked.get(line) or _request_line(line)
    headers = _fields(data[at:end], most_fields)
    first = dict(headers)
    if len(first) != len(headers):
        first = dict(reversed(headers))
        for name in _FRAMING_FIELDS:
            if sum(key == name for key, _ in headers) > 1:
                raise Refusal(400, f"the header {name.decode()} is given more than once")
    expects = minor == 1 and b"expect" in first and first[b"expect"].lower() == b"100-continue"
    return Head(method, target, minor, headers, first, _length(first, minor), _stays(headers, first, minor), expects)


def _request_line(line: bytes) -> _Asked:
    """What a request's first line says, which is remembered; raises Refusal (400)."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise Refusal(400, "the request line is not HTTP/1.1")
    target = found[2]
    if target[0] != 0x2F and (target != b"*" or found[1] != b"OPTIONS"):
        raise Refusal(400, "the request target must be a path; this server is no proxy")
    asked = found[1].decode(), target, found[3][0] - 0x30
    if len(line) <= _KNOWN_LENGTH and _QUERY not in line:
        if len(_asked) == _MOST_KNOWN:
            _asked.clear()
        _asked[line] = asked
    return asked


def _fields(lines: bytes, most: int) -> list[Header]:
    """The fields of whole lines.

    Raises Refusal: 400 malformed, 431 for more than `most`.
    """
    found = lines.split(b"\r\n")
    found.pop()
    if len(found) > most:
        raise Refusal(431, f"the request has more than {most} headers", "head_too_large")
    headers: list[Header] = []
    for line in found:
        header = _known.get(line)
        headers.append(_field(line) if header is None else header)
    return headers


def _field(line: bytes) -> Header:
    """One field, which is remembered; raises Refusal (400 malformed)."""
    field = _FIELD.fullmatch(line)
    if field is None:
        raise Refusal(400, "a header line of the request is malformed")
    name = field[1].lower()
    header = name, field[2].rstrip(b" \t")
    if len(line) <= _KNOWN_LENGTH and not _SECRET.search(name):
        if len(_known) == _MOST_KNOWN:
            _known.clear()
        _known[line] = header
    return header


def _length(first: dict[bytes, bytes], minor: int) -> int:
    length = first.get(b"content-length")
    coding = first.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or minor == 0:
            raise Refusal(400, "transfer-encoding stands beside content-length, or in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise Refusal(501, "the only transfer-encoding that is understood is chunked", "unsupported_coding")
        return -1
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 15:
        raise Refusal(400, "content-length is not a number of bytes")
    return int(length)


def _stays(headers: list[Header], first: dict[bytes, bytes], minor: int) -> bool:
    said = first.get(b"connection")
    if said is None:
        return minor == 1
    options = {
        option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")
    }
    return b"close" not in options and (minor == 1 or b"keep-alive" in options)


class Counted:
    """A body whose length the head gave."""

    def __init__(self, length: int) -> None:
        self._left = length
        self._pieces: list[bytes] = []
        self.size = 0
        """Bytes of body so far."""

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; gives what follows the body once it is complete."""
        piece = data[: self._left]
        self._pieces.append(piece)
        self.size += len(piece)
        self._left -= len(piece)
        return None if self._left else data[len(piece) :]

    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)


_SIZE: Final = 0
_DATA: Final = 1
_TRAILERS: Final = 2


class Chunked:
    """A body in chunks (RFC 9112, 7.1); extensions and trailers are checked and dropped."""

    def __init__(self) -> None:
        self._state = _SIZE
        self._held = b""
        self._left = 0
        self._framing = 0
        self._pieces: list[bytes] = []
        self.size = 0
        """Bytes of body so far."""

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; gives what follows the body once it is complete.

        Raises Refusal (400) when they are no chunks, or carry too much beside the body.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        while at < len(data):
            if self._state == _DATA:
                at = self._take(data, at)
                if at < 0:
                    return None
                continue
            end = data.find(b"\n", at) + 1
            if not end:
                if len(data) - at > FRAMING_LIMIT:
                    raise Refusal(400, "a line between the chunks of the request body is too long")
                check_partial(data, at)
                self._held = data[at:]
                return None
            if self._state == _SIZE:
                self._size(data, at, end)
            elif data[at:end] == b"\r\n":
                return data[end:]
            else:
                self._trailer(data, at, end)
            at = end
        return None

    def _size(self, data: bytes, at: int, end: int) -> None:
        line = _CHUNK.fullmatch(data, at, end)
        if line is None:
            raise Refusal(400, "a chunk size of the request body is malformed")
        self._weigh(len(line[2] or b""))
        size = int(line[1], 16)
        # The CRLF after the data counts with it.
        self._left = size + 2
        self._state = _DATA if size else _TRAILERS

    def _take(self, data: bytes, at: int) -> int:
        """Where the bytes after this chunk begin; -1 when more of it must come."""
        have = len(data) - at
        if have < self._left:
            whole = max(0, min(have, self._left - 2))
            if whole:
                self._pieces.append(data[at : at + whole])
                self.size += whole
                self._left -= whole
            if have > whole:
                if data[at + whole] != 0x0D:
                    raise Refusal(400, "a chunk of the request body is longer than its size")
                self._held = data[at + whole :]
            return -1
        end = at + self._left
        if data[end - 2 : end] != b"\r\n":
            raise Refusal(400, "a chunk of the request body is longer than its size")
        self._pieces.append(data[at : end - 2])
        self.size += end - 2 - at
        self._state = _SIZE
        return end

    def _trailer(self, data: bytes, at: int, end: int) -> None:
        field = _FIELD.fullmatch(data, at, end - 2) if data.endswith(b"\r\n", at, end) else None
        # RFC 9110, 6.5.1: what frames or routes a message has no place behind it, where another reader may heed it.
        if field is None or field[1].lower() in _FRAMING_FIELDS:
            raise Refusal(400, "a trailer of the request body is malformed")
        self._weigh(end - at)

    def _weigh(self, size: int) -> None:
        self._framing += size
        if self._framing > FRAMING_LIMIT:
            raise Refusal(400, "the chunks of the request body carry too many extensions or trailers")

    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)
