"""GET /metrics: the process's counters for Prometheus, under the names that vLLM's dashboards know and our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from trunkcall import __version__
from trunkcall.control.condition import Condition
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.services import Services
from trunkcall.core.errors import STATUS, ServingError
from trunkcall.core.meter import GAP_BOUNDS, LATENCY_BOUNDS, Counters, Histogram, ModelCounters
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols.exposition import CONTENT_TYPE, Family, buckets, labels, samples

_MODEL: Final = ("model_name",)
"""As vLLM calls the label."""
_OURS: Final = ("model",)
_REPLICA: Final = ("model", "replica")

RUNNING: Final = Family("vllm:num_requests_running", "gauge", _MODEL, "Requests that are answered now.")
WAITING: Final = Family("vllm:num_requests_waiting", "gauge", _MODEL, "Requests in the queue.")
PROMPT: Final = Family("vllm:prompt_tokens_total", "counter", _MODEL, "Prompt tokens.")
CACHED: Final = Family("vllm:prompt_tokens_cached_total", "counter", _MODEL, "Prompt tokens from a cache.")
GENERATED: Final = Family("vllm:generation_tokens_total", "counter", _MODEL, "Completion tokens.")
SUCCESS: Final = Family(
    "vllm:request_success_total", "counter", ("finished_reason", *_MODEL), "Requests answered, by reason."
)
QUEUED: Final = Family(
    "vllm:request_queue_time_seconds", "histogram", _MODEL, "From a request's arrival to its replica."
)
FIRST: Final = Family(
    "vllm:time_to_first_token_seconds", "histogram", _MODEL, "From a request's arrival to the first piece."
)
GAP: Final = Family(
    "vllm:request_time_per_output_token_seconds", "histogram", _MODEL, "Mean time between two tokens of a stream."
)
WHOLE: Final = Family("vllm:e2e_request_latency_seconds", "histogram", _MODEL, "From a request's arrival to its end.")
REQUESTS: Final = Family(
    "trunkcall_requests_total", "counter", (*_OURS, "protocol", "outcome"), "Requests, by how they ended."
)
FAILED: Final = Family("trunkcall_requests_failed_total", "counter", ("error", *_OURS), "Requests that failed.")
COST: Final = Family("trunkcall_cost_total", "counter", _OURS, "What requests came to at the models' prices.")
RETRIES: Final = Family("trunkcall_retries_total", "counter", _OURS, "Tries beyond the first, before the first byte.")
RESUMES: Final = Family(
    "trunkcall_resumes_total", "counter", (*_OURS, "how"), "Streams that went on from another replica."
)
FALLBACKS: Final = Family(
    "trunkcall_fallbacks_total", "counter", _OURS, "Requests for the model that another one answered."
)
REFUSED: Final = Family(
    "trunkcall_callers_refused_total", "counter", ("api", "error"), "Callers turned away for their key or address."
)
UP: Final = Family("trunkcall_replica_up", "gauge", _REPLICA, "1 for a replica that takes requests.")
IN_FLIGHT: Final = Family("trunkcall_replica_in_flight", "gauge", _REPLICA, "Requests on the replica.")
MEMORY: Final = Family("trunkcall_replica_memory_bytes", "gauge", _REPLICA, "Memory that the replica's processes take.")
BREAKER: Final = Family(
    "trunkcall_replica_breaker", "gauge", (*_REPLICA, "state"), "1 for the state of the replica's circuit breaker."
)
RESTARTS: Final = Family(
    "trunkcall_replica_restarts_total", "counter", _REPLICA, "Times that the replica was started again after a crash."
)
LOADS: Final = Family("trunkcall_replica_loads_total", "counter", _REPLICA, "Times that the replica became ready.")
UNLOADS: Final = Family(
    "trunkcall_replica_unloads_total", "counter", (*_REPLICA, "reason"), "Times that it ended: idle, or to make room."
)
ROWS_LOST: Final = Family(
    "trunkcall_journal_rows_lost_total", "counter", (), "Rows of the ledger that could not be written."
)
ROWS_WAITING: Final = Family("trunkcall_journal_rows_waiting", "gauge", (), "Rows that wait for the disk.")
BYTES_WAITING: Final = Family(
    "trunkcall_journal_bytes", "gauge", (), "Size of the journal's files, which go when the ledger has them."
)
JOURNAL: Final = Family("trunkcall_journal_up", "gauge", (), "1 while requests can be noted.")
LEDGER: Final = Family("trunkcall_ledger_up", "gauge", (), "1 while the ledger's database takes rows.")
RELOADS: Final = Family("trunkcall_reloads_total", "counter", ("result",), "Reloads of the settings.")
LAG: Final = Family("trunkcall_event_loop_lag_seconds", "histogram", (), "How late the event loop was.")
TRACES_LOST: Final = Family(
    "trunkcall_traces_lost_total", "counter", (), "Requests whose trace the collector did not get."
)
INFO: Final = Family("trunkcall_info", "gauge", ("version",), "1, with the version that runs.")

FAMILIES: Final = (
    *(RUNNING, WAITING, PROMPT, CACHED, GENERATED, SUCCESS, QUEUED, FIRST, GAP, WHOLE),
    *(REQUESTS, FAILED, COST, RETRIES, RESUMES, FALLBACKS, REFUSED),
    *(UP, IN_FLIGHT, MEMORY, BREAKER, RESTARTS, LOADS, UNLOADS),
    *(ROWS_LOST, ROWS_WAITING, BYTES_WAITING, JOURNAL, LEDGER, RELOADS, LAG, TRACES_LOST, INFO),
)
"""All of our own, in the order of the page; what the operating system knows of the process comes after them."""
_BREAKERS: Final = ("closed", "half_open", "open")
_EMPTY: Final = ModelCounters()


class Metrics:
    """Fits core.ports.Api; counts stay plain integers and become metrics only when somebody asks.

    pools, condition: what is served, and how the process does, at the moment of a scrape.
    """

    name = "metrics"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(
        self, counters: Counters, pools: Callable[[], Sequence[Pool]], condition: Callable[[], Condition]
    ) -> None:
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._counters = counters
        self._pools = pools
        self._condition = condition

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (Route("GET", "/metrics", self._metrics),)

    def failure(self, error: ServingError) -> Response:
        """The message as plain text."""
        return Response(
            error.status, error.message.encode() + b"\n", ((b"content-type", b"text/plain; charset=utf-8"),)
        )

    async def response(self, more: bytes = b"") -> Response:
        """What a scrape is answered with; more: metrics of another's, as text."""
        pools, condition = self._pools(), self._condition()
        # Thousands of models take a tenth of a second to write, which streams shall not feel.
        text = await asyncio.to_thread(self._text, pools, condition)
        return Response(200, text + more, ((b"content-type", CONTENT_TYPE),))

    async def _metrics(self, exchange: Exchange) -> None:
        await exchange.respond(await self.response())

    def _text(self, pools: Sequence[Pool], condition: Condition) -> bytes:
        pieces: list[str] = []
        for piece in chain(
            _of_models(self._counters, pools), _of_replicas(pools), _of_process(self._counters, condition)
        ):
            pieces.append(piece)
            # Whoever waits for the interpreter's lock, as the event loop does, gets it now instead of in 5 ms.
            time.sleep(0)
        return "".join(pieces).encode() + generate_latest(self._process)


