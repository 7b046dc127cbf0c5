"""What TGI tells Prometheus of its requests, under the names that its dashboards read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from trunkcall.apis.tgi_pace import Pace
from trunkcall.control.pool import Pool
from trunkcall.core.errors import ServingError
from trunkcall.protocols.tgi_errors import type_of

_SECONDS: Final = tuple(0.0001 * 1.5**step for step in range(35))
_TOKENS: Final = tuple(float(2**step) for step in range(18))

_Kind = Literal["counter", "gauge", "histogram"]
_Method = Literal["prefill", "decode"]


class _Histogram:
    """Counts by upper bound, plain integers so that a request pays next to nothing."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class _Passes:
    """Passes through the model of one kind, as a request sees them: one reads its prompt, one makes each next token."""

    __slots__ = ("begun", "ended", "seconds")

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.seconds = _Histogram(_SECONDS)

    def end(self, seconds: float, times: int = 1) -> None:
        self.ended += times
        self.seconds.observe(seconds, times)


class TgiMetrics:
    """One listener's counts.

    The engine's batches are its own: what TGI tells of them is told by request, or not at all.
    """

    def __init__(self) -> None:
        self._count = 0
        self._success = 0
        self._failures: dict[str, int] = {}
        self._seconds = {
            name: _Histogram(_SECONDS)
            for name in ("duration", "validation_duration", "queue_duration", "inference_duration")
        }
        self._seconds["mean_time_per_token_duration"] = _Histogram(_SECONDS)
        self._tokens = {name: _Histogram(_TOKENS) for name in ("input_length", "max_new_tokens", "generated_tokens")}
        self._next_size = _Histogram(_TOKENS)
        self._passes: dict[_Method, _Passes] = {"prefill": _Passes(), "decode": _Passes()}

    def begin(self) -> None:
        """A request has come."""
        self._count += 1

    def fail(self, error: ServingError) -> None:
        """It ended in an error."""
        kind = type_of(error)
        self._failures[kind] = self._failures.get(kind, 0) + 1

    def asked(self, input_tokens: int | None, max_new_tokens: int | None) -> None:
        """It is in order; numbers that are not known are not counted."""
        if input_tokens is not None:
            self._tokens["input_length"].observe(input_tokens)
        if max_new_tokens is not None:
            self._tokens["max_new_tokens"].observe(max_new_tokens)

    def grant(self, waiting: int) -> None:
        """A replica has it; waiting: others that do not have one yet."""
        self._next_size.observe(waiting + 1)
        self._passes["prefill"].begun += 1

    def speak(self, pace: Pace) -> None:
        """Its first token has come."""
        self._passes["prefill"].end(pace.prefill)

    def interrupt(self, generated_tokens: int) -> None:
        """Its engine has failed after so many tokens, which took a time that is not told."""
        passes = self._passes["decode"]
        passes.begun += generated_tokens
        passes.ended += max(0, generated_tokens - 1)

    def succeed(self, pace: Pace, generated_tokens: int) -> None:
        """It was answered."""
        self._success += 1
        self._tokens["generated_tokens"].observe(generated_tokens)
        more = generated_tokens - 1
        if more > 0:
            self._passes["decode"].begun += more
            self._passes["decode"].end(pace.decode / more, more)
        for name, seconds in (
            ("duration", pace.total),
            ("validation_duration", pace.validation),
            ("queue_duration", pace.queue),
            ("inference_duration", pace.inference),
            ("mean_time_per_token_duration", pace.inference / max(1, generated_tokens)),
        ):
            self._seconds[name].observe(seconds)

    def text(self, pools: Sequence[Pool]) -> bytes:
        """All of it for a scrape; pools: the models that are served."""
        waiting = sum(len(pool.queue) for pool in pools)
        running = sum(replica.in_flight for replica in {id(r): r for pool in pools for r in pool.replicas}.values())
        lines: list[str] = []
        lines += _family("tgi_request_count", "counter", [("", self._count)])
        lines += _family("tgi_request_success", "counter", [("", self._success)])
        failures = [(f'{{err="{kind}"}}', count) for kind, count in sorted(self._failures.items())]
        lines += _family("tgi_request_failure", "counter", failures)
        lines += _family("tgi_queue_size", "gauge", [("", waiting)])
        lines += _family("tgi_batch_current_size", "gauge", [("", running)])
        for name, histogram in (*self._seconds.items(), *self._tokens.items()):
            lines += _family(f"tgi_request_{name}", "histogram", list(_samples(histogram)))
        lines += _family("tgi_batch_next_size", "histogram", list(_samples(self._next_size)))
        methods = [(f'method="{method}"', passes) for method, passes in self._passes.items()]
        lines += _family("tgi_batch_inference_count", "counter", [(f"{{{m}}}", passes.begun) for m, passes in methods])
        lines += _family(
            "tgi_batch_inference_success", "counter", [(f"{{{m}}}", passes.ended) for m, passes in methods]
        )
        seconds = [sample for method, passes in methods for sample in _samples(passes.seconds, method)]
        lines += _family("tgi_batch_inference_duration", "histogram", seconds)
        return "".join(f"{line}\n" for line in lines).encode()


def _family(name: str, kind: _Kind, samples: Sequence[tuple[str, float]]) -> list[str]:
    """A family's lines; without the suffix _total, which TGI's counters do not have."""
    return [f"# TYPE {name} {kind}", *(f"{name}{suffix} {value!r}" for suffix, value in samples)]


def _samples(histogram: _Histogram, method: str = "") -> Iterator[tuple[str, float]]:
    reached = 0
    before, alone = (f"{method},", f"{{{method}}}") if method else ("", "")
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        reached += count
        label = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f'_bucket{{{before}le="{label}"}}', reached
    yield f"_sum{alone}", histogram.total
    yield f"_count{alone}", reached
