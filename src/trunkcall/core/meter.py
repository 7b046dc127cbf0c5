"""One request's measurements while it lives, and the process's counters."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Literal

from trunkcall.core.events import Usage
from trunkcall.core.trace import Trace

LATENCY_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latency histograms, in seconds."""
GAP_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
"""Upper bounds of the time between two tokens, and of the event loop's lag, in seconds."""


class Histogram:
    """Counts of observations by upper bound, plain integers so that a request pays next to nothing."""

    __slots__ = ("_least", "bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS) -> None:
        self.bounds = bounds
        self._least = bounds[0]
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        # Few requests wait at all.
        self.counts[0 if seconds <= self._least else bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class ModelCounters:
    """What one model has done since the process started.

    outcomes: by (protocol, error or finish); retries: tries beyond the first, before the first byte; resumed: how
    often streams went on from another replica, exactly or as text; fallbacks: requests for it that another model
    answered; waited: seconds in the queue; gap: mean seconds between two tokens of a stream.
    """

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "cost",
        "fallbacks",
        "first_token",
        "gap",
        "outcomes",
        "prompt_tokens",
        "resumed",
        "retries",
        "running",
        "waited",
        "whole",
    )

    def __init__(self) -> None:
        self.running = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.cost = 0.0
        self.outcomes: dict[tuple[str, str], int] = {}
        self.retries = 0
        self.resumed: dict[str, int] = {"exact": 0, "text": 0}
        self.fallbacks = 0
        self.waited = Histogram()
        self.first_token = Histogram()
        self.gap = Histogram(GAP_BOUNDS)
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
        "priority",
        "prompt",
        "protocol",
        "replica",
        "reserved",
        "resumed",
        "resumes",
        "sequence",
        "served",
        "speaks",
        "started",
        "status",
        "stream",
        "trace",
        "usage",
        "why",
    )

    def __init__(self, id: str, model: str, protocol: str, stream: bool, key: str = "") -> None:
        self.id = id
        self.model = model
        self.protocol = protocol
        self.stream = stream
        self.key = key
        self.served = model
        self.replica = ""
        self.priority = 0
        """In the queue, higher first."""
        self.why = ""
        """Why this replica, as the last choice said."""
        self.opened_at = time.time()
        self.started = time.monotonic()
        self.granted: float | None = None
        """When it got its first replica; until then it waited."""
        self.first: float | None = None
        self.ended: float | None = None
        self.chunks = 0
        self.prompt = 0
        """Prompt tokens as estimated at the end, where the engine had begun and did not say its usage."""
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
        self.trace: Trace | None = None
        """Where traces are configured."""
        self.speaks: Callable[[], None] | None = None
        """Told of the first piece, where somebody waits for that."""

    def grant(self, replica: str, served: str, why: str) -> None:
        """It has a replica now."""
        if self.granted is None:
            self.granted = time.monotonic()
        self.replica = replica
        self.served = served
        self.why = why
        if self.trace is not None:
            self.trace.grant(replica, served)

    def forget(self) -> None:
        """A try has failed before the caller got anything of it: what it told of its answer does not count."""
        self.first = None
        self.chunks = 0
        self.usage = None
        self.finish = ""
        self.error = ""
        self.status = 0
        self.dropped = ()

    def progress(self, pieces: int = 1) -> None:
        """Some more pieces of the answer have come."""
        if self.first is None:
            self.first = time.monotonic()
            if self.speaks is not None:
                self.speaks()
        self.chunks += pieces


class Counters:
    """What this process has done, by model and beside.

    unserved: requests by (protocol, error) that no model counts, because its name is none; refused: callers by
    (listener's api, error) that were turned away before they could ask for a model; reloads: by `applied` and
    `refused`; lag: how late the event loop was.
    """

    def __init__(self) -> None:
        self.models: dict[str, ModelCounters] = {}
        self.unserved: dict[tuple[str, str], int] = {}
        self.refused: dict[tuple[str, str], int] = {}
        self.reloads: dict[str, int] = {"applied": 0, "refused": 0}
        self.lag = Histogram(GAP_BOUNDS)

    def of(self, model: str) -> ModelCounters:
        """The counters of one model, made on first use; only for names that are served."""
        found = self.models.get(model)
        if found is None:
            found = self.models[model] = ModelCounters()
        return found

    def refuse(self, api: str, error: str) -> None:
        """Count a caller who was turned away; both words are of fixed sets."""
        self.refused[api, error] = self.refused.get((api, error), 0) + 1

    def close(self, meter: Meter, asked: str | None) -> None:
        """Count a request that has ended.

        asked: the own name of the model that was asked for, None where there is no such model.
        """
        outcome = meter.protocol, meter.error or meter.finish or "stop"
        granted = meter.granted
        if granted is None and asked is None:
            self.unserved[outcome] = self.unserved.get(outcome, 0) + 1
            return
        now = meter.ended if meter.ended is not None else time.monotonic()
        model = self.of(meter.served if granted is not None or asked is None else asked)
        model.outcomes[outcome] = model.outcomes.get(outcome, 0) + 1
        model.whole.observe(now - meter.started)
        if granted is None:
            return
        model.waited.observe(granted - meter.started)
        if asked is not None and meter.served != asked:
            self.of(asked).fallbacks += 1
        tries = meter.attempts + meter.resumes
        if tries > 1:
            model.retries += meter.attempts - 1
            if meter.resumes:
                model.resumed[meter.resumed or "text"] += meter.resumes
        model.cost += meter.cost
        usage, first = meter.usage, meter.first
        tokens = meter.chunks
        if usage is not None:
            tokens = usage.completion
            model.prompt_tokens += usage.prompt
            model.cached_tokens += usage.cached or 0
        else:
            model.prompt_tokens += meter.prompt
        model.completion_tokens += tokens
        if first is not None:
            model.first_token.observe(first - meter.started)
            if meter.stream and tokens > 1:
                model.gap.observe((now - first) / (tokens - 1))
