"""Errors in OpenAI's words, both ways: ServingError to the wire and an upstream's answer to ServingError."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.ports import Response
from trunkcall.protocols.frames import sse
from trunkcall.protocols.headers import FAILED_BY, retry_after_header

_WORDS: Final[dict[Kind, tuple[str, str | None]]] = {
    "bad_request": ("invalid_request_error", None),
    "unsupported": ("invalid_request_error", "unsupported_value"),
    "unauthenticated": ("authentication_error", "invalid_api_key"),
    "forbidden": ("permission_error", "permission_denied"),
    "no_model": ("invalid_request_error", "model_not_found"),
    "no_route": ("invalid_request_error", "unknown_url"),
    "conflict": ("invalid_request_error", "conflict"),
    "too_long": ("invalid_request_error", "context_length_exceeded"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "overloaded": ("rate_limit_error", "overloaded"),
    "no_capacity": ("server_error", "no_capacity"),
    "loading": ("server_error", "model_loading"),
    "unreachable": ("server_error", "upstream_unreachable"),
    "upstream_error": ("server_error", "upstream_error"),
    "upstream_timeout": ("server_error", "upstream_timeout"),
    "cancelled": ("invalid_request_error", "request_cancelled"),
    "deadline": ("server_error", "deadline_exceeded"),
    "draining": ("server_error", "shutting_down"),
    "out_of_memory": ("server_error", "out_of_memory"),
    "bug": ("server_error", "internal_error"),
}
"""kind -> (type, code) of the error object."""

_BY_NAME: Final[dict[str, Kind]] = {
    "context_length_exceeded": "too_long",
    "exceed_context_size_error": "too_long",
    "model_not_found": "no_model",
    "insufficient_quota": "quota",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "unavailable_error": "loading",
    "model_loading": "loading",
}
"""An upstream's code or type -> kind; unavailable_error is what llama.cpp says while it loads."""

_BY_STATUS: Final[dict[int, Kind]] = {
    400: "bad_request",
    408: "upstream_timeout",
    413: "too_large",
    422: "bad_request",
    429: "rate_limited",
    504: "upstream_timeout",
    507: "out_of_memory",
}
"""Others, and above all 401 and 403, which are about our key and not the caller's, are upstream_error."""

_BY_PHRASE: Final[tuple[tuple[str, Kind], ...]] = (
    ("maximum context length", "too_long"),
    ("longer than the maximum model length", "too_long"),
    ("out of memory", "out_of_memory"),
)
"""Engines that only say it in the message: vLLM and FastChat, older vLLM, CUDA."""

_QUOTED: Final = 300
"""Most characters of an upstream's unreadable answer that are shown."""

_encode = msgspec.json.Encoder().encode


def failure(error: ServingError) -> Response:
    """The error before the first byte of an answer."""
    headers = [(b"content-type", b"application/json"), (FAILED_BY, error.failed_by.encode())]
    if error.retry_after is not None:
        headers.append(retry_after_header(error.retry_after))
    return Response(error.status, _object(error), tuple(headers))


def fault_frame(error: ServingError) -> bytes:
    """The error as an event of a stream that has begun."""
    return sse(_object(error))


def _object(error: ServingError) -> bytes:
    type_, code = _WORDS[error.kind]
    return _encode({"error": {"message": error.message, "type": type_, "param": error.param, "code": code}})


def read_error(status: int, body: bytes, retry_after: float | None = None) -> ServingError:
    """An upstream's error answer; `upstream` keeps status and body.

    Understands {"error": {…}}, {"error": "…"}, {"message": …} (FastChat, older vLLM), {"detail": …} and plain text.
    """
    fields = _fields(body)
    text = fields.get("message") or fields.get("detail")
    message = text if isinstance(text, str) else body[:_QUOTED].decode(errors="replace").strip()
    code = fields.get("code")
    param = fields.get("param")
    meant = code if status < 400 and isinstance(code, int) and 400 <= code < 600 else status
    kind = _kind(meant, (code, fields.get("type")), message)
    if kind == "upstream_error":
        said = f": {message}" if message else ""
        message = f"the upstream answered with status {meant}{said}" if meant >= 400 else f"the upstream failed{said}"
    return ServingError(
        kind,
        message or f"the upstream answered with status {meant}",
        param=param if isinstance(param, str) else None,
        retry_after=retry_after,
        upstream=(status, body),
    )


def _kind(status: int, names: tuple[Any, Any], message: str) -> Kind:
    for name in names:
        if isinstance(name, str) and name in _BY_NAME:
            return _BY_NAME[name]
    folded = message.casefold()
    for phrase, kind in _BY_PHRASE:
        if phrase in folded:
            return kind
    return _BY_STATUS.get(status, "upstream_error")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    fields = cast("dict[str, Any]", value)
    inner: Any = fields.get("error")
    if isinstance(inner, dict):
        return cast("dict[str, Any]", inner)
    if isinstance(inner, str):
        return {"message": inner, **fields}
    return fields
