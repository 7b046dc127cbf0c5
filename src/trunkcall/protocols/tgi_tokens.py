"""Tokens as TGI tells them, one by one: an id, a piece of text, a log probability, and whether it is special."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Final

import msgspec

from trunkcall.core.events import UNLIKELY, PromptTokens, Text, TokenLogprob

_utf8: Final = codecs.getincrementaldecoder("utf-8")


class Token(msgspec.Struct, frozen=True):
    """id: 0 where the engine does not tell it; logprob: natural, None likewise; special: not part of the text."""

    id: int
    text: str
    logprob: float | None
    special: bool = False


class Prefilled(msgspec.Struct, frozen=True):
    """A token of the prompt; the first has no log probability."""

    id: int
    text: str
    logprob: float | None


class Piece(msgspec.Struct, frozen=True):
    """A token and the likeliest in its place."""

    token: Token
    top: tuple[TokenLogprob, ...] = ()


NO_TOKEN = Token(0, "", None, True)
"""Stands for the end of a text whose end-of-sequence token the engine does not tell."""


def pieces_of(event: Text) -> list[Piece]:
    """The tokens of one event, whose texts without the special ones are together the event's.

    Text without token detail is one token with neither id nor log probability.
    """
    told = event.logprobs
    ids = event.token_ids or ()
    if not told:
        if not ids:
            return [Piece(Token(0, event.text, None))] if event.text else []
        texts = [""] * (len(ids) - 1) + [event.text]
        return [Piece(Token(id, text, None)) for id, text in zip(ids, texts, strict=True)]
    if len(told) == 1 and not told[0].special:
        one = told[0]
        id = one.id if one.id is not None else ids[0] if len(ids) == 1 else 0
        return [Piece(Token(id, event.text, _known(one)), one.top)]
    texts = _texts(event.text, told)
    aligned = len(ids) == len(told)
    return [
        Piece(
            Token(
                one.id if one.id is not None else ids[place] if aligned else 0,
                texts[place],
                _known(one),
                one.special,
            ),
            one.top,
        )
        for place, one in enumerate(told)
    ]


def prefilled(event: PromptTokens) -> list[Prefilled]:
    """The prompt's tokens."""
    made = [Prefilled(one.id or 0, one.token, _known(one)) for one in event.tokens]
    if made:
        made[0] = msgspec.structs.replace(made[0], logprob=None)
    return made


def top_of(alternatives: Iterable[TokenLogprob]) -> list[Token]:
    """The likeliest tokens, as `top_tokens` has them."""
    return [Token(one.id or 0, one.token, _known(one), one.special) for one in alternatives]


def _texts(text: str, told: tuple[TokenLogprob, ...]) -> list[str]:
    """A text for each token, by what it writes; a character of several tokens is the last one's.

    Where that does not add up to the event's text, the last visible token has all of it.
    """
    read = _utf8(errors="replace")
    texts = [one.token if one.special else read.decode(_bytes(one)) for one in told]
    visible = [place for place, one in enumerate(told) if not one.special]
    if visible and "".join(texts[place] for place in visible) != text:
        for place in visible[:-1]:
            texts[place] = ""
        texts[visible[-1]] = text
    return texts


def _known(one: TokenLogprob) -> float | None:
    return one.logprob if one.logprob > UNLIKELY else None


def _bytes(one: TokenLogprob) -> bytes:
    return one.token.encode(errors="replace") if one.bytes_ is None else bytes(one.bytes_)
