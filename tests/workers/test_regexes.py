"""Regular expressions as terminals of Lark."""

from __future__ import annotations

import random
import re
import warnings
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.workers.regexes import lark_regex


@pytest.mark.parametrize(
    ("source", "terminal"),
    [
        ("a+", "/a+/"), ("^[0-9]{3}$", "/[0-9]{3}/"), (r"a\$", r"/a\$/"), ("a/b", r"/a\/b/"), (r"a\/b", r"/a\/b/"),
        (r"\\/", r"/\\\//"), ("a\nb", r"/a\x{A}b/"), (r"a\nb", r"/a\x{A}b/"), ("", "/()/"), ("^$", "/()/"),
        ("^yes$|^no$", "/yes|no/"), ("(^a|b$)", "/(a|b)/"), ("a*?b+?", "/a*b+/"), ("(?P<year>x)", "/(x)/"),
        ('{"a": \\d}', r'/\{"a": \d\}/'), ("a{,3}b{2,}c{x}", r"/a{0,3}b{2,}c\{x\}/"), ("a{,}", "/a{0,}/"),
        (r"\<\ü\07\x41\u2603\N{SNOWMAN}", r"/<ü\x{7}A☃☃/"), ("(?#note)a(?iu:b)", "/a(?i:b)/"), ("(?i)a", "/(?i)a/"),
        (r"[]*+]", r"/[\]\*\+]/"), (r"[^]\d-]", r"/[^\]\d\-]/"), (r"[a-z&&[^b]]", r"/[a-z\&\&\[\^b]\]/"), (r"[\b/]", r"/[\x{8}\/]/"),
        ("\0", r"/\x{0}/"), (r"a\\1", r"/a\\1/"),
    ],
)  # fmt: skip
def test_terminals(source: str, terminal: str) -> None:
    assert lark_regex(source) == terminal


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("(?=a)b", "(?="), ("(?!a)b", "(?!"), ("(?<=a)b", "(?<="), ("(?<!a)b", "(?<!"), (r"(a)\1", r"\1"),
        (r"\bword", r"\b"), (r"\Aword", r"\A"), ("(?>a)b", "(?>"), ("a*+b", "*+"), ("a{2}+b", "{2}+"), ("(?P<x>a)(?P=x)", "(?P="),
        ("(a)?(?(1)b|c)", "(?("), ("(?m)^a$", "(?m)"), ("(?x: a)", "(?x:"), ("a^b", "^"), ("a$b", "$"), ("(a$|b)c", "$"),
        ("(^a)*", "^ or $ in what is repeated"), (r"\ud800", "half a surrogate pair"),
        ("(" * 200 + "a" + ")" * 200, "more than 100 groups in one another"),
    ],
)  # fmt: skip
def test_what_no_automaton_can_do(source: str, found: str) -> None:
    with pytest.raises(ServingError, match=re.escape(f"held to `{found}`")) as caught:
        lark_regex(source)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("source", ["(a", "[b", "*", r"\p{L}", "a{5000000000}"])
def test_what_is_none(source: str) -> None:
    with pytest.raises(ServingError, match="correct the regular expression") as caught:
        lark_regex(source)
    assert caught.value.kind == "bad_request"


PIECES = [
    *"abA0-_ /\"'{}[]()|^$.*+?\\,&~#<>=!:\n☃é\0", "[a-c]", "[^a]", r"\d", r"\w", r"\s", "(?:", "(?i)", "(?P<x>", "{2}", "{,2}",
    "{1,}", r"\n", r"\<", r"\x41", r"\u2603", r"\0", "[]a]", "[a-]", "[&&a]", "(a|b)", "(^a|b)", "(a$)", "(?s:.)", "[[:alpha:]]", "(?#c)",
]  # fmt: skip
ANSWERS = ["", *"abA0{}/☃é&-]_~# <>\n\0", "ab", "aa", "a b", "a{x}", "[a", "aaa", "abab"]


@pytest.fixture(scope="module")
def matching() -> Any:
    return pytest.importorskip("llguidance", reason="TERMINALS NOT CHECKED: install trunkcall[transformers]")


def test_llguidance_means_the_same(matching: Any) -> None:
    tokens = matching.LLTokenizer("byte")
    chosen = random.Random(6)
    checked = 0
    while checked < 1000:
        source = "".join(chosen.choice(PIECES) for _ in range(chosen.randint(1, 6)))
        try:
            terminal = lark_regex(source)
        except ServingError:
            continue
        checked += 1
        matcher = matching.LLMatcher(tokens, f"%llguidance {{}}\nstart: {terminal}", log_level=0)
        assert not matcher.is_error(), source
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meant = re.compile(source)
        for answer in ANSWERS:
            matcher.reset()
            raw = list(answer.encode())
            held = matcher.try_consume_tokens(raw) == len(raw) and matcher.is_accepting()
            # Before a newline at the very end `$` matches too; an answer ends where it ends.
            if not (answer.endswith("\n") and "$" in source):
                assert held == (meant.fullmatch(answer) is not None), (source, answer)
