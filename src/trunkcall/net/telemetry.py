"""Traces of requests for OpenTelemetry: made from their meters and sent over OTLP/HTTP by a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from trunkcall import __version__
from trunkcall.core.errors import STATUS, ServingError
from trunkcall.core.log import log
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Exchange
from trunkcall.core.trace import Locate, Operation, Trace, Try
from trunkcall.protocols.traceparent import TRACEPARENT, TRACESTATE, read_traceparent, read_tracestate

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

KEPT: Final = 10_000
"""Requests that wait to be sent; while nobody takes them, more are left out."""
EVERY: Final = 1.0
"""Seconds between two sendings."""
_BATCH: Final = 256
_TIMEOUT: Final = 5.0
"""Seconds that the collector is given for a batch, tries again included."""
_PATH: Final = "/v1/traces"
_PROVIDERS: Final = {"gemini": "gcp.gemini"}
"""Schemes whose name in the conventions is another."""
_OURS: Final = "trunkcall"


class Telemetry:
    """Fits core.ports.Traces: one span for a request, and one below it for each replica that it was given.

    endpoint: the collector's base URL, `/v1/traces` is added; headers: sent with each batch; sample: the share of
    requests that is recorded where the caller says nothing, from 0 to 1.
    No prompt, answer or key is ever in a span. Spans wait in memory while the collector is away, at most `KEPT`
    requests; `lost` counts the rest.

    Raises ServingError (bad_request) where the packages of the extra are missing.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], sample: float, locate: Locate) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
        except ImportError as error:
            raise ServingError(
                "bad_request", "the setting telemetry needs `pip install 'trunkcall[telemetry]'`"
            ) from error
        base = endpoint.rstrip("/")
        self._endpoint = base if base.endswith(_PATH) else base + _PATH
        # Its failures are told once, below, instead of one line for each try.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(self._endpoint, headers=dict(headers), timeout=_TIMEOUT)
        self._resource = Resource({"service.name": _OURS, "service.version": __version__})
        self._sample = sample
        self._locate = locate
        self._waiting: deque[Meter] = deque()
        self._ending = threading.Event()
        self._away = False
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="trunkcall-telemetry", daemon=True)
        self._thread.start()

    def began(self, exchange: Exchange, operation: Operation) -> Trace:
        """The request's place in its caller's trace, or a trace of its own."""
        value = exchange.header(TRACEPARENT)
        parent = None if value is None else read_traceparent(value)
        if parent is None:
            return Trace(random.getrandbits(128) or 1, 0, random.random() < self._sample, b"", operation, self._locate)
        state = read_tracestate(exchange.header(TRACESTATE))
        return Trace(parent.trace, parent.span, parent.sampled, state, operation, self._locate)

    def ended(self, meter: Meter) -> None:
        """Have a request's spans sent, where it is recorded; returns at once."""
        if meter.trace is None or not meter.trace.sampled:
            return
        if len(self._waiting) >= KEPT:
            self.lost += 1
            return
        self._waiting.append(meter)

    def close(self) -> None:
        """Send what waits and end the thread; blocks, 5 s at most."""
        self._ending.set()
        if self._away:
            self._exporter.shutdown()
        self._thread.join(_TIMEOUT)

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(EVERY)
            while self._waiting and not (ending and self._away):
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                if not self._send(batch):
                    # Those that came later wait for a collector that is back; the journal has all of them anyway.
                    break
        self.lost += len(self._waiting)

    def _send(self, batch: list[Meter]) -> bool:
        spans = [span for meter in batch for span in spans_of(meter, self._resource)]
        sent = self._exporter.export(spans).name == "SUCCESS"
        if not sent:
            self.lost += len(batch)
            if not self._away:
                log.warning("traces cannot be sent to %s; they are left out until it answers", self._endpoint)
        elif self._away:
            log.warning("traces are sent to %s again", self._endpoint)
        self._away = not sent
        return sent


