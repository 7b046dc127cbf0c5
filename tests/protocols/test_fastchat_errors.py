"""FastChat's error codes both ways, and the cause out of the sentence that hides it."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from trunkcall.core.errors import Kind, ServingError, WrongMethod
from trunkcall.protocols.fastchat import error_code, error_of, failure, fault_frame, read_status, unrouted
from trunkcall.protocols.fastchat_words import NETWORK_ERROR


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_has_a_code(kind: Kind) -> None:
    code = error_code(ServingError(kind, "m"))
    assert 40001 <= code <= 50006


def test_what_no_route_takes_is_said_as_the_framework_did() -> None:
    told = [unrouted(error) for error in (ServingError("no_route", "m"), WrongMethod("GET", "/a", ["POST"]))]
    assert [one and (one.status, json.loads(one.body)) for one in told] == [
        (404, {"detail": "Not Found"}),
        (405, {"detail": "Method Not Allowed"}),
    ]
    assert unrouted(ServingError("bad_request", "m")) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (40001, "bad_request"),
        (40101, "unauthenticated"),
        (40102, "unauthenticated"),
        (40103, "forbidden"),
        (40301, "no_model"),
        (40302, "bad_request"),
        (40303, "too_long"),
        (42901, "rate_limited"),
        (42902, "quota"),
        (42903, "overloaded"),
        (50001, "upstream_error"),
        (50002, "out_of_memory"),
        (50003, "upstream_error"),
        (50004, "upstream_error"),
        (50005, "no_capacity"),
        (50006, "upstream_timeout"),
        (1, "upstream_error"),
    ],
)
def test_every_code_has_a_kind(code: int, kind: Kind) -> None:
    error = error_of(code, f"**{NETWORK_ERROR}**\n\n(the cause)")
    assert error.kind == kind
    assert "the cause" in error.message
    assert NETWORK_ERROR not in error.message
    assert "no reason" in error_of(50001, f"**{NETWORK_ERROR}**").message
    assert error_of(code, "").message


@pytest.mark.parametrize(
    ("stream", "end", "kind"), [(True, b"\0", b"application/octet-stream"), (False, b"", b"application/json")]
)
def test_a_failure_has_status_200(stream: bool, end: bytes, kind: bytes) -> None:
    error = ServingError("too_long", "too long \u016e")
    answer = failure(error, stream)
    assert (answer.status, answer.headers) == (200, ((b"content-type", kind),))
    assert answer.body.endswith(end)
    assert json.loads(answer.body.removesuffix(b"\0")) == {"text": "too long \u016e", "error_code": 40303}
    assert fault_frame(error) == failure(error, True).body


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"model_names":"x"}', b'{"model_names":[1]}'])
def test_refuses_what_is_no_status(body: bytes) -> None:
    with pytest.raises(ServingError, match="address is right"):
        read_status(body)
