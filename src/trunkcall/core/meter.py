"""One request's measurements while it lives, and the process's counters."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Final, Literal

from trunkcall.core.events import Usage

LATENCY_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latency histograms, in seconds."""


class Histogram:
    """Counts of observations by upper bound, plain integers so that a request pays next to nothing."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.total += seconds


class ModelCounters:
    """What one model has done since the process started."""

    __slots__ = ("cached_tokens", "completion_tokens", "first_token", "outcomes", "prompt_tokens", "running", "whole")

    def __init__(self) -> None:
        self.running = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.outcomes: dict[str, int] = {}
        self.first_token = Histogram()
        self.whole = Histogram()


class Meter:
    """The measurements and the story of one request; lives from its arrival to its close.

    model: as it was asked for; served: the model that answers, another one for an alias or a fallback.
    Times are `time.monotonic()` seconds; `opened_at` is unix seconds. `chunks` counts
    pieces of answer seen so far and stands for the completion tokens until the engine's
    own count is in.
    """

    __slots__ = (
        "attempts",
        "chunks",
        "cost",
        "dropped",
        "ended",
        "error",
        "finish",
        "first",
        "granted",
        "id",
        "key",
        "model",
        "noted",
        "opened_at",
        "protocol",
        "replica",
        "reserved",
        "resumed",
        "resumes",
        "sequence",
        "served",
        "started",
        "status",
        "stream",
        "usage",
        "why",
    )

    def __init__(self, id: str, *, model: str, protocol: str, stream: bool, key: str = "") -> None:
        self.id = id
        self.model = model
        self.protocol = protocol
        self.stream = stream
        self.key = key
        self.served = model
        self.replica = ""
        self.why = ""
        """Why this replica, as the last choice said."""
        self.opened_at = time.time()
        self.started = time.monotonic()
        self.granted: float | None = None
        """When it got its first replica; until then it waited."""
        self.first: float | None = None
        self.ended: float | None = None
        self.chunks = 0
        self.usage: Usage | None = None
        self.finish = ""
        self.error = ""
        self.status = 0
        self.dropped: tuple[str, ...] = ()
        self.attempts = 0
        self.resumes = 0
        """How often it went on from another replica in mid-stream."""
        self.resumed: Literal["", "exact", "text"] = ""
        """How: as the unbroken run would have gone on, or as a continuation of its text."""
        self.cost = 0.0
        """What it came to at the model's prices; set when it is settled."""
        self.reserved: object = None
        """What admission holds for it; settled at the end."""
        self.sequence = 0
        """Assigned by the journal; unique within its writer and epoch."""
        self.noted = 0
        """The `chunks` that the journal last wrote."""

    def grant(self, replica: str, served: str, why: str) -> None:
        """It has a replica now."""
        if self.granted is None:
            self.granted = time.monotonic()
        self.replica = replica
        self.served = served
        self.why = why

    def progress(self, pieces: int = 1) -> None:
        """Some more pieces of the answer have come."""
        if self.first is None:
            self.first = time.monotonic()
        self.chunks += pieces


class Counters:
    """All models' counters in this process."""

    def __init__(self) -> None:
        self.models: dict[str, ModelCounters] = {}

    def of(self, model: str) -> ModelCounters:
        """The counters of one model, made on first use."""
        found = self.models.get(model)
        if found is None:
            found = self.models[model] = ModelCounters()
        return found

    def close(self, meter: Meter) -> None:
        """Count a request that has ended."""
        now = meter.ended if meter.ended is not None else time.monotonic()
        model = self.of(meter.served)
        outcome = meter.error or meter.finish or "stop"
        model.outcomes[outcome] = model.outcomes.get(outcome, 0) + 1
        model.whole.observe(now - meter.started)
        if meter.first is not None:
            model.first_token.observe(meter.first - meter.started)
        if meter.usage is not None:
            model.prompt_tokens += meter.usage.prompt
            model.completion_tokens += meter.usage.completion
            model.cached_tokens += meter.usage.cached or 0
        else:
            model.completion_tokens += meter.chunks
