"""A request as APIs take it that keep instructions apart from the turns and answer one prompt at a time."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Count, Generate, Message, MessagesPrompt, Prompt, TextPart, TextPrompt, ToolCallPart

_INSTRUCTIONS = ("system", "developer")

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Turn(msgspec.Struct, frozen=True):
    """A message of the conversation; `path` is its name in the request, `messages[2]`."""

    path: str
    message: Message


class Conversation(msgspec.Struct, frozen=True):
    """system: the texts of all instructions; lost: the names of what of them has no place there."""

    system: tuple[str, ...]
    turns: tuple[Turn, ...]
    lost: tuple[str, ...]


def as_conversation(request: Generate | Count, whose: str) -> Conversation:
    """Take the instructions out of a request's turns; a text is a turn of the user.

    whose: the API, for errors. Instructions in the middle move to the front, and their place is named as lost:
    models that take them where they stand are few, and the others refuse the request.

    Raises ServingError (unsupported) for several prompts or token ids.
    """
    system: list[str] = []
    turns: list[Turn] = []
    lost: list[str] = []
    for index, message in enumerate(_messages(request.prompt, whose)):
        path = f"messages[{index}]"
        if message.name is not UNSET and message.role != "function":
            lost.append(f"{path}.name")
        if message.role not in _INSTRUCTIONS:
            turns.append(Turn(path, message))
            continue
        if turns:
            lost.append(f"{path}.role")
        for place, part in enumerate(message.parts):
            if isinstance(part, TextPart):
                system.append(part.text)
            else:
                lost.append(f"{path}.content[{place}]")
    if isinstance(request, Generate) and request.templating.system_override is not UNSET:
        system = [request.templating.system_override]
    return Conversation(tuple(text for text in system if text), tuple(turns), tuple(lost))


def _messages(prompt: Prompt, whose: str) -> tuple[Message, ...]:
    match prompt:
        case MessagesPrompt(messages):
            return messages
        case TextPrompt((text,)):
            return (Message("user", (TextPart(text),)),)
        case TextPrompt():
            raise ServingError(
                "unsupported", f"{whose} answers one prompt at a time; send one request for each", param="prompt"
            )
        case _:
            raise ServingError(
                "unsupported", f"{whose} takes text, not token ids; send the prompt as text", param="prompt"
            )


def arguments_of(call: ToolCallPart, field: str) -> msgspec.Raw:
    """The arguments of an earlier tool call as a JSON object; none are an empty one.

    Raises ServingError (bad_request) naming `field` when the text is not one.
    """
    text = call.arguments.strip().encode() or b"{}"
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ServingError("bad_request", f"{field}: expected a JSON object, as text", param=field) from None
    return msgspec.Raw(text)
