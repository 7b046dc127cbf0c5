"""Errors in Gemini's words: a google.rpc.Status becomes a ServingError."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trunkcall.core.errors import Kind, ServingError

_BY_STATUS: Final[dict[str, Kind]] = {
    "INVALID_ARGUMENT": "bad_request",
    "FAILED_PRECONDITION": "bad_request",
    "OUT_OF_RANGE": "bad_request",
    "UNAUTHENTICATED": "unauthenticated",
    "PERMISSION_DENIED": "forbidden",
    "NOT_FOUND": "no_model",
    "RESOURCE_EXHAUSTED": "rate_limited",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "upstream_timeout",
    "CANCELLED": "upstream_error",
}

_BY_CODE: Final[dict[int, Kind]] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "no_model",
    413: "too_large",
    429: "rate_limited",
    503: "overloaded",
    504: "upstream_timeout",
}
"""For answers without a status word, as proxies give them."""

_REFUSED_KEYS: Final = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"})
"""Reasons in the details; Gemini refuses a wrong key as an invalid argument."""

_TOO_LONG: Final = "exceeds the maximum number of tokens"
_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)s")
_QUOTED: Final = 300
"""Most characters of an unreadable answer that are shown."""


class _Violation(msgspec.Struct):
    quotaId: str = ""


class _Detail(msgspec.Struct):
    reason: str = ""
    retryDelay: str = ""
    violations: list[_Violation] = []


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""
    status: str = ""
    details: list[_Detail] = []


class _Answer(msgspec.Struct):
    error: _Status


_answer = msgspec.json.Decoder(_Answer)
_answers = msgspec.json.Decoder(list[_Answer])


def read_error(status: int, body: bytes) -> ServingError:
    """An upstream's error answer, or an error inside a stream; `upstream` keeps status and body.

    Kinds unauthenticated and forbidden are about the key that was sent, whosever it was.
    """
    try:
        # Without `alt=sse` errors come in a list.
        told = (_answers.decode(body)[0] if body.lstrip().startswith(b"[") else _answer.decode(body)).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        told = _Status(message=body[:_QUOTED].decode(errors="replace").strip())
    code = told.code if status < 400 else status
    kind = _kind(told, code)
    message = told.message or "no reason given"
    if kind in ("overloaded", "rate_limited"):
        message = f"the upstream has no capacity for this now; try again later ({message})"
    elif kind == "upstream_error":
        message = f"the upstream answered with status {code}: {message}" if code else f"the upstream failed: {message}"
    return ServingError(kind, message, retry_after=_retry_after(told), upstream=(status, body))


def _kind(told: _Status, code: int) -> Kind:
    if any(detail.reason in _REFUSED_KEYS for detail in told.details):
        return "unauthenticated"
    kind = _BY_STATUS.get(told.status) or _BY_CODE.get(code, "upstream_error")
    if kind == "bad_request" and _TOO_LONG in told.message:
        return "too_long"
    if kind == "rate_limited" and any("PerDay" in one.quotaId for detail in told.details for one in detail.violations):
        return "quota"
    return kind


def _retry_after(told: _Status) -> float | None:
    for detail in told.details:
        delay = _SECONDS.fullmatch(detail.retryDelay)
        if delay:
            return float(delay[1])
    return None
