"""The product's one logger, and the request within which a line is made."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final, Protocol

log: Final = logging.getLogger("trunkcall")


class Asked(Protocol):
    """What a line of log names of the request it belongs to."""

    id: str
    complete: bool


REQUEST: Final[ContextVar[Asked | None]] = ContextVar("REQUEST", default=None)
"""Set at the start of each request's task."""


def request_id() -> str:
    """The id of the request that is being answered here; empty outside of one.

    What a request has started and what outlives its answer does not belong to it.
    """
    asked = REQUEST.get()
    return "" if asked is None or asked.complete else asked.id
