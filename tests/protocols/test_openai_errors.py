"""Errors: every kind has its words, and upstreams' words are understood."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from protocols.openai_schema import check

from trunkcall.core.errors import STATUS, Kind, ServingError
from trunkcall.protocols.openai import failure, fault_frame, read_error


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_has_its_words(kind: Kind) -> None:
    error = ServingError(kind, "it broke", param="messages[0]", retry_after=1.2, detail="secret")
    response = failure(error)
    body = json.loads(response.body)
    check("ErrorResponse", body)
    assert response.status == STATUS[kind]
    assert body["error"]["message"] == "it broke" and body["error"]["param"] == "messages[0]"
    assert dict(response.headers) == {
        b"content-type": b"application/json",
        b"x-trunkcall-failed-by": error.failed_by.encode(),
        b"retry-after": b"2",
    }
    assert fault_frame(error) == b"data: " + response.body + b"\n\n"
    assert b"secret" not in response.body


@pytest.mark.parametrize(
    ("kind", "type_", "code"),
    [
        ("bad_request", "invalid_request_error", None),
        ("unauthenticated", "authentication_error", "invalid_api_key"),
        ("no_model", "invalid_request_error", "model_not_found"),
        ("too_long", "invalid_request_error", "context_length_exceeded"),
        ("rate_limited", "rate_limit_error", "rate_limit_exceeded"),
        ("quota", "insufficient_quota", "insufficient_quota"),
        ("upstream_error", "server_error", "upstream_error"),
    ],
)
def test_words_that_clients_look_for(kind: Kind, type_: str, code: str | None) -> None:
    error = json.loads(failure(ServingError(kind, "m")).body)["error"]
    assert (error["type"], error["code"], error["param"]) == (type_, code, None)


def test_no_retry_after_unless_there_is_one() -> None:
    assert b"retry-after" not in dict(failure(ServingError("overloaded", "m")).headers)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, b'{"error":{"message":"no","param":"n"}}', "bad_request", "no"),
        (422, b'{"detail":"bad field"}', "bad_request", "bad field"),
        (401, b'{"error":{"message":"bad key","code":"invalid_api_key"}}', "upstream_error", "status 401: bad key"),
        (403, b"<html>no</html>", "upstream_error", "<html>no</html>"),
        (404, b'{"error":{"message":"m","code":"model_not_found"}}', "no_model", "m"),
        (404, b"", "upstream_error", "status 404"),
        (408, b"", "upstream_timeout", "status 408"),
        (413, b"big", "too_large", "big"),
        (429, b'{"error":{"message":"m","code":"insufficient_quota"}}', "quota", "m"),
        (429, b'{"error":{"message":"slow down"}}', "rate_limited", "slow down"),
        (503, b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}', "loading", "Loading"),
        (500, b'{"error":{"code":500,"message":"boom","type":"server_error"}}', "upstream_error", "boom"),
        (400, b'{"error":{"code":"context_length_exceeded","message":"m"}}', "too_long", "m"),
        (400, b'{"error":{"code":400,"type":"exceed_context_size_error","message":"m"}}', "too_long", "m"),
        (
            400,
            b'{"object":"error","message":"This model\'s maximum context length is 5","code":40303}',
            "too_long",
            "5",
        ),
        (500, b'{"error":"CUDA out of memory"}', "out_of_memory", "CUDA"),
        (504, b"\xff\xfe", "upstream_timeout", "\ufffd"),
        (200, b'{"error":{"code":429,"message":"m"}}', "rate_limited", "m"),
        (500, b'{"error":{"code":429,"message":"m"}}', "upstream_error", "status 500: m"),
        (200, b'{"error":{"code":true,"message":"m"}}', "upstream_error", "failed: m"),
        (500, b"[" * 100_000, "upstream_error", "[[["),
    ],
)
def test_read_error(status: int, body: bytes, kind: str, words: str) -> None:
    error = read_error(status, body, retry_after=3.0)
    assert error.kind == kind
    assert words in error.message
    assert len(error.message) < 400
    assert error.retry_after == 3.0
    assert error.upstream == (status, body)


def test_the_param_is_kept() -> None:
    assert read_error(400, b'{"error":{"message":"no","param":"n"}}').param == "n"
