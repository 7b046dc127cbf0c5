"""Addresses as people paste them, and what may stand there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.models import parse_source
from trunkcall.protocols.addresses import Address, places, read_address

SCHEMES = ("anthropic", "fastchat", "gemini", "kuwa", "openai", "tgi")


@pytest.mark.parametrize(
    ("pasted", "origin", "path"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", ""),
        ("  localhost:8000/ ", "http://localhost:8000", ""),
        ("localhost", "http://localhost", ""),
        ("10.0.0.5", "http://10.0.0.5", ""),
        ("[::1]:8000/v1", "http://[::1]:8000", "/v1"),
        ("http://[::1]", "http://[::1]", ""),
        ("api.openai.com", "https://api.openai.com", ""),
        ("api.openai.com/v1", "https://api.openai.com", "/v1"),
        ("gpu.example.org:8000", "http://gpu.example.org:8000", ""),
        ("HTTP://Host:8000/v1/", "http://host:8000", "/v1"),
        ("http://h:1/v1/chat/completions", "http://h:1", "/v1"),
        ("http://h:1/v1/models?x=1#y", "http://h:1", "/v1"),
        ("http://h:1/generate_stream", "http://h:1", ""),
        ("http://h:1/v1.0/worker/list", "http://h:1", ""),
        ("http://h:1/worker_get_status", "http://h:1", ""),
        ("https://h/openai/v1", "https://h", "/openai/v1"),
        ("http://h:1/chat", "http://h:1", "/chat"),
    ],
)
def test_an_address_is_read(pasted: str, origin: str, path: str) -> None:
    assert read_address(pasted) == Address(origin, path)


@pytest.mark.parametrize(
    ("pasted", "says"),
    [
        ("", "http://HOST:PORT"),
        ("ftp://h", "http://HOST:PORT"),
        ("file:///etc/passwd", "http://HOST:PORT"),
        ("unix:///run/x.sock", "http://HOST:PORT"),
        ("http://", "http://HOST:PORT"),
        ("h:port", "http://HOST:PORT"),
        ("h:70000", "http://HOST:PORT"),
        ("http://h\r\nX: y", "http://HOST:PORT"),
        ("two words", "http://HOST:PORT"),
        ("http://[::1", "http://HOST:PORT"),
        ("http://me:secret@h", "leave out the user"),
    ],
)
def test_what_is_no_address_is_refused(pasted: str, says: str) -> None:
    with pytest.raises(ServingError, match=says) as refused:
        read_address(pasted)
    assert (refused.value.kind, refused.value.param) == ("bad_request", "url")
    assert "secret" not in refused.value.message


@given(st.text(max_size=60) | st.from_regex(r"(https?://)?[a-z.\[\]:@/?#%0-9]{0,40}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = places(read_address(text), SCHEMES)
    except ServingError as error:
        assert error.kind == "bad_request"
        return
    for place in found:
        assert parse_source(place.source("m")).scheme == place.scheme
        assert place.target.startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("pasted", "sources"),
    [
        (
            "h:1/v1",
            ["tgi:http://h:1", "fastchat:http://h:1#m", "kuwa:http://h:1#m", "kuwa:http://h:1/chat", "openai:http://h:1/v1#m"],
        ),
        (
            "http://h:1/x",
            ["tgi:http://h:1/x", "fastchat:http://h:1/x#m", "kuwa:http://h:1/x", "openai:http://h:1/x#m", "openai:http://h:1/x/v1#m"],
        ),
        (
            "api.anthropic.com/v1",
            ["tgi:https://api.anthropic.com", "fastchat:https://api.anthropic.com#m", "kuwa:https://api.anthropic.com#m",
             "kuwa:https://api.anthropic.com/chat", "anthropic:https://api.anthropic.com/v1#m", "openai:https://api.anthropic.com/v1#m"],
        ),
    ],
)  # fmt: skip
def test_each_kind_is_looked_for_where_it_would_be(pasted: str, sources: list[str]) -> None:
    assert [place.source("m") for place in places(read_address(pasted), SCHEMES)] == sources


def test_only_backends_that_are_there_and_those_of_plugins_too() -> None:
    found = places(read_address("h:1"), ("openai", "mine"))
    assert [(place.kind, place.source("m")) for place in found] == [
        ("mine", "mine:http://h:1#m"),
        ("OpenAI API", "openai:http://h:1/v1#m"),
    ]
