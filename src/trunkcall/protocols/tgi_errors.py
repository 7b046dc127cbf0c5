"""Errors in TGI's words, both ways: ServingError to the wire and a server's answer to ServingError."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.ports import Response
from trunkcall.protocols import openai_errors
from trunkcall.protocols import tgi_words as words
from trunkcall.protocols.headers import FAILED_BY, retry_after_header

_TYPES: Final[dict[Kind, tuple[int, str]]] = {
    "bad_request": (422, words.VALIDATION),
    "unsupported": (422, words.VALIDATION),
    "too_long": (422, words.VALIDATION),
    "too_large": (413, words.VALIDATION),
    "unauthenticated": (401, "unauthorized"),
    "forbidden": (403, "forbidden"),
    "no_model": (404, "not_found"),
    "no_route": (404, "not_found"),
    "conflict": (409, "conflict"),
    "rate_limited": (429, "rate_limited"),
    "quota": (429, "rate_limited"),
    "overloaded": (429, words.OVERLOADED),
    "no_capacity": (503, words.UNHEALTHY),
    "loading": (503, words.UNHEALTHY),
    "draining": (503, words.UNHEALTHY),
    "unreachable": (424, words.GENERATION),
    "upstream_error": (424, words.GENERATION),
    "upstream_timeout": (424, words.GENERATION),
    "out_of_memory": (424, words.GENERATION),
    "cancelled": (499, "cancelled"),
    "deadline": (408, "timeout"),
    "bug": (500, "internal"),
}
"""kind -> (status, error_type); what TGI has no word for has one of ours."""

_KINDS: Final[dict[str, Kind]] = {
    words.VALIDATION: "bad_request",
    words.TEMPLATE: "bad_request",
    words.TOOL: "bad_request",
    "missing_template_variable": "bad_request",
    words.OVERLOADED: "overloaded",
    "rate_limited": "rate_limited",
    words.UNHEALTHY: "no_capacity",
    words.GENERATION: "upstream_error",
    words.INCOMPLETE: "upstream_error",
    words.INCOMPLETE_STREAM: "upstream_error",
}

_TOO_LONG: Final = re.compile(r"`inputs` (tokens \+ `max_new_tokens` must be <=|must have less than) ")
_PARAM: Final = re.compile(r"`(\w+)`")

STATUS_OK: Final = 200
_IN_STREAMS: Final = frozenset(
    {
        words.VALIDATION,
        words.GENERATION,
        words.OVERLOADED,
        words.INCOMPLETE,
        words.INCOMPLETE_STREAM,
        words.TEMPLATE,
        words.TOOL,
    }
)


class TypedError(ServingError):
    """A failure that has an error_type and a status of its own in TGI."""

    def __init__(self, kind: Kind, message: str, error_type: str, status: int, param: str | None = None) -> None:
        super().__init__(kind, message, param=param)
        self.error_type = error_type
        self.told_status = status


class _Told(msgspec.Struct):
    error: str
    error_type: str = ""


_told: Final = msgspec.json.Decoder(_Told)
_encode: Final = msgspec.json.Encoder().encode


def overloaded() -> ServingError:
    """More requests at once than the server takes."""
    return ServingError("overloaded", words.IS_OVERLOADED)


def incomplete(stream: bool) -> TypedError:
    """An engine has ended without an end."""
    if stream:
        return TypedError("upstream_error", words.IS_INCOMPLETE_STREAM, words.INCOMPLETE_STREAM, 500)
    return TypedError("upstream_error", words.IS_INCOMPLETE, words.INCOMPLETE, 500)


def failure(error: ServingError) -> Response:
    """The error before the first byte of an answer."""
    if type_of(error) == words.INCOMPLETE_STREAM:
        error = incomplete(stream=False)
    headers = [(b"content-type", b"application/json"), (FAILED_BY, error.failed_by.encode())]
    if error.retry_after is not None:
        headers.append(retry_after_header(error.retry_after))
    return Response(status_of(error), _object(error), tuple(headers))


def stream_failure(error: ServingError) -> Response:
    """The same on a stream's route: TGI says 200 and tells what has gone wrong in the stream's only event.

    What no TGI says of a generation, such as a model that there is not, keeps its status.
    """
    if type_of(error) not in _IN_STREAMS:
        return failure(error)
    headers = ((b"content-type", b"text/event-stream"), (FAILED_BY, error.failed_by.encode()))
    return Response(STATUS_OK, fault_event(error), headers)


def fault_event(error: ServingError) -> bytes:
    """The error as the last event of a stream."""
    return b"data:%b\n\n" % _object(error)


def message_of(error: ServingError) -> str:
    """The whole sentence, with the beginning that clients look for."""
    error_type = type_of(error)
    if error_type == words.OVERLOADED:
        return error.message if error.message == words.IS_OVERLOADED else f"{words.IS_OVERLOADED}: {error.message}"
    return words.BEGINNINGS.get(error_type, "") + error.message


def status_of(error: ServingError) -> int:
    """The HTTP status that TGI gives it."""
    return error.told_status if isinstance(error, TypedError) else _TYPES[error.kind][0]


def type_of(error: ServingError) -> str:
    """What TGI calls it."""
    return error.error_type if isinstance(error, TypedError) else _TYPES[error.kind][1]


def read_error(status: int, body: bytes, retry_after: float | None = None) -> ServingError:
    """A TGI server's error, as an answer or an event of a stream (status 200); `upstream` keeps status and body.

    What is not in TGI's shape, such as a proxy's page, is read as any upstream's.
    """
    try:
        told = _told.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return openai_errors.read_error(status, body, retry_after)
    kind = _KINDS.get(told.error_type)
    if kind is None:
        if status != STATUS_OK:
            return openai_errors.read_error(status, body, retry_after)
        kind = "upstream_error"
    message = told.error
    if kind == "bad_request":
        message = message.removeprefix(words.BEGINNINGS.get(told.error_type, ""))
        if _TOO_LONG.match(message):
            kind = "too_long"
    elif told.error_type == words.GENERATION:
        message = message.removeprefix(words.BEGINNINGS[words.GENERATION])
    elif kind == "overloaded":
        message = message.removeprefix(f"{words.IS_OVERLOADED}: ")
    named = _PARAM.search(message) if kind in ("bad_request", "too_long") else None
    return ServingError(
        kind,
        message,
        param=named[1] if named else None,
        retry_after=retry_after,
        upstream=(status, body),
    )


def _object(error: ServingError) -> bytes:
    return _encode({"error": message_of(error), "error_type": type_of(error)})
