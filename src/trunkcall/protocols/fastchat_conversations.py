"""Conversations and votes of a chat page as FastChat's web servers log them: bodies read, lines written."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fastchat_named import named
from trunkcall.protocols.media import read_media
from trunkcall.protocols.own_json import read_body

PLAIN: Final = "zero_shot"
"""The template that is noted where a model's own chat template is used: every FastChat knows it, and it begins with no
examples."""
MOST_TURNS: Final = 2000

_ONE: Final = {"upvote": "upvote", "downvote": "downvote", "flag": "flag"}
"""A vote on one answer -> its line's type."""
_TWO: Final = {"left": "leftvote", "right": "rightvote", "tie": "tievote", "bothbad": "bothbad_vote"}
"""A vote on two -> its line's type."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_-]{1,64}\Z")]
_Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class _Url(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    detail: str | None = None


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text"):
    text: str


class _Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image_url"):
    image_url: _Url


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message; content: text, or parts as in OpenAI's API."""

    role: Literal["user", "assistant", "tool"]
    content: str | tuple[_Text | _Image, ...]


class Parameters(msgspec.Struct, frozen=True):
    """What was set for the sampling, null for what was left to the model; FastChat's line has no place for more."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversation as far as it has come.

    template: FastChat's name of the one that made its prompts, empty for the model's own; start, finish: of the last
    answer, unix seconds; mode: how the page asked, for which FastChat's line has no place.
    """

    conversation_id: _Id
    model: _Name
    messages: Annotated[tuple[Turn, ...], msgspec.Meta(min_length=1, max_length=MOST_TURNS)]
    system: str | None = None
    template: str = ""
    start: _Moment | None = None
    finish: _Moment | None = None
    parameters: Parameters = Parameters()
    mode: Literal["single", "anonymous", "named"] = "single"


class Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody thinks of one answer, or of two side by side; anonymous: whether their names were hidden."""

    vote: Literal["upvote", "downvote", "flag", "left", "right", "tie", "bothbad"]
    conversations: Annotated[tuple[Conversation, ...], msgspec.Meta(min_length=1, max_length=2)]
    anonymous: bool = False


_conversation = msgspec.json.Decoder(Conversation)
_vote = msgspec.json.Decoder(Vote)


def read_conversation(body: bytes) -> Conversation:
    """A conversation whose last answer is complete.

    Raises ServingError (bad_request) that names the field at fault.
    """
    found = read_body(body, _conversation)
    for field in ("start", "finish"):
        if getattr(found, field) is None:
            raise ServingError("bad_request", f"the body lacks the field {field}, in unix seconds", param=field)
    return found


def read_vote(body: bytes) -> Vote:
    """A vote with the conversations that it is about, as many as its kind has.

    Raises ServingError (bad_request) that names the field at fault.
    """
    found = read_body(body, _vote)
    wanted = 1 if found.vote in _ONE else 2
    if len(found.conversations) != wanted:
        raise ServingError(
            "bad_request",
            f"conversations: {len(found.conversations)} of them for the vote {found.vote!r}, which is about {wanted}",
            param="conversations",
        )
    if found.anonymous and wanted == 1:
        raise ServingError(
            "bad_request", f"anonymous: the vote {found.vote!r} is about one model; leave it out", param="anonymous"
        )
    return found


def file_name(now: datetime) -> str:
    """The log of a day, in local time as FastChat has it."""
    return f"{now:%Y-%m-%d}-conv.json"


def chat_line(found: Conversation, ip: str, now: float) -> bytes:
    """The line of an answer; now: unix seconds.

    Raises ServingError (bad_request) for an unknown template or an image that cannot be read.
    """
    return _line(
        {
            "tstamp": round(now, 4),
            "type": "chat",
            "model": found.model,
            "gen_params": {
                "temperature": found.parameters.temperature,
                "top_p": found.parameters.top_p,
                "max_new_tokens": found.parameters.max_tokens,
            },
            "start": None if found.start is None else round(found.start, 4),
            "finish": None if found.finish is None else round(found.finish, 4),
            "state": _state(found, ""),
            "ip": ip,
            "images": _images(found),
        }
    )


def vote_line(found: Vote, ip: str, now: float) -> bytes:
    """The line of a vote; now: unix seconds. Raises ServingError (bad_request) for an unknown template."""
    if found.vote in _ONE:
        (only,) = found.conversations
        line = {"type": _ONE[found.vote], "model": only.model, "state": _state(only, "conversations[0].")}
    else:
        line = {
            "type": _TWO[found.vote],
            # Readers tell a battle of hidden names by this; the states have them.
            "models": ["" if found.anonymous else one.model for one in found.conversations],
            "states": [_state(one, f"conversations[{at}].") for at, one in enumerate(found.conversations)],
        }
    return _line({"tstamp": round(now, 4), **line, "ip": ip})


def _line(value: dict[str, Any]) -> bytes:
    """ASCII with spaces as Python's json writes it: the scripts that read these logs open them in any locale."""
    return json.dumps(value).encode() + b"\n"


def _state(found: Conversation, place: str) -> dict[str, Any]:
    try:
        template = named(found.template or PLAIN)
    except ServingError as error:
        raise ServingError("bad_request", f"{place}template: {error.message}", param=f"{place}template") from None
    names = {"user": template.roles[0], "assistant": template.roles[1]}
    # The instructions of PLAIN are no part of what a model's own chat template was given.
    usual = template.system_message if found.template else ""
    examples = [[role, text] for role, text in template.messages]
    return {
        "template_name": template.name,
        "system_message": usual if found.system is None else found.system,
        "roles": list(template.roles),
        "messages": examples + [[names.get(turn.role, turn.role), _text(turn)] for turn in found.messages],
        "offset": template.offset,
        "conv_id": found.conversation_id,
        "model_name": found.model,
    }


def _text(turn: Turn) -> str:
    if isinstance(turn.content, str):
        return turn.content
    return "\n".join(part.text for part in turn.content if isinstance(part, _Text))


def _images(found: Conversation) -> list[str]:
    """Each image of the conversation by the SHA-256 of its file, or by its address where it is not in the body."""
    noted: list[str] = []
    for number, turn in enumerate(found.messages):
        parts = () if isinstance(turn.content, str) else turn.content
        for at, part in enumerate(parts):
            if isinstance(part, _Image):
                url = part.image_url.url
                media = read_media(url, f"messages[{number}].content[{at}].image_url.url")
                noted.append(url if media is None else hashlib.sha256(base64.b64decode(media.data)).hexdigest())
    return noted
