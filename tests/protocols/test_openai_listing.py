"""Lists of models as servers give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.protocols.openai_listing import Listing, read_listing


@pytest.mark.parametrize(
    ("body", "listing"),
    [
        (b'{"object":"list","data":[]}', Listing(())),
        (b'{"data":[{"id":"a"},{"id":"b","owned_by":null}]}', Listing(("a", "b"))),
        (b'{"data":[{"id":"a","owned_by":"openai"}]}', Listing(("a",))),
        (b'{"data":[{"id":"m","owned_by":"vllm"},{"id":"lora","owned_by":"vllm"}]}', Listing(("m", "lora"), "vLLM")),
        (b'{"data":[{"id":"m","owned_by":"sglang","root":"m"}]}', Listing(("m",), "SGLang")),
        (b'{"models":[{"name":"m"}],"data":[{"id":"m","owned_by":"llamacpp"}]}', Listing(("m",), "llama.cpp's server")),
        (b'{"data":[{"id":"m","owned_by":"trunkcall"}]}', Listing(("m",), "Trunkcall")),
    ],
)
def test_names_and_the_server(body: bytes, listing: Listing) -> None:
    assert read_listing(body) == listing


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no list of models"),
        (b"  <!doctype html>", "a page for people"),
        (b'{"data":[{"id":7}]}', "no list of models"),
        (b'{"object":"list"}', "no list of models"),
        (b'{"data":' + b"[" * 100_000, "no list of models"),
        (b'{"data":[{"id":"\xff"}]}', "no list of models"),
    ],
)
def test_what_is_none(body: bytes, says: str) -> None:
    with pytest.raises(ServingError, match=says) as refused:
        read_listing(body)
    assert refused.value.kind == "upstream_error"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_listing(body)
    except ServingError as error:
        assert error.kind == "upstream_error"
