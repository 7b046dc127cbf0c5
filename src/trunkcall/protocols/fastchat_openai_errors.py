"""Errors of FastChat's OpenAI server: one shape with a code, and the other one for a key that is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trunkcall.core.errors import STATUS, Kind, ServingError
from trunkcall.core.ports import Response
from trunkcall.protocols import openai_errors
from trunkcall.protocols.fastchat_errors import error_code, unrouted
from trunkcall.protocols.fastchat_words import OUT_OF_RANGE
from trunkcall.protocols.frames import DONE_FRAME, sse

_SAID_WITH_400: Final[frozenset[Kind]] = frozenset(
    {"bad_request", "unsupported", "conflict", "no_model", "too_long", "upstream_error", "out_of_memory"}
)
"""What the original answers with 400 and a code; where it answers with a bare 500 or not at all, the status tells."""

_encode = msgspec.json.Encoder().encode


class OutOfRange(ServingError):
    """A field that is of its type and out of its range, which FastChat tells from other bad requests by a code."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__("bad_request", message, param=param)


class ErrorWords(msgspec.Struct, frozen=True):
    """How errors are told before the first byte of an answer (`failure`), and in a stream, which they end (`fault`).

    unrouted: the answer where there is no such path or method, when that has words of its own.
    """

    failure: Callable[[ServingError], Response]
    unrouted: Callable[[ServingError], Response | None]
    fault: Callable[[ServingError], bytes]


def _failure(error: ServingError) -> Response:
    headers = openai_errors.failure(error).headers
    if error.kind == "unauthenticated":
        told: dict[str, Any] = {
            "message": error.message,
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
        return Response(401, _encode({"detail": {"error": told}}), headers)
    return Response(
        _status(error), _encode({"object": "error", "message": error.message, "code": _code(error)}), headers
    )


def _status(error: ServingError) -> int:
    if error.kind == "unreachable":
        # To its clients a worker that has died and one that never came are the same.
        return STATUS["no_capacity"]
    return 400 if error.kind in _SAID_WITH_400 else error.status


def _fault(error: ServingError) -> bytes:
    # `error` is what the openai SDK looks for; without it a broken answer would look like a short one.
    told = msgspec.json.decode(openai_errors.failure(error).body, type=dict[str, msgspec.Raw])
    return sse(_encode({"text": error.message, "error_code": _code(error), **told})) + DONE_FRAME


def _code(error: ServingError) -> int:
    return OUT_OF_RANGE if isinstance(error, OutOfRange) else error_code(error)


FASTCHAT: Final = ErrorWords(_failure, unrouted, _fault)
OPENAI: Final = ErrorWords(
    openai_errors.failure, lambda error: None, lambda error: openai_errors.fault_frame(error) + DONE_FRAME
)
