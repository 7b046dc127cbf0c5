"""Errors in Anthropic's words: an error object becomes a ServingError."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.core.errors import Kind, ServingError

_BY_TYPE: Final[dict[str, Kind]] = {
    "invalid_request_error": "bad_request",
    "authentication_error": "unauthenticated",
    "permission_error": "forbidden",
    "not_found_error": "no_model",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limited",
    "billing_error": "quota",
    "timeout_error": "upstream_timeout",
    "overloaded_error": "overloaded",
    "api_error": "upstream_error",
}

_BY_STATUS: Final[dict[int, Kind]] = {
    400: "bad_request",
    401: "unauthenticated",
    402: "quota",
    403: "forbidden",
    404: "no_model",
    413: "too_large",
    429: "rate_limited",
    503: "overloaded",
    504: "upstream_timeout",
    529: "overloaded",
}
"""For answers that are not Anthropic's, as proxies give them."""

_PHRASES: Final[tuple[tuple[str, Kind], ...]] = (
    ("prompt is too long", "too_long"),
    ("exceed context limit", "too_long"),
    ("credit balance is too low", "quota"),
)
"""What an invalid_request_error only says in its message."""

_QUOTED: Final = 300
"""Most characters of an unreadable answer that are shown."""


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Answer(msgspec.Struct):
    error: _Error


_answer = msgspec.json.Decoder(_Answer)


def read_error(status: int, body: bytes, retry_after: float | None = None) -> ServingError:
    """An upstream's error answer, or an error event of a stream; `upstream` keeps status and body.

    Kinds unauthenticated and forbidden are about the key that was sent, whosever it was.
    """
    try:
        told = _answer.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = _Error(message=body[:_QUOTED].decode(errors="replace").strip())
    kind: Kind = _BY_TYPE.get(told.type) or _BY_STATUS.get(status, "upstream_error")
    message = told.message or "no reason given"
    if kind == "bad_request":
        folded = message.casefold()
        for phrase, meant in _PHRASES:
            if phrase in folded:
                kind = meant
    if kind in ("overloaded", "rate_limited"):
        message = f"the upstream has no capacity for this now; try again later ({message})"
    elif kind == "upstream_error":
        message = (
            f"the upstream failed: {message}"
            if status < 400
            else (f"the upstream answered with status {status}: {message}")
        )
    return ServingError(kind, message, retry_after=retry_after, upstream=(status, body))
