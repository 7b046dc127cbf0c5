"""TGI's tokens of a text, both ways: /tokenize and /chat_tokenize."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Tokens

_utf8: Final = codecs.getincrementaldecoder("utf-8")
_encode: Final = msgspec.json.Encoder().encode


class Tokenized(msgspec.Struct, frozen=True):
    """A token and where it stands; start and stop: bytes of UTF-8 from the text's beginning."""

    id: int
    text: str
    start: int
    stop: int


_tokens: Final = msgspec.json.Decoder(list[Tokenized])


def tokenized(ids: Sequence[int], pieces: Sequence[bytes], text: str | None = None) -> list[Tokenized]:
    """The tokens of a text; pieces: what each writes. The text of a split character is its last token's.

    text: in which they stand; what a model puts around it, or a space before it, takes no place there.
    """
    made: list[Tokenized] = []
    read = _utf8(errors="replace")
    placed = None if text is None else _placed(pieces, text.encode(errors="surrogatepass"))
    at = 0
    for id, piece in zip(ids, pieces if placed is None else placed, strict=True):
        made.append(Tokenized(id, read.decode(piece), at, at + len(piece)))
        at += len(piece)
    return made


def _placed(pieces: Sequence[bytes], raw: bytes) -> list[bytes] | None:
    """The part of each piece that stands in the text; None where they are not its parts."""
    parts: list[bytes] = []
    at = 0
    for piece in pieces:
        whole = raw.startswith(piece, at)
        bare = piece if whole else piece.removeprefix(b" ")
        part = bare if whole or (not at and raw.startswith(bare)) else b""
        parts.append(part)
        at += len(part)
    return parts if at == len(raw) else None


def emit_tokenized(tokens: Sequence[Tokenized]) -> bytes:
    """The answer of /tokenize."""
    return _encode(tokens)


def emit_chat_tokenized(tokens: Sequence[Tokenized]) -> bytes:
    """The answer of /chat_tokenize, with the text that the model's template has made."""
    made: dict[str, Any] = {"tokenize_response": tokens, "templated_text": "".join(token.text for token in tokens)}
    return _encode(made)


def read_tokenized(body: bytes, text: str | None = None) -> Tokens:
    """The answer of /tokenize; text: that it is about, whose pieces are told where it is known.

    Raises ServingError (unsupported) for another server's.
    """
    try:
        tokens = _tokens.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "unsupported",
            f"the upstream does not count tokens as TGI does ({error}); count them elsewhere",
            upstream=(200, body),
        ) from None
    raw = None if text is None else text.encode(errors="surrogatepass")
    pieces = None if raw is None else tuple(raw[token.start : token.stop] for token in tokens)
    return Tokens(len(tokens), tuple(token.id for token in tokens), pieces=pieces)
