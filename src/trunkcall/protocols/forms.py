"""Forms: the fields of an urlencoded or multipart body, both as browsers and old clients send them.

Formats: https://url.spec.whatwg.org/#application/x-www-form-urlencoded and RFC 7578.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from trunkcall.core.errors import ServingError

FIELD_LIMIT: Final = 1000
"""Most fields of one form."""

# Runs of escapes at a time: 60 MB of them take 0.5 s, urllib's way 7 s.
_ESCAPES: Final = re.compile(rb"(?:%[0-9A-Fa-f]{2})++")


class Form(msgspec.Struct, frozen=True):
    """The fields of a form in the order sent; a name may repeat.

    files: the names of uploaded files that are not text; those that are stand in `fields`.
    """

    fields: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of this name."""
        return next((value for key, value in self.fields if key == name), default)

    def first(self) -> dict[str, str]:
        """The first value of each name, in the order of appearance."""
        found: dict[str, str] = {}
        for name, value in self.fields:
            found.setdefault(name, value)
        return found

    def __bool__(self) -> bool:
        return bool(self.fields)

    # Values may be credentials.
    def __repr__(self) -> str:
        return f"Form({', '.join(name for name, _ in self.fields)})"


def read_form(content_type: bytes | None, body: bytes) -> Form:
    """The fields of a body; empty where the content type is no form's. Bytes that are not UTF-8 become U+FFFD.

    Raises ServingError (bad_request) for a broken multipart body and for more than FIELD_LIMIT fields.
    """
    media, options = parse_options_header((content_type or b"").decode("latin-1"))
    if media in ("", "application/x-www-form-urlencoded"):
        return _read_urlencoded(body)
    if media != "multipart/form-data" or not body:
        return Form()
    boundary = options.get("boundary")
    if not boundary:
        raise ServingError("bad_request", "the content type multipart/form-data has no boundary; add `; boundary=...`")
    try:
        return _read_multipart(boundary, body)
    except (MultipartError, UnicodeError) as error:
        raise ServingError("bad_request", f"the body is not valid multipart/form-data: {error}") from None


def emit_form(fields: Mapping[str, str]) -> bytes:
    """The fields as an urlencoded body in UTF-8."""
    return urlencode(fields).encode()


def _read_urlencoded(body: bytes) -> Form:
    if body.count(b"&") >= FIELD_LIMIT:
        raise ServingError("bad_request", f"the form has more than {FIELD_LIMIT} fields; send fewer")
    pairs = (pair.partition(b"=") for pair in body.split(b"&") if pair)
    return Form(tuple((_unescape(name), _unescape(value)) for name, _, value in pairs))


def _read_multipart(boundary: str, body: bytes) -> Form:
    fields: list[tuple[str, str]] = []
    files: list[str] = []
    name, is_file = "", False
    pieces: list[bytes] = []
    with PushMultipartParser(boundary, content_length=len(body), max_segment_count=FIELD_LIMIT) as parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                name, is_file = event.name or "", event.filename is not None
            elif event is not None:
                pieces.append(bytes(event))
            else:
                value = b"".join(pieces)
                pieces.clear()
                if is_file and not _is_text(value):
                    files.append(name)
                else:
                    fields.append((name, value.decode(errors="replace")))
    return Form(tuple(fields), tuple(files))


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unescape(part: bytes) -> str:
    plain = part.replace(b"+", b" ")
    if b"%" in plain:
        plain = _ESCAPES.sub(lambda run: unhexlify(run[0].replace(b"%", b"")), plain)
    return plain.decode(errors="replace")
