"""The messages of an OpenAI conversation, both ways: JSON to Message and Message to JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UnknownPart,
)
from trunkcall.protocols.openai_decode import decode, known_keys, type_of
from trunkcall.protocols.openai_paths import PROTOCOL, SPELLING, Fields, keep_unmodelled, spelled, under


class _Called(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    id: str
    function: _Called


class _Message(msgspec.Struct):
    role: Role
    content: str | list[Raw] | None | UnsetType = UNSET
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[Raw] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    function_call: _Called | None = None


class _Text(msgspec.Struct):
    text: str


class _Refusal(msgspec.Struct):
    refusal: str


class _ImageUrl(msgspec.Struct):
    url: str
    detail: str | UnsetType = UNSET


class _Image(msgspec.Struct):
    image_url: _ImageUrl


class _InputAudio(msgspec.Struct):
    data: str
    format: str


class _Audio(msgspec.Struct):
    input_audio: _InputAudio


class _FileData(msgspec.Struct):
    file_id: str | UnsetType = UNSET
    filename: str | UnsetType = UNSET
    file_data: str | UnsetType = UNSET


class _File(msgspec.Struct):
    file: _FileData


_message = msgspec.json.Decoder(_Message)
_tool_call = msgspec.json.Decoder(_ToolCall)
_text = msgspec.json.Decoder(_Text)
_refusal = msgspec.json.Decoder(_Refusal)
_image = msgspec.json.Decoder(_Image)
_audio = msgspec.json.Decoder(_Audio)
_file = msgspec.json.Decoder(_File)

_MESSAGE_KEYS: Final = known_keys(_Message)
_CALL_KEYS: Final = known_keys(_ToolCall) | {"type"}
_CALLED_KEYS: Final = known_keys(_Called)
_PART_KEYS: Final[dict[str, frozenset[str]]] = {
    "image_url": known_keys(_ImageUrl),
    "input_audio": known_keys(_InputAudio),
    "file": known_keys(_FileData),
}
"""Content parts whose fields stand in an object of the part's own name."""


def read_messages(raws: Sequence[Raw], extra: Fields) -> tuple[Message, ...]:
    """Read `messages`; what the neutral model has no word for goes to `extra`.

    Raises ServingError (bad_request) with the place at fault in `param`.
    """
    messages: list[Message] = []
    called = ""
    for index, raw in enumerate(raws):
        path = f"messages[{index}]"
        fields = decode(_message, raw, path)
        keep_unmodelled(extra, raw, path, _MESSAGE_KEYS)
        message = _read_message(fields, path, extra)
        # The deprecated function calls have no ids; they get some, so that every engine can pair them.
        if fields.function_call is not None:
            called = f"call_{index}"
            part = ToolCallPart(called, fields.function_call.name, fields.function_call.arguments)
            message = msgspec.structs.replace(message, parts=(*message.parts, part))
        elif message.role == "function" and called:
            message = msgspec.structs.replace(message, role="tool", tool_call_id=called)
            called = ""
        messages.append(message)
    return tuple(messages)


def _read_message(fields: _Message, path: str, extra: Fields) -> Message:
    parts: list[Part] = []
    content = fields.content
    if fields.reasoning_content is not None:
        parts.append(ThinkingPart(fields.reasoning_content))
    if fields.reasoning is not None:
        if fields.reasoning_content is None:
            parts.append(ThinkingPart(fields.reasoning))
            extra[under(path, "reasoning")] = SPELLING
        else:
            extra[under(path, "reasoning")] = Raw(msgspec.json.encode(fields.reasoning))
    if isinstance(content, str):
        parts.append(TextPart(content))
    elif isinstance(content, list):
        parts += [_read_part(raw, f"{path}.content[{index}]", extra) for index, raw in enumerate(content)]
    elif fields.role not in ("assistant", "function"):
        where = f"{path}.content"
        raise ServingError("bad_request", f"{where}: expected a text or a list of parts", param=where)
    if fields.refusal is not None:
        if isinstance(content, list):
            extra[under(path, "refusal")] = Raw(msgspec.json.encode(fields.refusal))
        else:
            parts.append(RefusalPart(fields.refusal))
    for index, raw in enumerate(fields.tool_calls or ()):
        where = f"{path}.tool_calls[{index}]"
        if type_of(raw, where, "function") != "function":
            extra[where] = raw
            continue
        call = decode(_tool_call, raw, where)
        inner = keep_unmodelled(extra, raw, where, _CALL_KEYS)
        keep_unmodelled(extra, inner["function"], f"{where}.function", _CALLED_KEYS)
        parts.append(ToolCallPart(call.id, call.function.name, call.function.arguments))
    if fields.role == "tool" and fields.tool_call_id is None:
        where = f"{path}.tool_call_id"
        raise ServingError("bad_request", f"{where}: this field is required", param=where)
    return Message(
        fields.role,
        tuple(parts),
        name=UNSET if fields.name is None else fields.name,
        tool_call_id=UNSET if fields.tool_call_id is None else fields.tool_call_id,
        plain=not isinstance(content, list),
    )


