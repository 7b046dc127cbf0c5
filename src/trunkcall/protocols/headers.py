"""Trunkcall's own headers: which fields were not honoured, whether the caller minds, and how long it will wait."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Header

STRICT: Final = b"x-trunkcall-strict"
FAILED_BY: Final = b"x-trunkcall-failed-by"
RETRY_AFTER: Final = b"retry-after"
DROPPED: Final = b"x-trunkcall-dropped"
TIMEOUT: Final = b"x-trunkcall-timeout"
PRIORITY: Final = b"x-trunkcall-priority"
SESSION: Final = b"x-trunkcall-session"
"""The conversation that a request belongs to, for whoever routes by it."""
MODEL: Final = b"x-trunkcall-model"
"""Of an answer: the model that gave it, where that is not the one that was asked for."""
MOST_PRIORITY: Final = 100
TRACED: Final = b"x-trunkcall-traced"
"""From us to a host of ours: the tokens of a greedy answer are to be told as `token_ids`; from it: they are."""
RESUMED: Final = b"x-trunkcall-resumed"
"""How an answer went on whose replica had died."""

_YES: Final = frozenset({b"1", b"true", b"yes"})
_UNFIT: Final = re.compile(r"[^!-+\--~]")


def is_strict(value: bytes | None) -> bool:
    """Whether the value of the strict header asks for an error where a field cannot be honoured."""
    return value is not None and value.lower() in _YES


def read_timeout(value: bytes) -> float:
    """Seconds that the caller gives the whole answer; ServingError (bad_request) for what is not such a number."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        name = TIMEOUT.decode()
        raise ServingError("bad_request", f"{name} must be a number of seconds above 0, such as 30", param=name)
    return seconds


def read_priority(value: bytes) -> int:
    """How soon a request is served that has to wait, higher first; ServingError (bad_request) for no such number."""
    text = value.strip()
    if text.lstrip(b"-").isdigit() and len(text) <= len(str(-MOST_PRIORITY)):
        priority = int(text)
        if -MOST_PRIORITY <= priority <= MOST_PRIORITY:
            return priority
    name = PRIORITY.decode()
    raise ServingError(
        "bad_request", f"{name} must be a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}", param=name
    )


def retry_after_header(seconds: float) -> Header:
    """When to come back, in whole seconds, one at least."""
    return RETRY_AFTER, b"%d" % max(1, math.ceil(seconds))


def read_retry_after(headers: Iterable[Header]) -> float | None:
    """The header in seconds; its other form, a date, is left alone."""
    return next((float(value) for name, value in headers if name == RETRY_AFTER and value.isdigit()), None)


def model_header(name: str) -> Header:
    """The header that names the model which answered; what cannot stand in a header becomes `?`."""
    return MODEL, _UNFIT.sub("?", name).encode()


def dropped_header(names: Iterable[str]) -> Header:
    """The header that names dropped fields; what cannot stand in a header, or would part names, becomes `?`."""
    return DROPPED, ", ".join(_UNFIT.sub("?", name) for name in names).encode()


def read_dropped(value: bytes) -> tuple[str, ...]:
    """The names in that header."""
    return tuple(word.strip() for word in value.decode("latin-1").split(","))
