"""Decoding the JSON that Kuwa carries in form fields, with errors that name the field and its shape."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from trunkcall.core.errors import ServingError

T = TypeVar("T")


def decode_field(decoder: msgspec.json.Decoder[T], text: str, field: str, shape: str) -> T:
    """Decode the text of a form field; `shape` tells the caller what to send.

    Raises ServingError (bad_request) with the field in `param`.
    """
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    raise ServingError("bad_request", f"{field}: {reason}; send {shape}", param=field)
