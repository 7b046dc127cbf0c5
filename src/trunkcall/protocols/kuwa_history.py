"""Kuwa's histories: the JSON of the field `input`, and the conversation that it stands for.

A turn of the wire is `{"isbot": bool, "msg": text or null}`; of a conversation `{"role": ..., "content": text}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from trunkcall.protocols.kuwa_decode import decode_field

Turns = list[dict[str, str]]

_SHAPE: Final = 'a JSON list of {"isbot": false, "msg": "..."}, oldest first'
_URL: Final = re.compile(r"https?://\S+")


class _Turn(msgspec.Struct):
    # Clients in PHP send 0 and 1 too.
    isbot: bool | int | None
    msg: str | None


_turns: Final = msgspec.json.Decoder(list[_Turn])
_encode: Final = msgspec.json.Encoder().encode


def read_history(text: str = "[]") -> Turns:
    """The conversation in the field `input`, as `rectify_chat_history` leaves it; a null message is an empty text.

    Raises ServingError (bad_request) unless it is a list of turns.
    """
    turns = decode_field(_turns, text, "input", _SHAPE)
    return rectify_chat_history([_converted(turn.isbot, turn.msg) for turn in turns])


def write_history(messages: Iterable[Mapping[str, str]]) -> str:
    """A conversation as the text of the field `input`; whoever is not the assistant is the user."""
    return _encode([{"isbot": turn["role"] == "assistant", "msg": turn["content"]} for turn in messages]).decode()


def to_openai_chat_format(history: list[dict[str, Any]]) -> Turns:
    """Turns of the wire as a conversation; a null message is an empty text."""
    return [_converted(turn["isbot"], turn["msg"]) for turn in history]


def rectify_chat_history(history: Turns) -> Turns:
    """The conversation from its first user turn on, but never without its last two turns."""
    first = next((index for index, turn in enumerate(history) if turn["role"] == "user"), len(history))
    return history[max(0, min(first, len(history) - 2)) :]


def extract_last_url(history: Turns) -> tuple[str | None, Turns]:
    """The last http(s) URL that the user wrote, and the conversation from that turn on, without the turn's URLs.

    Without one: None and the whole conversation.
    """
    for index in range(len(history) - 1, -1, -1):
        turn = history[index]
        if turn["role"] == "user" and (urls := _URL.findall(turn["content"])):
            asked = {**turn, "content": _URL.sub("", turn["content"]).strip()}
            return urls[-1], [asked, *history[index + 1 :]]
    return None, list(history)


def _converted(isbot: object, msg: str | None) -> dict[str, str]:
    return {"role": "assistant" if isbot else "user", "content": "" if msg is None else msg}