def spans_of(meter: Meter, resource: Any) -> list[ReadableSpan]:
    """A request's spans by the GenAI conventions: the request's first, then its tries.

    resource: an opentelemetry.sdk.resources.Resource.
    """
    trace = meter.trace
    assert trace is not None
    ended = time.monotonic() if meter.ended is None else meter.ended
    own = _span(
        meter, trace, trace.span, trace.parent, f"{trace.operation} {_text(meter.model)}",
        (meter.started, ended), resource,
        _of_request(meter, trace), _failure(meter.error), server=True,
    )  # fmt: skip
    tries = [
        _span(
            meter, trace, found.span, trace.span, f"{trace.operation} {found.served}",
            (found.began, ended if found.ended is None else found.ended), resource,
            _of_try(found, trace), found.error if found.ended else _failure(meter.error), server=False,
        )
        for found in trace.tries
    ]  # fmt: skip
    return [own, *tries]


def _span(
    meter: Meter,
    trace: Trace,
    span: int,
    parent: int,
    name: str,
    times: tuple[float, float],
    resource: Any,
    attributes: dict[str, Any],
    error: str,
    *,
    server: bool,
) -> ReadableSpan:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    # The parent of a request's span stands elsewhere, that of a try here.
    above = SpanContext(trace.trace, parent, is_remote=server, trace_flags=flags) if parent else None
    # One clock for both ends: a wall clock that jumps in between would give spans of negative length.
    began, ended = (round((meter.opened_at + moment - meter.started) * 1e9) for moment in times)
    if error:
        attributes["error.type"] = error
    return ReadableSpan(
        name,
        context=SpanContext(trace.trace, span, is_remote=False, trace_flags=flags),
        parent=above,
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER if server else SpanKind.CLIENT,
        status=Status(StatusCode.ERROR) if error else Status(StatusCode.UNSET),
        start_time=began,
        end_time=ended,
        instrumentation_scope=InstrumentationScope(_OURS, __version__),
    )


def _of_request(meter: Meter, trace: Trace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": trace.operation,
        "gen_ai.provider.name": _OURS,
        "gen_ai.request.model": _text(meter.model),
        "gen_ai.request.stream": meter.stream,
        "gen_ai.response.id": meter.id,
        "trunkcall.protocol": meter.protocol,
        "http.response.status_code": meter.status,
    }
    if meter.granted is not None:
        found["gen_ai.response.model"] = meter.served
        found["trunkcall.queue_seconds"] = meter.granted - meter.started
    if meter.first is not None and meter.stream:
        found["gen_ai.response.time_to_first_chunk"] = meter.first - meter.started
    if meter.finish:
        found["gen_ai.response.finish_reasons"] = [meter.finish]
    if meter.usage is not None:
        found["gen_ai.usage.input_tokens"] = meter.usage.prompt
        found["gen_ai.usage.output_tokens"] = meter.usage.completion
        if meter.usage.cached is not None:
            found["gen_ai.usage.cache_read.input_tokens"] = meter.usage.cached
    if meter.resumes:
        found["trunkcall.resumes"] = meter.resumes
        found["trunkcall.resumed"] = meter.resumed
    if meter.dropped:
        found["trunkcall.dropped"] = [_text(name) for name in meter.dropped]
    return found


def _of_try(found: Try, trace: Trace) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": trace.operation,
        "gen_ai.provider.name": _PROVIDERS.get(found.scheme, found.scheme or _OURS),
        "gen_ai.request.model": found.served,
        "trunkcall.replica": found.replica,
    }
    try:
        parts = urlsplit(found.address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return attributes
    if host:
        attributes["server.address"] = host
        attributes["server.port"] = port or (443 if parts.scheme == "https" else 80)
    return attributes


def _text(said: str) -> str:
    """A caller's words; half a surrogate would cost all the batch."""
    return said.encode("utf-8", "replace").decode()


def _failure(error: str) -> str:
    """The kind of a failure; a caller that left is none."""
    return error if error in STATUS and error != "cancelled" else ""
