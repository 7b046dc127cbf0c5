"""The objects that FastChat's answers are made of: cut out of a stream of bytes, and read."""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import FinishReason, Usage
from trunkcall.protocols.fastchat_words import END, OK
from trunkcall.protocols.frames import FRAME_LIMIT

_REASONS: Final[dict[str, FinishReason]] = {"length": "length", "abort": "cancelled"}
"""All other words mean a normal end."""


class WireUsage(msgspec.Struct):
    """`usage` as workers send it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class WireLogprobs(msgspec.Struct):
    """Log probabilities of all tokens so far; the first of a prompt has none."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class WireNotice(msgspec.Struct):
    """A member of our own: another Trunkcall says something that is not part of the answer."""

    text: str
    level: str = "info"


class Frame(msgspec.Struct):
    """The answer so far; with an error_code, `text` says what went wrong."""

    text: str
    error_code: int = OK
    usage: WireUsage | None = None
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None
    notices: list[WireNotice] | None = None

    @property
    def reason(self) -> FinishReason:
        """Why the answer ended; a normal end where the worker says nothing."""
        return _REASONS.get(self.finish_reason or "", "stop")

    @property
    def counts(self) -> Usage | None:
        """The neutral form of `usage`."""
        told = self.usage
        return None if told is None else Usage(told.prompt_tokens or 0, told.completion_tokens or 0)


_frame: Final = msgspec.json.Decoder(Frame)


def read_frame(data: bytes) -> Frame:
    """One object.

    Raises ServingError (upstream_error) for anything but an object with a text."""
    try:
        try:
            return _frame.decode(data)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Python's own JSON has words for infinity, and halves of surrogate pairs, which a worker may send.
            return msgspec.convert(_sound(json.loads(data)), Frame)
    except (ValueError, RecursionError) as error:
        raise ServingError(
            "upstream_error",
            f"the answer is not that of a FastChat worker ({error}); check that the address is a worker's",
            upstream=(200, data),
        ) from None


def _sound(value: Any) -> Any:
    """A value with nothing that strict JSON cannot hold."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_sound(one) for one in cast("list[Any]", value)]
        case dict():
            return {_sound(key): _sound(one) for key, one in cast("dict[str, Any]", value).items()}
        case _:
            return value


class FrameCutter:
    """Gives the objects of a stream as soon as they are complete; each ends with a zero byte, which is cut off."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Raises ServingError (upstream_error) when one object is over frames.FRAME_LIMIT."""
        tail = self._tail
        if END not in data:
            tail += data
            if len(tail) > FRAME_LIMIT:
                raise ServingError("upstream_error", f"the worker sent an object of more than {FRAME_LIMIT} bytes")
            return []
        *whole, rest = data.split(END)
        whole[0] = bytes(tail) + whole[0]
        self._tail = bytearray(rest)
        return [one for one in whole if one.strip()]

    def end(self) -> bytes:
        """What has no end mark."""
        rest = bytes(self._tail).strip()
        self._tail.clear()
        return rest
