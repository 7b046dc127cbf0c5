"""The turns of a conversation as Anthropic's messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
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
from trunkcall.protocols.media import read_file, read_media

PROTOCOL: Final = "anthropic"

Recall = Callable[[str], bytes | None]
"""The whole content that came with the tool call of this id, as JSON; None where none was kept."""

_blocks = msgspec.json.Decoder(list[dict[str, Any]])


def emit_messages(turns: Sequence[Turn], recall: Recall, dropped: list[str]) -> list[dict[str, Any]]:
    """`messages`; parts that it has no word for are named in `dropped`. Turns of one side in a row become one.

    Raises ServingError (bad_request) with the place at fault in `param`.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        message = turn.message
        if message.role in ("tool", "function"):
            role, content = "user", [_result(turn, dropped)]
        else:
            role, content = message.role, _content(turn, recall, dropped)
        if not content:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += content
        else:
            messages.append({"role": role, "content": content})
    for made in messages:
        made["content"] = _short(made["content"])
    return messages


def _short(content: list[Any]) -> list[Any] | str:
    """A single text is written as one, as people write it."""
    only: Any = content[0] if len(content) == 1 else None
    if isinstance(only, dict):
        block = cast("dict[str, Any]", only)
        if block["type"] == "text":
            return cast("str", block["text"])
    return content


def _content(turn: Turn, recall: Recall, dropped: list[str]) -> list[Any]:
    message = turn.message
    kept = _kept(message, recall)
    if kept is not None:
        return kept
    blocks: list[Any] = []
    calls = 0
    for index, part in enumerate(message.parts):
        match part:
            case ToolCallPart():
                field = f"{turn.path}.tool_calls[{calls}].function.arguments"
                calls += 1
                blocks.append(
                    {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_of(part, field)}
                )
            case ThinkingPart():
                # It has to be signed, and the signature is not there.
                dropped.append(f"{turn.path}.reasoning_content")
            case RefusalPart():
                dropped.append(f"{turn.path}.refusal")
                blocks.append({"type": "text", "text": part.text})
            case TextPart():
                # An empty block is refused.
                if part.text:
                    blocks.append({"type": "text", "text": part.text})
            case _:
                made = _media(part, f"{turn.path}.content[{index}]", message.role == "user", dropped)
                if made is not None:
                    blocks.append(made)
    return blocks


def _kept(message: Message, recall: Recall) -> list[Any] | None:
    """The answer as the model gave it, with its signed thoughts, when the caller sends the same back."""
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    kept = recall(calls[0].id) if calls else None
    if kept is None:
        return None
    blocks = _blocks.decode(kept)
    said = "".join(block["text"] for block in blocks if block["type"] == "text")
    called = [block["id"] for block in blocks if block["type"] == "tool_use"]
    text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
    return blocks if (said, called) == (text, [call.id for call in calls]) else None


def _media(part: Part, path: str, asked: bool, dropped: list[str]) -> dict[str, Any] | Raw | None:
    """One block that is no text; None where Anthropic has no word for it. asked: it stands in a user's turn."""
    match part:
        case ImagePart():
            if part.detail is not UNSET and part.detail != "auto":
                dropped.append(f"{path}.image_url.detail")
            media = read_media(part.url, f"{path}.image_url.url")
            if media is None:
                source = {"type": "url", "url": part.url}
            else:
                source = {"type": "base64", "media_type": media.type, "data": media.data}
            return {"type": "image", "source": source}
        case FilePart() if asked:
            return _document(part, path, dropped)
        case UnknownPart() if part.protocol == PROTOCOL:
            return part.raw
        case _:
            dropped.append(path)
            return None


def _document(part: FilePart, path: str, dropped: list[str]) -> dict[str, Any] | None:
    if part.data is not UNSET:
        media = read_file(part.data, part.filename or "", f"{path}.file.file_data")
        if media.type == "application/pdf":
            source = {"type": "base64", "media_type": media.type, "data": media.data}
        elif media.type.startswith("text/"):
            source = {"type": "text", "media_type": "text/plain", "data": media.text(f"{path}.file.file_data")}
        else:
            dropped.append(path)
            return None
    elif part.file_id is not UNSET:
        source = {"type": "file", "file_id": part.file_id}
    else:
        dropped.append(path)
        return None
    made: dict[str, Any] = {"type": "document", "source": source}
    if part.filename:
        made["title"] = part.filename
    return made


def _result(turn: Turn, dropped: list[str]) -> dict[str, Any]:
    message = turn.message
    if message.tool_call_id is UNSET:
        field = f"{turn.path}.tool_call_id"
        raise ServingError("bad_request", f"{field}: this field is required", param=field)
    content: list[Any] = []
    for index, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        else:
            made = _media(part, f"{turn.path}.content[{index}]", False, dropped)
            if made is not None:
                content.append(made)
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    if content:
        result["content"] = _short(content)
    return result
