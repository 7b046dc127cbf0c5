"""Regular expressions as terminals of Lark."""

from __future__ import annotations

import pytest

from trunkcall.workers.regexes import beyond, lark_regex


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


@pytest.mark.parametrize("source", ["[0-9]{3}", "a/b", "^x$", r"\d+\.\d", "", "(a|b)*", "a\nb", r"\\/", "ü☃"])
def test_llguidance_reads_them(source: str) -> None:
    llguidance = pytest.importorskip("llguidance", reason="TERMINALS NOT CHECKED: install trunkcall[transformers]")
    grammar = f"start: answer\nanswer: {lark_regex(source)}\n"
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0)
    assert not matcher.is_error()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("(?=a)b", "(?="), ("(?!a)b", "(?!"), ("(?<=a)b", "(?<="), ("(?<!a)b", "(?<!"), (r"(a)\1", r"\1"),
        (r"\bword", r"\b"), ("(?>a)b", "(?>"), ("a*+b", "*+"), ("(?P<x>a)(?P=x)", "(?P="),
        ("[a-z]+", None), (r"a\\1", None), (r"\(\?=", None), ("[(?=]", None), (r"[\b+*+]", None), ("a+?", None), ("(?:a)", None),
        ("(?P<x>a)", None), (r"\d+\+", None), ("", None), ("[]*+]", None), ("[^]*+]", None),
    ],
)  # fmt: skip
def test_what_no_automaton_can_do(source: str, found: str | None) -> None:
    assert beyond(source) == found