def _of_models(counters: Counters, pools: Sequence[Pool]) -> Iterable[str]:
    """A model that is served but unused has zeros, so that rates begin at its first request."""
    waiting = {pool.settings.name: len(pool.queue) for pool in pools}
    # Copies are made in one step each: requests go on beside.
    counted = dict(counters.models)
    found = [(name, counted.get(name, _EMPTY)) for name in sorted({*waiting, *counted})]
    named = [(labels(_MODEL, [name]), one) for name, one in found]
    ours = [(given.replace("model_name", "model", 1), one) for given, one in named]
    outcomes = [(name, sorted(dict(one.outcomes).items())) for name, one in found]

    queued = [waiting.get(name, 0) for name, _ in found]
    yield samples(RUNNING, [(given, max(0, one.running - n)) for (given, one), n in zip(named, queued, strict=True)])
    yield samples(WAITING, [(given, n) for (given, _), n in zip(named, queued, strict=True)])
    yield samples(PROMPT, [(given, one.prompt_tokens) for given, one in named])
    yield samples(CACHED, [(given, one.cached_tokens) for given, one in named])
    yield samples(GENERATED, [(given, one.completion_tokens) for given, one in named])
    yield samples(SUCCESS, _summed(SUCCESS, outcomes, _finished))
    yield buckets(QUEUED, LATENCY_BOUNDS, _histograms((given, one.waited) for given, one in named))
    yield buckets(FIRST, LATENCY_BOUNDS, _histograms((given, one.first_token) for given, one in named))
    yield buckets(GAP, GAP_BOUNDS, _histograms((given, one.gap) for given, one in named))
    yield buckets(WHOLE, LATENCY_BOUNDS, _histograms((given, one.whole) for given, one in named))
    unserved = sorted(dict(counters.unserved).items())
    yield samples(
        REQUESTS,
        [
            (labels(REQUESTS.labels, [name, protocol, outcome]), count)
            for name, ended in (("", unserved), *outcomes)
            for (protocol, outcome), count in ended
        ],
    )
    yield samples(FAILED, _summed(FAILED, [("", unserved), *outcomes], _failed))
    yield samples(COST, [(given, one.cost) for given, one in ours])
    yield samples(RETRIES, [(given, one.retries) for given, one in ours])
    yield samples(
        RESUMES, [(f'{given},how="{how}"', count) for given, one in ours for how, count in one.resumed.items()]
    )
    yield samples(FALLBACKS, [(given, one.fallbacks) for given, one in ours])
    refused = sorted(dict(counters.refused).items())
    yield samples(REFUSED, [(labels(REFUSED.labels, who), count) for who, count in refused])


