"""Traces: spans by the conventions, sent off the event loop, to a collector that may be away."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from otlp_receiver import Collector, collecting
from running import eventually

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.net import telemetry
from trunkcall.net.telemetry import Telemetry

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AT = {"u-1": ("openai", "http://10.0.0.1:8000/v1"), "u-2": ("gemini", ""), "u-3": ("pocket", "http://[::1]:99999")}


class Asked:
    def __init__(self, **headers: str) -> None:
        self._headers = {name.encode(): value.encode() for name, value in headers.items()}

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def traces(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setattr(telemetry, "EVERY", 0.02)
    one = Telemetry(collector.url, {"authorization": "Bearer s"}, 1.0, lambda model, replica: AT[replica])
    yield one
    one.close()


def meter(traces: Telemetry, **headers: str) -> Meter:
    asked: Any = Asked(**headers)
    found = Meter("req-1", model="alias", protocol="openai", stream=True, key="alice")
    found.trace = traces.began(asked, "chat")
    return found


def test_request_and_its_tries_by_the_conventions(traces: Telemetry, collector: Collector) -> None:
    one = meter(traces, traceparent=f"00-{TRACE}-{SPAN}-01")
    assert one.trace is not None
    one.grant("u-1", "m", "least loaded")
    one.trace.failed("unreachable")
    one.grant("u-2", "m", "the other one")
    one.progress()
    one.usage, one.finish, one.status, one.dropped = Usage(10, 20, 4), "stop", 200, ("seed",)
    one.ended = time.monotonic()
    # A wall clock that is set back during a request does not turn its spans round.
    one.opened_at -= 3600
    traces.ended(one)
    eventually(lambda: len(collector.spans) == 3)
    assert collector.paths == {"/v1/traces"}
    assert collector.headers["authorization"] == "Bearer s"
    assert collector.resource["service.name"] == "trunkcall"
    whole, first, second = collector.spans
    assert (whole["name"], whole["kind"], whole["trace"], whole["parent"]) == ("chat alias", 2, TRACE, SPAN)
    assert whole["gen_ai.operation.name"] == "chat"
    assert whole["gen_ai.request.model"] == "alias"
    assert whole["gen_ai.response.model"] == "m"
    assert whole["gen_ai.response.finish_reasons"] == ["stop"]
    assert (whole["gen_ai.usage.input_tokens"], whole["gen_ai.usage.output_tokens"]) == (10, 20)
    assert whole["gen_ai.usage.cache_read.input_tokens"] == 4
    assert whole["trunkcall.dropped"] == ["seed"]
    assert "error.type" not in whole
    assert whole["status"] == 0
    assert abs(whole["began"] + 3600 - time.time()) < 60
    assert {span["parent"] for span in (first, second)} == {whole["span"]}
    assert (first["server.address"], first["server.port"], first["error.type"]) == ("10.0.0.1", 8000, "unreachable")
    assert first["status"] == 2
    assert (second["gen_ai.provider.name"], second["gen_ai.request.model"]) == ("gcp.gemini", "m")
    assert "error.type" not in second
    assert all(span["seconds"] >= 0 for span in collector.spans)
    assert b"alice" not in b"".join(collector.bodies)


@pytest.mark.parametrize(("error", "told"), [("overloaded", "overloaded"), ("cancelled", None), ("bug", "bug")])
def test_only_failures_are_errors(traces: Telemetry, collector: Collector, error: str, told: str | None) -> None:
    one = meter(traces)
    one.error, one.ended = error, time.monotonic()
    traces.ended(one)
    (span,) = eventually(lambda: collector.spans)
    assert span.get("error.type") == told
    assert span["parent"] == ""
    assert "gen_ai.response.model" not in span


@pytest.mark.parametrize(("flag", "recorded"), [("00", False), ("01", True)])
def test_caller_decides_whether_it_is_recorded(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, flag: str, recorded: bool
) -> None:
    monkeypatch.setattr(telemetry, "EVERY", 0.02)
    one = Telemetry(collector.url + "/v1/traces/", {}, float(not recorded), lambda model, replica: ("", ""))
    one.ended(meter(one, traceparent=f"00-{TRACE}-{SPAN}-{flag}"))
    one.close()
    assert len(collector.spans) == recorded


def test_words_that_no_protocol_can_carry_cost_nobody_a_trace(traces: Telemetry, collector: Collector) -> None:
    one = meter(traces)
    one.model, one.dropped = "half \ud800", ("\udfff",)
    traces.ended(one)
    (span,) = eventually(lambda: collector.spans)
    assert (span["gen_ai.request.model"], span["trunkcall.dropped"]) == ("half ?", ["?"])
    assert traces.lost == 0


def test_missing_packages_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(ServingError, match=r"pip install 'trunkcall\[telemetry\]'"):
        Telemetry("http://127.0.0.1:1", {}, 1.0, lambda model, replica: ("", ""))


def test_odd_address_of_a_replica_is_left_out(traces: Telemetry, collector: Collector) -> None:
    one = meter(traces)
    one.grant("u-3", "m", "")
    traces.ended(one)
    eventually(lambda: len(collector.spans) == 2)
    assert "server.address" not in collector.spans[1]


def test_collector_that_is_away_costs_memory_up_to_a_limit_and_is_told_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telemetry, "EVERY", 0.02)
    monkeypatch.setattr(telemetry, "KEPT", 5)
    monkeypatch.setattr(logging.getLogger("trunkcall"), "propagate", True)
    collector.status = 400
    one = Telemetry(collector.url, {}, 1.0, lambda model, replica: ("", ""))
    one.ended(meter(one))
    eventually(lambda: one.lost == 1)
    one.ended(meter(one))
    eventually(lambda: one.lost == 2)
    collector.status = 200
    one.ended(meter(one))
    eventually(lambda: collector.spans)
    one.close()
    assert [record.message.split(" ")[1] for record in caplog.records] == ["cannot", "are"]
    assert one.lost == 2


def test_end_does_not_wait_for_a_collector_that_is_away(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setattr(telemetry, "EVERY", 0.02)
    one = Telemetry(f"http://127.0.0.1:{free_port}", {}, 1.0, lambda model, replica: ("", ""))
    one.ended(meter(one))
    time.sleep(0.1)
    began = time.monotonic()
    one.close()
    assert time.monotonic() - began < telemetry._TIMEOUT + 20
    eventually(lambda: not one._thread.is_alive())
