"""GET /metrics: what Prometheus reads, and that its page says the same."""

from __future__ import annotations

import math
import re
import time
from asyncio import Future, get_running_loop
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from running import Server, eventually

from trunkcall.apis.metrics import FAMILIES, Metrics
from trunkcall.control.breaker import Breaker
from trunkcall.control.condition import Condition
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.queue import Waiter
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Usage
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.models import Health, ModelSettings, Source
from trunkcall.core.ports import Response
from trunkcall.protocols.exposition import Family, labels, samples

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Asked:
    """Takes the answer that a handler gives."""

    def __init__(self) -> None:
        self.response: Response | None = None

    async def respond(self, response: Response) -> None:
        self.response = response


def pools() -> tuple[Pool, ...]:
    source = Source("pocket")
    one, two = Replica("pocket-1", source, None), Replica("pocket-2", source, None)
    one.state, two.state = "ready", "starting"
    one.rss, one.restarts, one.loads, one.unloads, one.evictions = 5, 2, 3, 1, 4
    two.breaker = Breaker(until=time.monotonic() + 60)
    pocket = Pool(ModelSettings(name="pocket", sources=(source,)), [one, two])
    for _ in range(3):
        pocket.queue.push(Waiter("", Future(loop=get_running_loop())))
    return pocket, Pool(ModelSettings(name="idle", sources=()), [])


async def scrape(
    counters: Counters,
    condition: Callable[[], Condition] = Condition,
) -> Found:
    (route,) = Metrics(counters, pools, condition).routes()
    assert (route.method, route.path) == ("GET", "/metrics")
    asked: Any = Asked()
    await route.handler(asked)
    assert asked.response.status == 200
    assert dict(asked.response.headers)[b"content-type"].startswith(b"text/plain; version=")
    return read(asked.response.body)


def read(body: bytes) -> Found:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def close(counters: Counters, asked: str | None = "pocket", **given: Any) -> Meter:
    meter = Meter("id", model=asked or "nobody", protocol="openai", stream=True)
    meter.started = time.monotonic()
    seconds = {name: given.pop(name, None) for name in ("granted", "first", "ended")}
    for name, value in seconds.items():
        setattr(meter, name, None if value is None else meter.started + value)
    if meter.granted is None and meter.first is not None:
        meter.granted = meter.started
    for name, value in given.items():
        setattr(meter, name, value)
    counters.close(meter, asked)
    return meter


POCKET, OURS = (("model_name", "pocket"),), (("model", "pocket"),)


@pytest.mark.anyio
async def test_names_labels_and_values_of_requests() -> None:
    counters = Counters()
    counters.of("pocket").running = 5
    close(counters, first=0.003, ended=0.2, usage=Usage(10, 20, 4), finish="stop", attempts=1, cost=0.5)
    close(counters, first=0.02, ended=400.0, usage=Usage(1, 2), finish="length", attempts=2, resumes=1, resumed="exact")
    close(counters, ended=0.001, error="cancelled")
    close(counters, granted=0.5, ended=0.6, error="upstream_error", attempts=2)
    close(counters, granted=0.5, ended=0.6, error="upstream_error", protocol="tgi", attempts=1)
    close(counters, granted=0.0, ended=0.6, finish="stop", served="other", chunks=3, attempts=1)
    close(counters, asked=None, ended=0.1, error="no_model")
    counters.refuse("openai", "unauthenticated")
    found = await scrape(counters)

    def of(name: str, **wanted: str) -> float:
        return found[name, tuple(sorted(wanted.items()))]

    assert of("vllm:num_requests_running", model_name="pocket") == 2
    assert of("vllm:num_requests_waiting", model_name="pocket") == 3
    assert of("vllm:prompt_tokens_total", model_name="pocket") == 11
    assert of("vllm:prompt_tokens_cached_total", model_name="pocket") == 4
    assert of("vllm:generation_tokens_total", model_name="pocket") == 22
    assert of("vllm:generation_tokens_total", model_name="other") == 3
    assert {
        dict(labels)["finished_reason"]: value
        for (name, labels), value in found.items()
        if name == "vllm:request_success_total" and dict(labels)["model_name"] == "pocket"
    } == {"stop": 1, "length": 1, "abort": 1}
    assert of("trunkcall_requests_failed_total", model="pocket", error="upstream_error") == 2
    assert of("trunkcall_requests_failed_total", model="", error="no_model") == 1
    assert of("trunkcall_requests_total", model="pocket", protocol="tgi", outcome="upstream_error") == 1
    assert of("trunkcall_requests_total", model="", protocol="openai", outcome="no_model") == 1
    assert of("trunkcall_retries_total", model="pocket") == 2
    assert of("trunkcall_resumes_total", model="pocket", how="exact") == 1
    assert of("trunkcall_fallbacks_total", model="pocket") == 1
    assert of("trunkcall_cost_total", model="pocket") == 0.5
    assert of("trunkcall_callers_refused_total", api="openai", error="unauthenticated") == 1
    assert of("vllm:request_queue_time_seconds_sum", model_name="pocket") == pytest.approx(1.0)
    assert not [name for name, labels in found if "nobody" in str(labels)]


