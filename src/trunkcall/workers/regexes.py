"""Regular expressions as llguidance's dialect of Lark writes them."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"(\\.)|/|\n", re.DOTALL)
_BEYOND: Final = re.compile(
    r"(\\[1-9bBAZzG]|\\k<|\(\?(?:=|!|<[=!]|>|\(|P=)|[*+?}]\+)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL
)
"""Looking around, going back, atomic groups and possessive repetition; escapes and sets are passed over."""
_ENDS: Final = re.compile(r"\A\^?(.*?)(?<!\\)\$?\Z", re.DOTALL)


def beyond(source: str) -> str | None:
    """What of a regular expression no automaton can hold an answer to; None where it can.

    llama.cpp answers as it likes where its grammar cannot be read, so this must be known before.
    """
    return next((part[1] for part in _BEYOND.finditer(source) if part[1]), None)


def lark_regex(source: str) -> str:
    """A terminal that a whole answer matches; the marks for its beginning and its end say no more than that."""
    found = _ENDS.match(source)
    inner = source if found is None else found[1]
    return f"/{_PART.sub(_escaped, inner) or '()'}/"


def _escaped(part: re.Match[str]) -> str:
    if part[1]:
        return part[1]
    return r"\/" if part[0] == "/" else r"\n"
