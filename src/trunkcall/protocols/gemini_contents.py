"""The turns of a conversation as Gemini's contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UnknownPart,
)
from trunkcall.protocols.conversation import Turn, arguments_of
from trunkcall.protocols.media import Media, named_type, read_file, read_media

PROTOCOL: Final = "gemini"

UNSIGNED: Final = "skip_thought_signature_validator"
"""What Google's documentation gives for calls that have no signature: those of other models."""

Recall = Callable[[str], bytes | None]
"""What was kept of the tool call with this id; None where nothing was."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def emit_contents(turns: Sequence[Turn], recall: Recall, signed: bool, dropped: list[str]) -> list[dict[str, Any]]:
    """`contents`; parts that it has no word for are named in `dropped`.

    signed: the model refuses a turn of tool calls without a signature.

    Raises ServingError (bad_request) with the place at fault in `param`.
    """
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    answered = False
    for turn in turns:
        message = turn.message
        if message.role in ("tool", "function"):
            part = _result(turn, names, dropped)
            if answered:
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
            answered = True
            continue
        answered = False
        names.update((part.id, part.name) for part in message.parts if isinstance(part, ToolCallPart))
        parts = _parts(turn, recall, signed, dropped)
        if parts:
            contents.append({"role": "model" if message.role == "assistant" else "user", "parts": parts})
    return contents


def _parts(turn: Turn, recall: Recall, signed: bool, dropped: list[str]) -> list[Any]:
    parts: list[Any] = []
    calls: list[dict[str, Any]] = []
    for index, part in enumerate(turn.message.parts):
        match part:
            case ToolCallPart():
                made = _call(part, f"{turn.path}.tool_calls[{len(calls)}]", recall)
                calls.append(made)
                parts.append(made)
            case ThinkingPart():
                dropped.append(f"{turn.path}.reasoning_content")
            case RefusalPart():
                dropped.append(f"{turn.path}.refusal")
                parts.append({"text": part.text})
            case TextPart():
                # The API refuses an empty part; in an answer it says nothing anyway.
                if part.text or turn.message.role == "user":
                    parts.append({"text": part.text})
            case _:
                made = _media(part, f"{turn.path}.content[{index}]", dropped)
                if made is not None:
                    parts.append(made)
    if signed and calls and not any("thoughtSignature" in call for call in calls):
        calls[0]["thoughtSignature"] = UNSIGNED
    return parts


def _call(part: ToolCallPart, path: str, recall: Recall) -> dict[str, Any]:
    arguments = arguments_of(part, f"{path}.function.arguments")
    made: dict[str, Any] = {"functionCall": {"id": part.id, "name": part.name, "args": arguments}}
    signature = recall(part.id)
    if signature is not None:
        made["thoughtSignature"] = signature.decode()
    return made


def _media(part: Part, path: str, dropped: list[str]) -> dict[str, Any] | msgspec.Raw | None:
    """One part that is no text; None where Gemini has no word for it."""
    match part:
        case ImagePart():
            if part.detail is not UNSET and part.detail != "auto":
                dropped.append(f"{path}.image_url.detail")
            media = read_media(part.url, f"{path}.image_url.url")
            if media is not None:
                return _inline(media)
            return {"fileData": {"fileUri": part.url, "mimeType": named_type(part.url) or "image/jpeg"}}
        case AudioPart():
            return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}
        case FilePart(data=str(data)):
            return _inline(read_file(data, part.filename or "", f"{path}.file.file_data"))
        case FilePart(file_id=str(uri)):
            return {"fileData": {"fileUri": uri}}
        case UnknownPart() if part.protocol == PROTOCOL:
            return part.raw
        case _:
            dropped.append(path)
            return None


def _inline(media: Media) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media.type, "data": media.data}}


def _result(turn: Turn, names: dict[str, str], dropped: list[str]) -> dict[str, Any]:
    """What a tool gave, under the name of the function that was called."""
    message = turn.message
    name = names.get(message.tool_call_id) if message.tool_call_id is not UNSET else None
    if name is None and message.name is not UNSET:
        name = message.name
    if name is None:
        field = f"{turn.path}.tool_call_id"
        raise ServingError(
            "bad_request", f"{field}: no earlier message has a tool call with this id; send it too", param=field
        )
    response: dict[str, Any] = {"name": name, "response": _response(message, turn.path, dropped)}
    if message.tool_call_id is not UNSET:
        response["id"] = message.tool_call_id
    return {"functionResponse": response}


def _response(message: Message, path: str, dropped: list[str]) -> dict[str, Any] | msgspec.Raw:
    texts: list[str] = []
    for index, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            texts.append(part.text)
        else:
            dropped.append(f"{path}.content[{index}]")
    text = "".join(texts)
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"output": text}
    return msgspec.Raw(text.encode())
