"""OpenAI's requests as TGI takes them: nulls for what is not said, and its own grammars, defaults and rules."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Format, Generate, MessagesPrompt, Sampling, TextPrompt, TokenPrompt
from trunkcall.protocols import openai_requests
from trunkcall.protocols.openai_decode import check_text, decode
from trunkcall.protocols.openai_paths import NULL
from trunkcall.protocols.tgi_asked import max_new_tokens
from trunkcall.protocols.tgi_checks import check_stops, check_top_n, settle
from trunkcall.protocols.tgi_errors import TypedError
from trunkcall.protocols.tgi_grammar import Grammar, read_grammar
from trunkcall.protocols.tgi_limits import Compat, Limits
from trunkcall.protocols.tgi_words import TOOL

_STATUS: Final = 422
_EMPTY: Final = Raw(b'""')
_MODES: Final = frozenset({"auto", "none", "required"})


class OpenAIHead(msgspec.Struct, frozen=True):
    """What must be known of a request before it is read: the model that it names, and whether it is streamed."""

    model: str = ""
    stream: bool = False


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


class _Type(msgspec.Struct):
    type: str
    value: Raw = Raw(b"")
    json_schema: Raw = Raw(b"")


_head: Final = msgspec.json.Decoder(_Head)
_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_messages: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_type: Final = msgspec.json.Decoder(_Type)
_choice: Final = msgspec.json.Decoder(Any)
_encode: Final = msgspec.json.Encoder().encode


def read_head(body: bytes) -> OpenAIHead:
    """Raises ServingError (bad_request) for a body that is no JSON object."""
    check_text(body)
    head = decode(_head, body)
    return OpenAIHead(head.model or "", bool(head.stream))


def read_chat(body: bytes, model: str, compat: Compat, limits: Limits) -> Generate:
    """The body of /v1/chat/completions, for the model that answers.

    A temperature of 0 is greedy, without one it is 1; a stop sequence stays in the text.

    Raises ServingError (bad_request) with TGI's text and the field at fault in `param`.
    """
    fields = _read(body, model)
    if "messages" in fields:
        turns = decode(_messages, fields["messages"], "messages")
        fields["messages"] = Raw(_encode([_without_nulls(turn) for turn in turns]))
    shape = _read_format(fields)
    if shape is not UNSET and "tools" in fields:
        raise TypedError(
            "bad_request",
            "`tools` and `response_format` cannot be used together; leave one of them out",
            TOOL,
            _STATUS,
            "response_format",
        )
    _name_tool(fields)
    request = openai_requests.read_chat(_encode(fields))
    return _settled(request, shape, compat, limits)


def read_completion(body: bytes, model: str, compat: Compat, limits: Limits) -> Generate:
    """The body of /v1/completions; all else as read_chat."""
    fields = _read(body, model)
    if fields.get("suffix", _EMPTY) != _EMPTY:
        raise TypedError(
            "bad_request",
            "Suffix is not supported; put it into the prompt",
            "suffix not supported",
            _STATUS,
            "suffix",
        )
    shape = _read_format(fields)
    request = openai_requests.read_completion(_encode(fields))
    prompts = request.prompt
    count = (
        1
        if isinstance(prompts, MessagesPrompt)
        else len(prompts.texts if isinstance(prompts, TextPrompt) else prompts.prompts)
    )
    if count > limits.max_client_batch_size:
        raise TypedError(
            "bad_request",
            f"Number of prompts exceeds the maximum allowed batch size of {limits.max_client_batch_size}",
            "batch size exceeded",
            _STATUS,
            "prompt",
        )
    return _settled(request, shape, compat, limits)


def with_room(request: Generate, input_tokens: int | None, limits: Limits, compat: Compat) -> Generate:
    """The request with its answer's length settled; input_tokens: of its longest prompt, None where not counted.

    Raises ServingError (bad_request) with TGI's text when prompt and answer are over the limits.
    """
    wanted = request.sampling.max_tokens
    settled = settle(wanted if isinstance(wanted, int) else None, input_tokens, limits, compat)
    return msgspec.structs.replace(request, sampling=msgspec.structs.replace(request.sampling, max_tokens=settled))


def texts_of(request: Generate) -> tuple[str, ...]:
    """The prompts of a completion that are text."""
    return request.prompt.texts if isinstance(request.prompt, TextPrompt) else ()


def ids_of(request: Generate) -> tuple[tuple[int, ...], ...]:
    """The prompts of a completion that are token ids."""
    return request.prompt.prompts if isinstance(request.prompt, TokenPrompt) else ()


def _read(body: bytes, model: str) -> dict[str, Raw]:
    check_text(body)
    fields = _without_nulls(decode(_fields, body))
    fields["model"] = Raw(_encode(model))
    return fields


def _without_nulls(fields: dict[str, Raw]) -> dict[str, Raw]:
    return {name: raw for name, raw in fields.items() if raw != NULL}


def _read_format(fields: dict[str, Raw]) -> Format | UnsetType:
    """Take response_format out, in TGI's form, whose key is always `value`, or in OpenAI's."""
    raw = fields.pop("response_format", None)
    if raw is None:
        return UNSET
    told = decode(_type, raw, "response_format")
    value = told.value or told.json_schema
    match told.type:
        case "text":
            return UNSET
        case "json_object" if not value:
            return Format("json")
        case "json" | "json_object" | "regex":
            return read_grammar(Grammar(told.type, value))
        case "json_schema":
            return read_grammar(Grammar("json_schema", value))
        case _:
            raise ServingError(
                "bad_request",
                f"response_format.type: {told.type!r} is none of json, json_object, json_schema and regex",
                param="response_format.type",
            )


def _name_tool(fields: dict[str, Raw]) -> None:
    """TGI takes a tool's bare name too."""
    raw = fields.get("tool_choice")
    if raw is None:
        return
    choice: Any = decode(_choice, raw, "tool_choice")
    if isinstance(choice, str) and choice not in _MODES:
        fields["tool_choice"] = Raw(_encode({"type": "function", "function": {"name": choice}}))
    elif isinstance(choice, dict) and "function" in choice:
        fields["tool_choice"] = Raw(_encode({"type": "function", **cast("dict[str, Any]", choice)}))


def _settled(request: Generate, shape: Format | UnsetType, compat: Compat, limits: Limits) -> Generate:
    stops = request.stops
    check_stops(len(stops.strings or ()), limits)
    check_top_n(request.reporting.logprobs or 0, limits)
    sampling = request.sampling
    wanted = sampling.max_tokens
    changed: Sampling = msgspec.structs.replace(
        sampling,
        temperature=1.0 if sampling.temperature in (None, UNSET) else sampling.temperature,
        max_tokens=max_new_tokens(UNSET if wanted is None else wanted, compat),
    )
    return msgspec.structs.replace(
        request,
        sampling=changed,
        stops=msgspec.structs.replace(stops, include=bool(stops.strings)),
        shape=request.shape if shape is UNSET else msgspec.structs.replace(request.shape, format=shape),
    )
