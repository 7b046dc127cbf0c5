"""Errors in FastChat's words, both ways: a text with a code, told with status 200."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.core.errors import Kind, ServingError, WrongMethod
from trunkcall.core.ports import Response
from trunkcall.protocols import fastchat_words as words

JSON_TYPE: Final = b"application/json"
STREAM_TYPE: Final = b"application/octet-stream"
"""FastChat's own streams name no type, which stands for this one (RFC 9110, 8.3)."""

_CODES: Final[dict[Kind, int]] = {
    "bad_request": words.VALIDATION_FAILED,
    "unsupported": words.VALIDATION_FAILED,
    "unauthenticated": words.INCORRECT_KEY,
    "forbidden": words.NO_PERMISSION,
    "no_model": words.INVALID_MODEL,
    "no_route": words.VALIDATION_FAILED,
    "conflict": words.VALIDATION_FAILED,
    "too_long": words.CONTEXT_OVERFLOW,
    "too_large": words.VALIDATION_FAILED,
    "rate_limited": words.RATE_LIMIT,
    "quota": words.QUOTA,
    "overloaded": words.OVERLOADED,
    "no_capacity": words.NO_WORKER,
    "loading": words.NO_WORKER,
    "unreachable": words.WORKER_TIMEOUT,
    "upstream_error": words.INTERNAL,
    "upstream_timeout": words.WORKER_TIMEOUT,
    "cancelled": words.INTERNAL,
    "deadline": words.WORKER_TIMEOUT,
    "draining": words.NO_WORKER,
    "out_of_memory": words.OUT_OF_MEMORY,
    "bug": words.INTERNAL,
}

_KINDS: Final[dict[int, Kind]] = {
    words.VALIDATION_FAILED: "bad_request",
    words.INVALID_KEY: "unauthenticated",
    words.INCORRECT_KEY: "unauthenticated",
    words.NO_PERMISSION: "forbidden",
    words.INVALID_MODEL: "no_model",
    words.OUT_OF_RANGE: "bad_request",
    words.CONTEXT_OVERFLOW: "too_long",
    words.RATE_LIMIT: "rate_limited",
    words.QUOTA: "quota",
    words.OVERLOADED: "overloaded",
    words.OUT_OF_MEMORY: "out_of_memory",
    words.NO_WORKER: "no_capacity",
    words.WORKER_TIMEOUT: "upstream_timeout",
}
"""All others are upstream_error."""

_TOLD: Final = 300
"""Most characters of a text without a known code that are shown."""

_encode = msgspec.json.Encoder().encode


def error_code(error: ServingError) -> int:
    """FastChat's code for an error."""
    return _CODES[error.kind]


def error_of(code: int, text: str) -> ServingError:
    """What a code and its text mean when a worker or a controller tells them; `text` as it was sent."""
    kind = _KINDS.get(code, "upstream_error")
    upstream = (200, _encode({"text": text, "error_code": code}))
    cause = _cause(text)
    if kind == "upstream_error":
        cause = f"the FastChat worker failed (error_code {code}): {cause or 'it gave no reason; its log may have one'}"
    elif kind == "out_of_memory":
        cause = f"the FastChat worker has no memory left: {cause}. Send a shorter prompt, or fewer at once"
    elif kind in ("no_capacity", "upstream_timeout"):
        cause = f"no FastChat worker has answered: {cause}. See whether one runs and is registered"
    return ServingError(kind, cause or f"error_code {code}", upstream=upstream)


def fault_frame(error: ServingError) -> bytes:
    """The error as an object of a stream, with its end."""
    return _object(error) + words.END


def failure(error: ServingError, stream: bool = False) -> Response:
    """The error before the first byte: status 200, because clients read the text of no other.

    stream: as the one object of a stream, for /worker_generate_stream, which is split at its end marks.
    """
    if stream:
        return Response(200, fault_frame(error), ((b"content-type", STREAM_TYPE),))
    return Response(200, _object(error), ((b"content-type", JSON_TYPE),))


def unrouted(error: ServingError) -> Response | None:
    """What the original's framework says of a path or a method that it does not have; None for any other error."""
    if error.kind == "no_route":
        return Response(404, b'{"detail":"Not Found"}')
    if isinstance(error, WrongMethod):
        return Response(405, b'{"detail":"Method Not Allowed"}')
    return None


def _object(error: ServingError) -> bytes:
    return _encode({"text": error.message, "error_code": error_code(error)})


def _cause(text: str) -> str:
    """The cause in a worker's text, whose first sentence is the same for every cause."""
    before, found, after = text.partition(words.NETWORK_ERROR)
    if found:
        text = before.strip("* \n") + after.strip("* \n")
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
    return text.strip()[:_TOLD]
