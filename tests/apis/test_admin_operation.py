"""How a call of administration is read: its query and body in their shapes, mistakes with their place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trunkcall.apis.admin_operation import Nothing, read_query, refusal
from trunkcall.core.errors import ServingError


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: int = 5
    follow: bool = False
    words: str = ""


@pytest.mark.parametrize(
    ("query", "read"),
    [
        (b"", Query()),
        (b"limit=7&follow=true", Query(7, True)),
        (b"words=", Query()),
        (b"words=%C3%A4+b%26", Query(words="ä b&")),
        (b"words=%FF", Query(words="\ufffd")),
        (b"follow=0", Query()),
    ],
)
def test_a_query_in_its_shape(query: bytes, read: Query) -> None:
    assert read_query(query, Query) == read


@pytest.mark.parametrize(
    ("query", "param", "words"),
    [
        (b"limit=x", "limit", "expected `int`"),
        (b"limt=1", "limt", "Did you mean 'limit'?"),
        (b"limit=1&limit=1", "limit", "twice"),
        (b"&".join(b"a%d=" % n for n in range(99)), None, "more than 32"),
        (b"follow=perhaps", "follow", "bool"),
    ],
)
def test_a_wrong_query_names_the_parameter(query: bytes, param: Any, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        read_query(query, Query)
    assert caught.value.kind == "bad_request" and caught.value.param == param
    assert words in caught.value.message


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: Inner | None = None
    more: dict[str, int] = {}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "name", "lacks the field name"),
        ({"nam": 1}, "nam", "Did you mean 'name'?"),
        ({"name": 1}, "name", "expected `str`, got `int`"),
        ({"name": "x", "inner": {}}, "inner.size", "lacks the field inner.size"),
        ({"name": "x", "inner": {"size": 1, "odd": 2}}, "inner.odd", "unknown field inner.odd"),
        ({"name": "x", "more": {"k": "v"}}, "more[...]", "expected `int`"),
        ([], None, "expected `object`"),
    ],
)
def test_a_wrong_body_names_the_field(body: Any, param: Any, words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(body, Body)
    refused = refusal(caught.value, "the body", Body)
    assert (refused.kind, refused.param) == ("bad_request", param)
    assert words in refused.message


def test_nothing_takes_nothing() -> None:
    assert read_query(b"", Nothing) == Nothing()
    with pytest.raises(ServingError, match="unknown field x"):
        read_query(b"x=1", Nothing)
