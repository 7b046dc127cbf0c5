"""Prompts that FastChat's clients have rendered, read as conversations again."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Final

import msgspec

from trunkcall.core.requests import Message, MessagesPrompt, Role, TextPart, TextPrompt

Turns = list[tuple[Role, str]]


class Parsed(msgspec.Struct, frozen=True):
    """A prompt as a conversation; ends: the strings that its template stops an answer at."""

    prompt: MessagesPrompt | TextPrompt
    ends: frozenset[str] = frozenset()


_OPEN: Final = "<|im_start|>"
_CLOSE: Final = "<|im_end|>"
_SPEAKERS: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "function": "function",
    "tool": "tool",
}
_HASHED: Final = re.compile(r"(?:^|\n)### (Human|Assistant):")
_NAMED: Final = re.compile(r"(?:^|[ \n]|</s>)(USER|ASSISTANT):")

_ROLES: Final[dict[str, Role]] = {"Human": "user", "USER": "user", "Assistant": "assistant", "ASSISTANT": "assistant"}


def parse_prompt(text: str) -> MessagesPrompt | TextPrompt:
    """The conversation in a text that one of the well-known templates has made; any other text stays one.

    Read are ChatML, and so what NEUTRAL makes, `### Human:` and `USER:`, each only when the turns alternate from the
    user's on and the last is an empty one of the assistant. Examples that a template brings become earlier turns.
    """
    return parse(text).prompt


def parse(text: str) -> Parsed:
    """As parse_prompt, with what only the template needs."""
    for ends, read in _SHAPES:
        turns = read(text)
        if turns is not None:
            made = tuple(Message(role, (TextPart(said),)) for role, said in turns if said or role != "system")
            return Parsed(MessagesPrompt(made), ends)
    return Parsed(TextPrompt((text,)))


def _read_chatml(text: str) -> Turns | None:
    turns: Turns = []
    at = 0
    while (close := text.find(_CLOSE, at)) >= 0:
        name, _, said = text[at:close].removeprefix(_OPEN).partition("\n")
        if not text.startswith(_OPEN, at) or name not in _SPEAKERS or _OPEN in said:
            return None
        turns.append((_SPEAKERS[name], said))
        at = close + len(_CLOSE)
        at += text.startswith("\n", at)
    asked = any(role == "user" for role, _ in turns)
    return turns if asked and text[at:].rstrip("\n") == f"{_OPEN}assistant" else None


def _read_marked(marks: re.Pattern[str], text: str) -> Turns | None:
    """A system's text, and turns that begin with a role and a colon."""
    found = list(marks.finditer(text))
    roles = [_ROLES[mark[1]] for mark in found]
    pairs, odd = divmod(len(roles), 2)
    if not found or odd or roles != ["user", "assistant"] * pairs or text[found[-1].end() :].strip():
        return None
    system = text[: found[0].start()]
    turns: Turns = [("system", system)] if system else []
    for mark, after in pairwise(found):
        turns.append((_ROLES[mark[1]], text[mark.end() : after.start()].removeprefix(" ")))
    return turns


_SHAPES: Final[tuple[tuple[frozenset[str], Callable[[str], Turns | None]], ...]] = (
    (frozenset({"<|im_end|>"}), _read_chatml),
    (frozenset({"###"}), partial(_read_marked, _HASHED)),
    (frozenset({"</s>"}), partial(_read_marked, _NAMED)),
)
