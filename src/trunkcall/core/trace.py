"""The place of one request in its caller's trace, and the tries that it took."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Literal

Operation = Literal["chat", "text_completion", "embeddings"]
"""gen_ai.operation.name of OpenTelemetry's conventions."""
Locate = Callable[[str, str], tuple[str, str]]
"""From a model and its replica's id to the scheme of the replica's source and its base URL; empty where not known."""


class Try:
    """One replica's turn; times are `time.monotonic()` seconds, ended is None for the one under way."""

    __slots__ = ("address", "began", "ended", "error", "replica", "scheme", "served", "span")

    def __init__(self, replica: str, served: str, scheme: str, address: str) -> None:
        self.span = random.getrandbits(64) or 1
        self.replica = replica
        self.served = served
        self.scheme = scheme
        self.address = address
        self.began = time.monotonic()
        self.ended: float | None = None
        self.error = ""


class Trace:
    """Ids as W3C Trace Context has them: `trace` of 128 bits, spans of 64; parent is 0 where the caller has none.

    state: the caller's tracestate, passed on as it came.
    """

    __slots__ = ("_locate", "operation", "parent", "sampled", "span", "state", "trace", "tries")

    def __init__(
        self,
        trace: int,
        parent: int,
        sampled: bool,
        state: bytes,
        operation: Operation,
        locate: Locate,
    ) -> None:
        self.trace = trace
        self.parent = parent
        self.sampled = sampled
        self.state = state
        self.operation: Operation = operation
        self.span = random.getrandbits(64) or 1
        self.tries: list[Try] = []
        self._locate = locate

    def grant(self, replica: str, served: str) -> None:
        """A replica's turn begins; that of the one before, if any, is over."""
        if self.tries and self.tries[-1].ended is None:
            self.failed("unreachable")
        self.tries.append(Try(replica, served, *self._locate(served, replica)))

    def failed(self, kind: str) -> None:
        """The last try has ended without an answer; kind: as ServingError has it."""
        if self.tries:
            self.tries[-1].ended = time.monotonic()
            self.tries[-1].error = kind
