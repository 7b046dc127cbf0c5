"""Addresses that old command lines give: what can be one, and no password in what is said of the others."""

from __future__ import annotations

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.takeover.urls import check_url, fault_of


@pytest.mark.parametrize("text", ["http://h", "https://h:1/x/", "http://[::1]:9"])
def test_a_plain_url_is_taken_as_it_is(text: str) -> None:
    assert check_url(text, "--flag") == text
    assert fault_of(text) == ""


@pytest.mark.parametrize(
    "text", ["", "h:1", "ftp://h", "http://", "http://h:0", "http://h:x", "http://h?x", "http://u:secret@h"]
)
def test_another_is_refused_and_its_flag_named(text: str) -> None:
    with pytest.raises(ServingError, match=r"^--flag: .*http://HOST:PORT") as caught:
        check_url(text, "--flag")
    assert caught.value.kind == "bad_request"
    assert "secret" not in caught.value.message
