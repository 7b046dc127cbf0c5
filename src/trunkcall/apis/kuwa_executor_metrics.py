"""What an executor tells Prometheus, under the names that Kuwa's dashboards read."""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_LABELS: Final = ("executor_name",)
_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 30.0, 40.0, 50.0, 60.0),
)
_CHARACTERS: Final = (*range(10, 100, 10), *range(100, 2001, 100))
_RATE: Final = (1, 5, *range(10, 101, 10), 200)


class ExecutorMetrics:
    """One executor's numbers; `name` is its first access code."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        GCCollector(registry)
        PlatformCollector(registry)
        ProcessCollector(registry=registry)
        self._state = Enum(
            "executor_framework_state",
            "Whether a request is being answered.",
            _LABELS,
            states=["idle", "busy"],
            registry=registry,
        )
        self._failed = Counter(
            "executor_framework_failed", "Requests that ended in an error.", _LABELS, registry=registry
        )
        self._seconds = Histogram(
            "executor_framework_process_time_seconds",
            "From a request to the end of its answer.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        # The spelling is that of the dashboards.
        self._length = Histogram(
            "executor_framework_output_length_charters",
            "Characters of an answer.",
            _LABELS,
            buckets=_CHARACTERS,
            registry=registry,
        )
        self._rate = Histogram(
            "executor_framework_output_throughput_charters_per_second",
            "Characters of an answer, by the seconds it took.",
            _LABELS,
            buckets=_RATE,
            registry=registry,
        )

    def complete(self, name: str, seconds: float, characters: int) -> None:
        """A request was answered to its end; `seconds` is above 0."""
        self._seconds.labels(name).observe(seconds)
        self._length.labels(name).observe(characters)
        self._rate.labels(name).observe(characters / seconds)

    def fail(self, name: str) -> None:
        """A request ended in an error."""
        self._failed.labels(name).inc()

    def text(self, name: str, busy: bool) -> bytes:
        """Everything in Prometheus's text format 0.0.4."""
        self._state.labels(name).state("busy" if busy else "idle")
        for family in (self._failed, self._seconds, self._length, self._rate):
            family.labels(name)
        return generate_latest(self._registry)