def _read_part(raw: Raw, path: str, extra: Fields) -> Part:
    kind = type_of(raw, path)
    part: Part
    match kind:
        case "text":
            part = TextPart(decode(_text, raw, path).text)
        case "refusal":
            part = RefusalPart(decode(_refusal, raw, path).refusal)
        case "image_url":
            image = decode(_image, raw, path).image_url
            part = ImagePart(image.url, image.detail)
        case "input_audio":
            audio = decode(_audio, raw, path).input_audio
            part = AudioPart(audio.data, audio.format)
        case "file":
            file = decode(_file, raw, path).file
            part = FilePart(file.file_id, file.filename, file.file_data)
        case _:
            return UnknownPart(PROTOCOL, raw)
    fields = keep_unmodelled(extra, raw, path, frozenset(("type", kind)))
    if kind in _PART_KEYS:
        keep_unmodelled(extra, fields[kind], f"{path}.{kind}", _PART_KEYS[kind])
    return part


def emit_messages(messages: Sequence[Message], spellings: Fields, dropped: list[str]) -> list[dict[str, Any]]:
    """`messages` as JSON values; parts that only other protocols know are named in `dropped`."""
    return [_emit_message(message, f"messages[{index}]", spellings, dropped) for index, message in enumerate(messages)]


def _emit_message(message: Message, path: str, spellings: Fields, dropped: list[str]) -> dict[str, Any]:
    content: list[Part] = []
    calls: list[dict[str, Any]] = []
    made: dict[str, Any] = {"role": message.role, "content": None}
    for index, part in enumerate(message.parts):
        match part:
            case ThinkingPart():
                key = "reasoning" if spelled(spellings, under(path, "reasoning")) else "reasoning_content"
                made[key] = made.get(key, "") + part.text
            case ToolCallPart():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case RefusalPart() if message.plain:
                made["refusal"] = part.text
            case UnknownPart() if part.protocol != PROTOCOL:
                dropped.append(f"{path}.content[{index}]")
            case _:
                content.append(part)
    texts = [part.text for part in content if isinstance(part, TextPart)]
    if not message.plain or len(texts) < len(content):
        made["content"] = [_emit_part(part) for part in content]
    elif texts or message.role not in ("assistant", "function"):
        made["content"] = "".join(texts)
    if message.name is not UNSET:
        made["name"] = message.name
    if message.tool_call_id is not UNSET:
        made["tool_call_id"] = message.tool_call_id
    if calls:
        made["tool_calls"] = calls
    return made


def _emit_part(part: Part) -> dict[str, Any] | Raw:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case RefusalPart():
            return {"type": "refusal", "refusal": part.text}
        case ImagePart():
            return {"type": "image_url", "image_url": msgspec.to_builtins(_ImageUrl(part.url, part.detail))}
        case AudioPart():
            return {"type": "input_audio", "input_audio": msgspec.to_builtins(_InputAudio(part.data, part.format))}
        case FilePart():
            return {"type": "file", "file": msgspec.to_builtins(_FileData(part.file_id, part.filename, part.data))}
        case UnknownPart():
            return part.raw
        case _:
            raise TypeError(f"{type(part).__name__} is not a content part")
