"""GET /metrics: the process's counters for Prometheus, under the names that vLLM's dashboards know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from trunkcall.control.services import Services
from trunkcall.core.errors import STATUS, ServingError
from trunkcall.core.meter import LATENCY_BOUNDS, Counters, Histogram, ModelCounters
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Exchange, Response, Route

_EMPTY: Final = ModelCounters()
_BOUNDS: Final = (*(str(bound) for bound in LATENCY_BOUNDS), "+Inf")


class Metrics:
    """Fits core.ports.Api; counts stay plain integers and become metrics only when somebody asks.

    models: a snapshot of what is served; lost: requests that the journal could not note.
    """

    name = "metrics"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, counters: Counters, models: Callable[[], Sequence[ModelView]], lost: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Snapshot(counters, models, lost))

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (Route("GET", "/metrics", self._metrics),)

    def failure(self, error: ServingError) -> Response:
        """The message as plain text."""
        return Response(
            error.status, error.message.encode() + b"\n", ((b"content-type", b"text/plain; charset=utf-8"),)
        )

    def response(self, more: bytes = b"") -> Response:
        """What a scrape is answered with; more: metrics of another's, as text."""
        content_type = CONTENT_TYPE_PLAIN_0_0_4.encode()
        return Response(200, generate_latest(self._registry) + more, ((b"content-type", content_type),))

    async def _metrics(self, exchange: Exchange) -> None:
        await exchange.respond(self.response())


class _Snapshot(Collector):
    """Reads the counters at the moment of a scrape."""

    def __init__(self, counters: Counters, models: Callable[[], Sequence[ModelView]], lost: Callable[[], int]) -> None:
        self._counters = counters
        self._models = models
        self._lost = lost

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering does not take a scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families; a model that is served but unused has zeros, so that rates begin at its first request."""
        views = {view.name: view for view in self._models()}
        counted = self._counters.models
        models = [(name, counted.get(name, _EMPTY)) for name in sorted({*views, *counted})]

        running = GaugeMetricFamily("vllm:num_requests_running", "Requests on a replica.", labels=["model_name"])
        waiting = GaugeMetricFamily("vllm:num_requests_waiting", "Requests in the queue.", labels=["model_name"])
        prompt = CounterMetricFamily("vllm:prompt_tokens", "Prompt tokens.", labels=["model_name"])
        cached = CounterMetricFamily("vllm:prompt_tokens_cached", "Prompt tokens from a cache.", labels=["model_name"])
        generation = CounterMetricFamily("vllm:generation_tokens", "Completion tokens.", labels=["model_name"])
        success = CounterMetricFamily(
            "vllm:request_success", "Requests answered, by reason.", labels=["model_name", "finished_reason"]
        )
        failed = CounterMetricFamily(
            "trunkcall_requests_failed", "Requests that failed, by kind.", labels=["model", "error"]
        )
        first = HistogramMetricFamily(
            "vllm:time_to_first_token_seconds", "From the grant to the first piece.", labels=["model_name"]
        )
        whole = HistogramMetricFamily(
            "vllm:e2e_request_latency_seconds", "From the grant to the end.", labels=["model_name"]
        )
        for name, counters in models:
            running.add_metric([name], counters.running)
            waiting.add_metric([name], views[name].waiting if name in views else 0)
            prompt.add_metric([name], counters.prompt_tokens)
            cached.add_metric([name], counters.cached_tokens)
            generation.add_metric([name], counters.completion_tokens)
            for outcome, count in sorted(counters.outcomes.items()):
                # A client that left is not a failure; vLLM counts it as `abort`.
                if outcome == "cancelled":
                    success.add_metric([name, "abort"], count)
                else:
                    (failed if outcome in STATUS else success).add_metric([name, outcome], count)
            _add_histogram(first, name, counters.first_token)
            _add_histogram(whole, name, counters.whole)
        yield from (running, waiting, prompt, cached, generation, success, failed, first, whole)

        up = GaugeMetricFamily("trunkcall_replica_up", "1 for a replica that is ready.", labels=["model", "replica"])
        for name, view in sorted(views.items()):
            for replica in view.replicas:
                up.add_metric([name, replica.id], replica.state == "ready")
        yield up
        yield CounterMetricFamily(
            "trunkcall_journal_rows_lost", "Rows of the ledger that could not be written.", value=self._lost()
        )


def _add_histogram(family: HistogramMetricFamily, model: str, histogram: Histogram) -> None:
    reached = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(_BOUNDS, histogram.counts, strict=True):
        reached += count
        buckets.append((bound, reached))
    family.add_metric([model], buckets, sum_value=histogram.total)


def build(services: Services) -> Metrics:
    """The metrics of this process."""
    return Metrics(services.counters, services.dispatch.views, services.rows_lost)