@pytest.mark.anyio
async def test_replicas_and_the_process() -> None:
    counters = Counters()
    counters.reloads["refused"] = 2
    counters.lag.observe(0.004)
    condition = Condition(journal=Health(False, "full"), rows_lost=6, rows_waiting=7, bytes_waiting=8, traces_lost=9)
    found = await scrape(counters, condition=lambda: condition)
    one = (("model", "pocket"), ("replica", "pocket-1"))
    two = (("model", "pocket"), ("replica", "pocket-2"))
    assert (found["trunkcall_replica_up", one], found["trunkcall_replica_up", two]) == (1, 0)
    assert found["trunkcall_replica_memory_bytes", one] == 5
    assert found["trunkcall_replica_restarts_total", one] == 2
    assert found["trunkcall_replica_loads_total", one] == 3
    assert {
        dict(key)["reason"]: value
        for (name, key), value in found.items()
        if name == "trunkcall_replica_unloads_total" and ("replica", "pocket-1") in key
    } == {"idle": 1, "room": 4}
    assert found["trunkcall_replica_breaker", (*two, ("state", "open"))] == 1
    assert found["trunkcall_replica_breaker", (*one, ("state", "open"))] == 0
    values = {name: value for (name, key), value in found.items() if not key}
    assert values["trunkcall_journal_rows_lost_total"] == 6
    assert values["trunkcall_journal_rows_waiting"] == 7
    assert values["trunkcall_journal_bytes"] == 8
    assert values["trunkcall_traces_lost_total"] == 9
    assert (values["trunkcall_journal_up"], values["trunkcall_ledger_up"]) == (0, 1)
    assert values["trunkcall_event_loop_lag_seconds_count"] == 1
    assert found["trunkcall_reloads_total", (("result", "refused"),)] == 2
    assert values["process_resident_memory_bytes"] > 1e6


@pytest.mark.anyio
async def test_histograms_are_cumulative() -> None:
    counters = Counters()
    for seconds in (0.003, 0.02, 400.0):
        close(counters, first=seconds, ended=seconds, finish="stop")
    found = await scrape(counters)
    for name in ("vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"):
        buckets = {
            dict(labels)["le"]: value
            for (sample, labels), value in found.items()
            if sample == f"{name}_bucket" and dict(labels)["model_name"] == "pocket"
        }
        assert [buckets[edge] for edge in ("0.005", "0.01", "0.025", "120.0", "+Inf")] == [1, 1, 2, 2, 3]
        assert found[f"{name}_count", POCKET] == 3
        assert found[f"{name}_sum", POCKET] == pytest.approx(400.023)


