"""GET /metrics: what Prometheus reads."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trunkcall.apis.metrics import Metrics
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Usage
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.models import ModelView, ReplicaView
from trunkcall.core.ports import Response

pytestmark = pytest.mark.anyio


class Asked:
    """Takes the answer that a handler gives."""

    def __init__(self) -> None:
        self.response: Response | None = None

    async def respond(self, response: Response) -> None:
        self.response = response


def replica(name: str, state: Any) -> ReplicaView:
    return ReplicaView(id=name, model="pocket", source="pocket", state=state, in_flight=0, slots=None)


VIEWS = (
    ModelView(
        name="pocket",
        sources=("pocket",),
        waiting=3,
        created=0,
        replicas=(replica("pocket-1", "ready"), replica("pocket-2", "starting")),
    ),
    ModelView(name="idle", sources=(), waiting=0, created=0, replicas=()),
)


async def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    (route,) = metrics.routes()
    assert (route.method, route.path) == ("GET", "/metrics")
    asked: Any = Asked()
    await route.handler(asked)
    assert asked.response.status == 200
    assert dict(asked.response.headers)[b"content-type"].startswith(b"text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(asked.response.body.decode())
        for sample in family.samples
    }


def close(counters: Counters, *, first: float | None, whole: float, **given: Any) -> None:
    meter = Meter("id", model="pocket", protocol="openai", stream=True)
    meter.started = time.monotonic()
    meter.first = None if first is None else meter.started + first
    meter.ended = meter.started + whole
    for name, value in given.items():
        setattr(meter, name, value)
    counters.close(meter)


async def test_names_labels_and_values() -> None:
    counters = Counters()
    counters.of("pocket").running = 2
    close(counters, first=0.003, whole=0.2, usage=Usage(10, 20, 4), finish="stop")
    close(counters, first=0.02, whole=400.0, usage=Usage(1, 2), finish="length")
    close(counters, first=None, whole=0.001, error="cancelled")
    close(counters, first=None, whole=0.001, error="upstream_error")
    close(counters, first=None, whole=0.001, error="upstream_error")
    found = await scrape(Metrics(counters, lambda: VIEWS, lambda: 6))

    pocket = (("model_name", "pocket"),)
    assert found["vllm:num_requests_running", pocket] == 2
    assert found["vllm:num_requests_waiting", pocket] == 3
    assert found["vllm:prompt_tokens_total", pocket] == 11
    assert found["vllm:prompt_tokens_cached_total", pocket] == 4
    assert found["vllm:generation_tokens_total", pocket] == 22
    assert {
        dict(labels)["finished_reason"]: value
        for (name, labels), value in found.items()
        if name == "vllm:request_success_total"
    } == {"stop": 1, "length": 1, "abort": 1}
    assert found["trunkcall_requests_failed_total", (("error", "upstream_error"), ("model", "pocket"))] == 2
    assert found["trunkcall_replica_up", (("model", "pocket"), ("replica", "pocket-1"))] == 1
    assert found["trunkcall_replica_up", (("model", "pocket"), ("replica", "pocket-2"))] == 0
    assert found["trunkcall_journal_rows_lost_total", ()] == 6
    assert found["process_resident_memory_bytes", ()] > 1e6


async def test_histograms_are_cumulative() -> None:
    counters = Counters()
    for seconds in (0.003, 0.02, 400.0):
        close(counters, first=seconds, whole=seconds, finish="stop")
    found = await scrape(Metrics(counters, lambda: VIEWS, lambda: 0))
    for name in ("vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"):
        buckets = {
            dict(labels)["le"]: value
            for (sample, labels), value in found.items()
            if sample == f"{name}_bucket" and dict(labels)["model_name"] == "pocket"
        }
        assert (buckets["0.005"], buckets["0.01"], buckets["0.025"], buckets["120.0"], buckets["+Inf"]) == (
            1,
            1,
            2,
            2,
            3,
        )
        assert found[f"{name}_count", (("model_name", "pocket"),)] == 3
        assert found[f"{name}_sum", (("model_name", "pocket"),)] == pytest.approx(400.023)


async def test_a_model_that_nobody_used_has_zeros_and_one_that_is_gone_stays() -> None:
    counters = Counters()
    counters.of("gone").prompt_tokens = 7
    found = await scrape(Metrics(counters, lambda: VIEWS, lambda: 0))
    assert found["vllm:prompt_tokens_total", (("model_name", "idle"),)] == 0
    assert found["vllm:e2e_request_latency_seconds_count", (("model_name", "idle"),)] == 0
    assert found["vllm:prompt_tokens_total", (("model_name", "gone"),)] == 7


async def test_two_in_one_process_do_not_share_anything() -> None:
    one, two = Counters(), Counters()
    one.of("pocket").prompt_tokens = 1
    first, second = Metrics(one, lambda: VIEWS, lambda: 0), Metrics(two, lambda: VIEWS, lambda: 0)
    assert (await scrape(first))["vllm:prompt_tokens_total", (("model_name", "pocket"),)] == 1
    assert (await scrape(second))["vllm:prompt_tokens_total", (("model_name", "pocket"),)] == 0


async def test_failure_is_plain_text() -> None:
    response = Metrics(Counters(), tuple, lambda: 0).failure(ServingError("forbidden", "no"))
    assert (response.status, response.body) == (403, b"no\n")
