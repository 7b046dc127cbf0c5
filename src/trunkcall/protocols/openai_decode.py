"""Decoding a caller's JSON, with errors that name the field at fault the way OpenAI writes it."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.protocols.openai_paths import under

T = TypeVar("T")


class _Typed(msgspec.Struct):
    type: str | None = None


_typed = msgspec.json.Decoder(_Typed)

_WHERE: Final = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$\.?(.*?)`)?")
_MISSING: Final = re.compile(r"Object missing required field `(.+)`")


def check_text(body: bytes) -> None:
    """Raise ServingError (bad_request) unless the body is UTF-8; msgspec does not look inside skipped fields."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise ServingError("bad_request", f"the body is not valid UTF-8 at byte {error.start}") from None


def decode(decoder: msgspec.json.Decoder[T], data: bytes | Raw, path: str = "") -> T:
    """Decode the JSON value at `path` of the request.

    Raises ServingError (bad_request) that says what was expected and where.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _unexpected(str(error), path) from None
    except msgspec.DecodeError as error:
        raise ServingError("bad_request", f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise ServingError("bad_request", "the body is nested too deeply") from None


def type_of(raw: Raw, path: str, default: str | None = None) -> str:
    """The `type` of the object at `path`.

    Raises ServingError (bad_request) when there is none and no default.
    """
    kind = decode(_typed, raw, path).type
    if kind is None:
        kind = default
    if kind is None:
        raise ServingError("bad_request", f"{path}.type: this field is required", param=f"{path}.type")
    return kind


def known_keys(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The JSON keys that a struct models."""
    return frozenset(struct.__struct_encode_fields__)


def _unexpected(text: str, path: str) -> ServingError:
    match = _WHERE.fullmatch(text)
    what, where = (match[1], match[2] or "") if match else (text, "")
    where = where.replace("[...]", "")
    joint = "." if path and where and not where.startswith("[") else ""
    param = f"{path}{joint}{where}"
    missing = _MISSING.fullmatch(what)
    if missing:
        param = under(param, missing[1])
        what = "this field is required"
    what = what[:1].lower() + what[1:]
    return ServingError("bad_request", f"{param}: {what}" if param else f"the body: {what}", param=param or None)
