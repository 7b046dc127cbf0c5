"""Forwarding OpenAI requests: reading only the head, and exact edits of the bytes."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from trunkcall.protocols.openai_decode import check_text, decode


class Head(msgspec.Struct, frozen=True):
    """What routing needs of a request to chat, completions or embeddings."""

    model: str
    stream: bool
    usage_in_stream: bool
    has_stream_options: bool
    lengths: tuple[Raw, Raw, Raw, Raw] = (Raw(b""), Raw(b""), Raw(b""), Raw(b""))
    """max_tokens, max_completion_tokens, n and best_of as they stand there, empty where they do not."""

    def most(self) -> int | None:
        """The most completion tokens of all choices for one prompt together; None where no limit can be read.

        What is wrong with the numbers is told by who answers.
        """
        tokens, completion_tokens, choices, tries = self.lengths
        most = _number(tokens)
        if completion_tokens:
            other = _number(completion_tokens)
            # Of two spellings an engine may take either.
            most = other if most is None or (other is not None and other > most) else most
        if most is None or not (choices or tries):
            return most
        return most * max(1, _number(choices) or 1, _number(tries) or 1)


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _HeadFields(msgspec.Struct):
    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None | UnsetType = UNSET
    max_tokens: Raw = Raw(b"")
    max_completion_tokens: Raw = Raw(b"")
    n: Raw = Raw(b"")
    best_of: Raw = Raw(b"")


class _Moved(msgspec.Struct):
    model: str | None | UnsetType = UNSET
    moved: str | UnsetType = msgspec.field(default=UNSET, name="trunkcall:model")


class _Options(msgspec.Struct):
    stream_options: Raw = Raw(b"")


_head = msgspec.json.Decoder(_HeadFields)
_moved = msgspec.json.Decoder(_Moved)
_options = msgspec.json.Decoder(_Options)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(str).decode

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN: Final = re.compile(_STRING + rb"|[{}\[\]:,]")
_MODEL: Final = re.compile(rb'"model"\s*:\s*(' + _STRING + rb")")

_NEAR: Final = 256
"""A `model` key within so many bytes is looked for from the front, others from the back."""

_MOST_DIGITS: Final = 15

_ASK: Final = b'"stream_options":{"include_usage":true}'


def read_head(body: bytes) -> Head:
    """Read the head; the rest is only checked to be JSON in UTF-8.

    Raises ServingError (bad_request).
    """
    check_text(body)
    fields = decode(_head, body)
    options = fields.stream_options
    lengths = fields.max_tokens, fields.max_completion_tokens, fields.n, fields.best_of
    if options is UNSET:
        return Head(fields.model, fields.stream is True, False, False, lengths)
    asked = options is not None and options.include_usage is True
    return Head(fields.model, fields.stream is True, asked, True, lengths)


def _number(raw: Raw) -> int | None:
    """A whole number that is not negative; None for anything else."""
    if not raw:
        return None
    digits = bytes(raw)
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def replace_model(body: bytes, name: str) -> bytes:
    """Replace every value of the outermost `model` key; all other bytes stay.

    body: valid JSON, such as read_head accepts; without such a key it is returned as it is.
    """
    value = _encode(name)
    span = model_span(body)
    if span is not None:
        return b"%b%b%b" % (body[: span[0]], value, body[span[1] :])
    return _spliced(body, [(start, end, value) for start, end in _values(body, "model")])


def model_span(body: bytes) -> tuple[int, int] | None:
    """Where the value of the outermost `model` key stands, when there is just one and it is found at once."""
    at = body.find(b'"model"', 0, _NEAR)
    if at < 0:
        at = body.rfind(b'"model"')
    found = _MODEL.match(body, at) if at >= 0 else None
    if found is None:
        return None
    # The proof: with this key called something else, the object has that key and no model.
    # 4 GB/s, where a scan for other keys, escapes and nesting takes ten times as long.
    try:
        moved = _moved.decode(b'%b"trunkcall:model"%b' % (body[:at], body[at + 7 :]))
    except (msgspec.DecodeError, RecursionError):
        return None
    return found.span(1) if moved.model is UNSET and moved.moved is not UNSET else None


def ask_usage(body: bytes) -> bytes:
    """Set stream_options.include_usage to true; all other bytes stay.

    body: a non-empty JSON object that `read_head` accepted.
    """
    if not _options.decode(body).stream_options:
        at = body.index(b"{") + 1
        return b"%b%b,%b" % (body[:at], _ASK, body[at:])
    edits: list[tuple[int, int, bytes]] = []
    for start, end in _values(body, "stream_options"):
        value = body[start:end]
        if value == b"null":
            edits.append((start, end, b'{"include_usage":true}'))
            continue
        inner = _values(value, "include_usage")
        if inner:
            edits += [(start + at, start + to, b"true") for at, to in inner]
        else:
            comma = b"," if value[1:-1].strip() else b""
            edits.append((start + 1, start + 1, b'"include_usage":true' + comma))
    return _spliced(body, edits)


def _values(body: bytes, name: str) -> list[tuple[int, int]]:
    """Where the values of the outermost object's `name` keys stand, in order; body is valid JSON."""
    spans: list[tuple[int, int]] = []
    plain = _encode(name)
    depth = 0
    string = b""
    start = -1
    for token in _TOKEN.finditer(body):
        mark = body[token.start()]
        if mark == _QUOTE:
            if start < 0:
                string = token[0]
        elif mark in _OPENING:
            depth += 1
        elif mark in _CLOSING or mark == _COMMA:
            depth -= mark in _CLOSING
            if start >= 0 and depth <= 1 and (mark == _COMMA) == (depth == 1):
                value = body[start : token.start()]
                begin = start + len(value) - len(value.lstrip())
                spans.append((begin, begin + len(value.strip())))
                start = -1
        elif depth == 1 and (string == plain or (b"\\" in string and _decode(string) == name)):
            start = token.end()
    return spans


_QUOTE, _COMMA = b'",'
_OPENING: Final = b"{["
_CLOSING: Final = b"}]"


def _spliced(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for start, end, value in edits:
        pieces += (body[at:start], value)
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)