@pytest.mark.anyio
async def test_time_between_tokens_is_the_mean_of_a_stream() -> None:
    counters = Counters()
    close(counters, first=0.1, ended=1.1, usage=Usage(1, 11), finish="stop")
    close(counters, first=0.1, ended=0.5, chunks=5, error="upstream_error")
    close(counters, first=0.1, ended=9.0, usage=Usage(1, 1), finish="stop")
    close(counters, first=0.1, ended=9.0, usage=Usage(1, 5), finish="stop", stream=False)
    found = await scrape(counters)
    assert found["vllm:request_time_per_output_token_seconds_count", POCKET] == 2
    assert found["vllm:request_time_per_output_token_seconds_sum", POCKET] == pytest.approx(0.2)


@pytest.mark.anyio
async def test_a_model_that_nobody_used_has_zeros_and_one_that_is_gone_stays() -> None:
    counters = Counters()
    counters.of("gone").prompt_tokens = 7
    found = await scrape(counters)
    assert found["vllm:prompt_tokens_total", (("model_name", "idle"),)] == 0
    assert found["vllm:e2e_request_latency_seconds_count", (("model_name", "idle"),)] == 0
    assert found["vllm:prompt_tokens_total", (("model_name", "gone"),)] == 7


@pytest.mark.anyio
async def test_two_in_one_process_do_not_share_anything() -> None:
    one, two = Counters(), Counters()
    one.of("pocket").prompt_tokens = 1
    assert (await scrape(one))["vllm:prompt_tokens_total", POCKET] == 1
    assert (await scrape(two))["vllm:prompt_tokens_total", POCKET] == 0


def test_failure_is_plain_text() -> None:
    response = Metrics(Counters(), tuple, Condition).failure(ServingError("forbidden", "no"))
    assert (response.status, response.body) == (403, b"no\n")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.floats(allow_nan=False))
def test_any_name_can_be_read_back(name: str, value: float) -> None:
    family = Family("a_name", "gauge", ("model",), "Says something.")
    found = read(samples(family, [(labels(family.labels, [name]), value)]).encode())
    # The parser ends lines where Python's splitlines does, which the format does not.
    if len(name.splitlines()) < 2 and name == name.strip("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        ((got, read_labels), told) = next(iter(found.items()))
        assert (got, dict(read_labels)["model"]) == ("a_name", name)
        assert told == value or math.isclose(told, value)


def documented() -> dict[str, tuple[str, str, str]]:
    """Of docs/metrics.md: name -> type, labels, what it says."""
    rows = re.findall(
        r"^\| `([a-z0-9_:]+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len({row[0] for row in rows}) == len(rows)
    return {name: (kind, labels, help) for name, kind, labels, help in rows}


def test_page_says_what_is_served() -> None:
    expected = {one.name: (one.kind, ", ".join(f"`{label}`" for label in one.labels), one.help) for one in FAMILIES}
    assert documented() == expected


def test_a_server_tells_what_the_page_says(serve: Callable[..., Server]) -> None:
    server = serve("--model", "d=debug", "--no-pocket")
    for stream in (False, True):
        server.request(
            "POST",
            "/v1/chat/completions",
            {"model": "d", "stream": stream, "messages": [{"role": "user", "content": "a b c d"}]},
        )
    server.chat("nobody", "hi")
    text = eventually(lambda: _counted(server))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name.removesuffix("_total") for name in documented()}
    assert {name for name in families if not name.startswith(("process_", "python_"))} == ours
    found = read(text.encode())
    assert found["trunkcall_requests_total", (("model", ""), ("outcome", "no_model"), ("protocol", "openai"))] == 1
    assert found["vllm:generation_tokens_total", (("model_name", "d"),)] > 0
    assert found["vllm:request_queue_time_seconds_count", (("model_name", "d"),)] == 2
    eventually(lambda: b"trunkcall_event_loop_lag_seconds_count 0" not in server.request("GET", "/metrics")[2])


def _counted(server: Server) -> str:
    text = server.request("GET", "/metrics")[2].decode()
    return text if 'outcome="no_model"} 1' in text else ""
