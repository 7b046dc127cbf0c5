"""JSON of our own interfaces: bodies that cannot be read, and refusals as they are told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from trunkcall.core.errors import ServingError
from trunkcall.protocols import own_json


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int = 0


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    name: str = "x"
    parts: list[Inner] = []


_DECODER = msgspec.json.Decoder(Shape)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b'{"nam": "y"}', "nam", "Did you mean 'name'"),
        (b'{"name": 1}', "name", "expected `str`"),
        (b'{"parts": [{}, {"size": "1"}]}', "parts[1].size", "parts[1].size: expected `int`"),
        (b'{"parts": [{"siz": 1}]}', "parts[0].siz", "unknown field parts[0].siz"),
        (b"[]", None, "the body: expected `object`"),
        (b"{", None, "no JSON that can be read"),
        (b'{"name": "\xff"}', None, "no JSON that can be read"),
        (b'{"parts": ' + b"[" * 100_000, None, "the body"),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(ServingError) as raised:
        own_json.read_body(body, _DECODER)
    assert (raised.value.kind, raised.value.param) == ("bad_request", param) or param is None
    assert words in raised.value.message


def test_an_empty_body_is_an_empty_object() -> None:
    assert own_json.read_body(b"", _DECODER) == Shape()


@pytest.mark.parametrize(
    ("value", "read"),
    [(b"application/json", True), (b"application/json; charset=utf-8", True), (b"text/plain", False), (None, False)],
)
def test_only_json_is_read(value: bytes | None, read: bool) -> None:
    if read:
        own_json.check_content_type(value)
        return
    with pytest.raises(ServingError, match="application/json"):
        own_json.check_content_type(value)


class Sent:
    """An exchange with this content type, whose body must not be waited for unless it is JSON."""

    def __init__(self, kind: bytes) -> None:
        self._kind = kind

    def header(self, name: bytes) -> bytes | None:
        return self._kind if name == b"content-type" else None

    async def body(self) -> bytes:
        assert self._kind == b"application/json"
        return b"{}"


@pytest.mark.anyio
async def test_the_body_of_a_request_is_json() -> None:
    sent: Any = Sent(b"application/json")
    assert await own_json.json_body(sent) == b"{}"
    sent = Sent(b"text/plain")
    with pytest.raises(ServingError, match="application/json"):
        await own_json.json_body(sent)


def test_a_refusal() -> None:
    told = own_json.failure(ServingError("overloaded", "come again", param="p", retry_after=2.2))
    assert (told.status, dict(told.headers)[b"retry-after"]) == (429, b"3")
    assert json.loads(told.body) == {"error": {"message": "come again", "kind": "overloaded", "param": "p"}}