_Outcomes = Sequence[tuple[str, Sequence[tuple[tuple[str, str], int]]]]
"""Of each model, counts by protocol and outcome."""


def _summed(family: Family, outcomes: _Outcomes, reason: Callable[[str], str]) -> Iterable[tuple[str, int]]:
    """Over protocols, by the reason that an outcome has here; empty for one that is none."""
    for name, ended in outcomes:
        sums: dict[str, int] = {}
        for (_, outcome), count in ended:
            word = reason(outcome)
            if word:
                sums[word] = sums.get(word, 0) + count
        for word, count in sorted(sums.items()):
            yield labels(family.labels, [word, name]), count


def _finished(outcome: str) -> str:
    # A client that left is not a failure; vLLM counts it as `abort`.
    return "abort" if outcome == "cancelled" else "" if outcome in STATUS else outcome


def _failed(outcome: str) -> str:
    return outcome if outcome in STATUS and outcome != "cancelled" else ""


def _histograms(found: Iterable[tuple[str, Histogram]]) -> Iterable[tuple[str, Sequence[int], float]]:
    return ((given, tuple(histogram.counts), histogram.total) for given, histogram in found)


def _of_replicas(pools: Sequence[Pool]) -> Iterable[str]:
    now = time.monotonic()
    replicas = [
        (labels(_REPLICA, [pool.settings.name, replica.id]), replica)
        for pool in sorted(pools, key=lambda pool: pool.settings.name)
        for replica in tuple(pool.replicas)
    ]
    breakers = [(given, replica.breaker.view(now).state) for given, replica in replicas]

    def of(family: Family, value: Callable[[Replica], float]) -> str:
        return samples(family, [(given, value(replica)) for given, replica in replicas])

    yield of(UP, lambda replica: int(replica.state == "ready"))
    yield of(IN_FLIGHT, lambda replica: replica.in_flight)
    yield of(MEMORY, lambda replica: replica.rss)
    yield samples(
        BREAKER,
        [(f'{given},state="{state}"', int(found == state)) for given, found in breakers for state in _BREAKERS],
    )
    yield of(RESTARTS, lambda replica: replica.restarts)
    yield of(LOADS, lambda replica: replica.loads)
    yield samples(
        UNLOADS,
        [
            (f'{given},reason="{reason}"', count)
            for given, replica in replicas
            for reason, count in (("idle", replica.unloads), ("room", replica.evictions))
        ],
    )


def _of_process(counters: Counters, condition: Condition) -> Iterable[str]:
    for family, value in (
        (ROWS_LOST, condition.rows_lost),
        (ROWS_WAITING, condition.rows_waiting),
        (BYTES_WAITING, condition.bytes_waiting),
        (JOURNAL, int(condition.journal.ok)),
        (LEDGER, int(condition.ledger.ok)),
        (TRACES_LOST, condition.traces_lost),
    ):
        yield samples(family, [("", value)])
    yield samples(RELOADS, [(labels(RELOADS.labels, [result]), n) for result, n in counters.reloads.items()])
    yield buckets(LAG, GAP_BOUNDS, [("", tuple(counters.lag.counts), counters.lag.total)])
    yield samples(INFO, [(labels(INFO.labels, [__version__]), 1)])


def build(services: Services) -> Metrics:
    """The metrics of this process."""
    dispatch = services.dispatch
    return Metrics(services.counters, lambda: tuple(dispatch.pools.values()), services.condition)
