"""Regular expressions as terminals of Lark."""

from __future__ import annotations

import pytest

from trunkcall.workers.regexes import lark_regex


@pytest.mark.parametrize(
    ("source", "terminal"),
    [
        ("a+", "/a+/"),
        ("^[0-9]{3}$", "/[0-9]{3}/"),
        (r"a\$", r"/a\$/"),
        ("a/b", r"/a\/b/"),
        (r"a\/b", r"/a\/b/"),
        (r"\\/", r"/\\\//"),
        ("a\nb", r"/a\nb/"),
        ("", "/()/"),
        ("^$", "/()/"),
    ],
)
def test_terminals(source: str, terminal: str) -> None:
    assert lark_regex(source) == terminal
