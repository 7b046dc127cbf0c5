"""Errors and /info in TGI's words, both ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkcall.core.errors import STATUS, Kind, ServingError
from trunkcall.protocols import tgi_errors
from trunkcall.protocols.tgi import (
    Info,
    emit_info,
    failure,
    fault_event,
    overloaded,
    read_error,
    read_info,
    stream_failure,
)

DATA = Path(__file__).parent / "data" / "tgi"


@pytest.mark.parametrize(
    ("kind", "status", "text", "error_type"),
    [
        ("bad_request", 422, "Input validation error: x", "validation"),
        ("unsupported", 422, "Input validation error: x", "validation"),
        ("too_large", 413, "Input validation error: x", "validation"),
        ("unreachable", 424, "Request failed during generation: x", "generation"),
        ("upstream_error", 424, "Request failed during generation: x", "generation"),
        ("out_of_memory", 424, "Request failed during generation: x", "generation"),
        ("overloaded", 429, "Model is overloaded: x", "overloaded"),
        ("rate_limited", 429, "x", "rate_limited"),
        ("no_capacity", 503, "x", "healthcheck"),
        ("unauthenticated", 401, "x", "unauthorized"),
        ("no_model", 404, "x", "not_found"),
    ],
)
def test_on_the_wire(kind: Kind, status: int, text: str, error_type: str) -> None:
    error = ServingError(kind, "x")
    answer = failure(error)
    assert answer.status == status
    assert json.loads(answer.body) == {"error": text, "error_type": error_type}
    assert fault_event(error) == b"data:" + answer.body + b"\n\n"
    streamed = stream_failure(error)
    if error_type in ("validation", "generation", "overloaded"):
        assert (streamed.status, streamed.body) == (200, fault_event(error))
    else:
        assert streamed == answer


def test_fixed_texts() -> None:
    assert json.loads(failure(overloaded()).body) == {"error": "Model is overloaded", "error_type": "overloaded"}
    for stream in (False, True):
        # Before the first byte there is no stream yet, whatever was asked for.
        answer = failure(tgi_errors.incomplete(stream))
        assert answer.status == 500
        assert json.loads(answer.body) == {"error": "Incomplete generation", "error_type": "incomplete_generation"}


def test_retry_after_is_told() -> None:
    assert (b"retry-after", b"3") in failure(ServingError("overloaded", "x", retry_after=2.2)).headers


@pytest.mark.parametrize("kind", list(STATUS))
def test_every_kind_has_json_and_comes_back_as_a_failure(kind: Kind) -> None:
    answer = failure(ServingError(kind, "why"))
    assert set(json.loads(answer.body)) == {"error", "error_type"}
    for status, body in ((answer.status, answer.body), (200, answer.body)):
        back = read_error(status, body)
        assert back.message.endswith("why")
        assert back.upstream == (status, body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "param"),
    [
        (422, {"error": "Input validation error: `top_p` must be", "error_type": "validation"}, "bad_request", "`top_p` must be", "top_p"),
        (422, {"error": "Input validation error: `inputs` must have less than 9 tokens. Given: 10", "error_type": "validation"},
         "too_long", "`inputs` must have less than 9 tokens. Given: 10", "inputs"),
        (424, {"error": "Request failed during generation: CUDA", "error_type": "generation"}, "upstream_error", "CUDA", None),
        (200, {"error": "Incomplete generation", "error_type": "incomplete_generation"}, "upstream_error", "Incomplete generation", None),
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}, "overloaded", "Model is overloaded", None),
        (503, {"error": "unhealthy", "error_type": "healthcheck"}, "no_capacity", "unhealthy", None),
        (200, {"error": "odd", "error_type": "news"}, "upstream_error", "odd", None),
        (422, {"error": "Template error: bad", "error_type": "template_error"}, "bad_request", "bad", None),
    ],
)  # fmt: skip
def test_a_servers_errors(status: int, body: object, kind: Kind, message: str, param: str | None) -> None:
    error = read_error(status, json.dumps(body).encode(), retry_after=4)
    assert (error.kind, error.message, error.param, error.retry_after) == (kind, message, param, 4)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(502, "upstream_error"), (504, "upstream_timeout"), (401, "upstream_error"), (413, "too_large")],
)
@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"", b'{"error":1}', b'{"error":"x","error_type":"odd"}', b"[" * 9999]
)
def test_what_stands_in_front_of_a_server(status: int, kind: Kind, body: bytes) -> None:
    assert read_error(status, body).kind == kind


@pytest.mark.parametrize(("name", "limit", "total"), [("info-3", 4095, 4096), ("info-0.8", 1000, 1512)])
def test_info_of_each_edition(name: str, limit: int, total: int) -> None:
    info = read_info((DATA / f"{name}.json").read_bytes())
    assert (info.model_id, info.input_limit, info.max_total_tokens) == ("org/name", limit, total)
    assert read_info(emit_info(info)) == info


def test_info_has_the_words_of_all() -> None:
    told = json.loads(emit_info(Info(model_id="m")))
    for name in ("info-3", "info-0.8"):
        assert set(json.loads((DATA / f"{name}.json").read_bytes())) <= set(told)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"model_id":1}'])
def test_what_is_no_info(body: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        read_info(body)
    assert caught.value.kind == "upstream_error"
