"""The shape that an answer must have, from OpenAI's and vLLM's words to llama.cpp's."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.workers.regexes import lark_regex

_LARK: Final = "%llguidance {}\nstart: "
"""So begins a grammar that the engine does not take for its own dialect."""
_REGEX: Final = "structured_outputs.regex"
_OBJECT: Final = Raw(b'{"type":"object"}')

_any: Final = msgspec.json.Decoder(Any)
_encode: Final = msgspec.json.Encoder().encode


class _Named(msgspec.Struct, frozen=True):
    schema: Raw = _OBJECT


class _Format(msgspec.Struct, frozen=True):
    type: str
    json_schema: _Named = _Named()


_format: Final = msgspec.json.Decoder(_Format | None)


def take_regex(fields: dict[str, Raw]) -> None:
    """Put a regular expression of a request into the engine's `grammar`; other shapes of vLLM's stay.

    Raises ServingError: bad_request for one that is none, unsupported for one that looks around or back.
    """
    raw = fields.pop("guided_regex", None)
    told: Any = None if raw is None else _any.decode(raw)
    structured: Any = _any.decode(fields.get("structured_outputs", b"null"))
    if isinstance(structured, dict) and cast("dict[str, Any]", structured).keys() == {"regex"}:
        told = cast("dict[str, Any]", structured)["regex"]
    elif structured is not None:
        return
    fields.pop("structured_outputs", None)
    if told is None:
        return
    if not isinstance(told, str):
        raise ServingError("bad_request", f"{_REGEX}: expected a text", param=_REGEX)
    try:
        terminal = lark_regex(told)
    except ServingError as error:
        raise ServingError(error.kind, f"{_REGEX}: {error.message}", param=_REGEX) from None
    fields["grammar"] = Raw(_encode(_LARK + terminal))


def take_format(fields: dict[str, Raw]) -> None:
    """Put a completion's `response_format`, which the engine reads of chats only, into its `json_schema`.

    Raises ServingError (bad_request) for a kind that there is not.
    """
    raw = fields.pop("response_format", None)
    if raw is None:
        return
    try:
        asked = _format.decode(raw)
    except msgspec.DecodeError as error:
        raise ServingError("bad_request", f"response_format: {error}", param="response_format") from None
    match asked:
        case None:
            return
        case _Format(type="text"):
            return
        case _Format(type="json_object"):
            fields["json_schema"] = _OBJECT
        case _Format(type="json_schema"):
            fields["json_schema"] = asked.json_schema.schema
        case _:
            raise ServingError(
                "bad_request",
                f"response_format.type: {asked.type!r} is none of text, json_object and json_schema",
                param="response_format.type",
            )
