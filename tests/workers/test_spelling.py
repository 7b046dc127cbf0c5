"""The tokens of pieces of text, with a tokenizer of letters and a few words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.workers.spelling import Speller, Spelling, ending_in

pytestmark = pytest.mark.anyio

WHOLE = {1000: "Hello", 1001: "ab", 2: "<end>"}
"""Beside a token for each byte; 2 is a mark."""


class Engine:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def tokenize(self, text: str, special: bool) -> list[tuple[int, bytes]]:
        self.asked.append(text)
        if special and text == WHOLE[2]:
            return [(2, text.encode())]
        return [(byte + 3, bytes([byte])) for byte in b" " + text.encode()]

    async def detokenize(self, token: int) -> str:
        self.asked.append(token)
        return WHOLE.get(token) or bytes([token - 3]).decode(errors="replace")


def spelling() -> tuple[Spelling, Engine]:
    engine = Engine()
    return Spelling(engine.tokenize, engine.detokenize), engine


def byte(letter: str) -> int:
    return ord(letter) + 3


def chunk(text: str, last: int | None, field: str = "text", finish: str | None = None, **more: Any) -> bytes:
    token = {"id": last, "token": text, "bytes": [], "logprob": -1.0, **more}
    told = None if last is None else {"content": [token]}
    said = {"text": text} if field == "text" else {"delta": {field: text}}
    return json.dumps({"choices": [{**said, "logprobs": told, "finish_reason": finish}]}).encode()


async def told(vocabulary: Spelling, *chunks: bytes, **asked: Any) -> list[dict[str, Any]]:
    """The choices with something in them."""
    speller = Speller(vocabulary, **{"stops": (), "include": False, "logprobs": None, "ids": True, **asked})
    found = [(await speller.tell([(0, one)]))[0][1] for one in chunks]
    return [json.loads(data)["choices"][0] for data in found]


def ids(choices: list[dict[str, Any]]) -> list[list[int]]:
    return [choice.get("token_ids", []) for choice in choices]


@pytest.mark.parametrize(
    ("text", "last", "expected"),
    [
        ("Hello", 1000, [1000]),
        ("a", byte("a"), [byte("a")]),
        ("ab", byte("b"), [byte("a"), byte("b")]),
        ("ab", 1001, [1001]),
        ("\u00e9", 0xA9 + 3, [0xC3 + 3, 0xA9 + 3]),
    ],
)
@pytest.mark.parametrize("field", ["content", "reasoning_content", "text"])
async def test_one_token_as_told_and_several_as_the_tokenizer_says(
    text: str, last: int, expected: list[int], field: str
) -> None:
    vocabulary, engine = spelling()
    asked: list[list[Any]] = []
    for _ in range(2):
        (choice,) = await told(vocabulary, chunk(text, last, field))
        assert choice["token_ids"] == expected
        assert choice["logprobs"] is None
        assert choice.get("delta", choice)[field] == text
        asked.append(list(engine.asked))
    assert asked[0] == asked[1], "the second time it is remembered"


async def test_what_the_engine_tells_anyway_is_not_asked_for() -> None:
    vocabulary, engine = spelling()
    (choice,) = await told(
        vocabulary, chunk("Hello", 1000, top_probs=[{"id": 1000, "token": "Hello", "bytes": [*b"Hello"]}])
    )
    assert (choice["token_ids"], engine.asked) == ([1000], [])


async def test_each_token_has_its_own_entry() -> None:
    top = {"id": 2, "token": "", "bytes": [], "logprob": -0.5}
    vocabulary, _ = spelling()
    (choice, _) = await told(
        vocabulary, chunk("\u00e9", 0xA9 + 3, top_logprobs=[top]), chunk("", None, finish="stop"), logprobs=1
    )
    first, last = choice["logprobs"]["content"]
    assert first == {"id": 0xC3 + 3, "token": "\ufffd", "bytes": [0xC3], "logprob": -9999.0, "top_logprobs": []}
    assert (last["bytes"], last["logprob"]) == ([0xA9], -1.0)
    assert last["top_logprobs"] == [{**top, "token": "<end>", "bytes": [*b"<end>"], "special": True}]


CASES: dict[str, tuple[list[bytes], list[tuple[str, list[int]]], list[tuple[str, list[int]]], str | None]] = {
    "held back and released": (
        [chunk("", byte("a")), chunk("ac", byte("c")), chunk("", 2), chunk("", None, finish="stop")],
        [("", []), ("ac", [byte("a"), byte("c")]), ("", [2]), ("", [])],
        [("a", [byte("a")]), ("c", [byte("c")]), ("", [2]), ("", [])],
        None,
    ),
    "a stop string in two tokens": (
        [chunk("x", byte("x")), chunk("", byte("m")), chunk("", byte("n")), chunk("", None, finish="stop")],
        [("x", [byte("x")]), ("", []), ("", []), ("", [byte("m"), byte("n")])],
        [("x", [byte("x")]), ("m", [byte("m")]), ("n", [byte("n")]), ("", [])],
        "mn",
    ),
    "a stop string inside a token": (
        [chunk("He", 1000), chunk("", None, finish="stop")],
        [("He", [1000]), ("", [])],
        [("Hello", [1000]), ("", [])],
        "llo",
    ),
    "a stop string that begins inside a token": (
        [chunk("", 1001), chunk("a", byte("c")), chunk("", None, finish="stop")],
        [("", []), ("a", [1001, byte("c")]), ("", [])],
        [("ab", [1001]), ("c", [byte("c")]), ("", [])],
        "bc",
    ),
    "a character in two tokens": (
        [chunk("", 0xA9 + 3), chunk("", None, finish="stop")],
        [("", []), ("", [0xC3 + 3, 0xA9 + 3])],
        [("", []), ("\u00e9", [0xC3 + 3, 0xA9 + 3])],
        "\u00e9",
    ),
    "the limit in what was held back": (
        [chunk("", byte("a")), chunk("", None, finish="length")],
        [("", []), ("a", [byte("a")])],
        [("a", [byte("a")]), ("", [])],
        None,
    ),
    "the end in what was held back": (
        [chunk("", byte("a")), chunk("a", 2), chunk("", None, finish="stop")],
        [("", []), ("a", [byte("a"), 2]), ("", [])],
        [("a", [byte("a")]), ("", [2]), ("", [])],
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_stop_strings_cut_and_kept(name: str) -> None:
    chunks, cut, kept, matched = CASES[name]
    for include, expected in ((False, cut), (True, kept)):
        vocabulary, _ = spelling()
        choices = await told(vocabulary, *chunks, stops=("mn", "llo", "bc", "\u00e9"), include=include)
        assert [(one["text"], *ids([one])) for one in choices] == expected
        assert choices[-1].get("stop_reason") == matched


async def test_errors_and_usage_pass() -> None:
    for other in (b'{"error":{"code":500}}', b'{"choices":[],"usage":{}}'):
        vocabulary, _ = spelling()
        speller = Speller(vocabulary, stops=(), include=False, logprobs=None, ids=True)
        assert json.loads((await speller.tell([(0, other)]))[0][1]) == json.loads(other)


@given(st.text(min_size=1, max_size=12), st.data())
async def test_split_characters_in_any_pieces(text: str, data: st.DataObject) -> None:
    """The engine names the last token of each character and gives out as many characters at a time as it likes."""
    vocabulary, _ = spelling()
    chunks: list[bytes] = []
    held = ""
    for letter in text:
        held += letter
        shown = data.draw(st.booleans()) or letter == text[-1]
        chunks.append(chunk(held if shown else "", letter.encode()[-1] + 3))
        held = "" if shown else held
    if held:
        chunks.append(chunk(held, text.encode()[-1] + 3))
    chunks.append(chunk("", None, finish="stop"))
    choices = await told(vocabulary, *chunks)
    assert "".join(one["text"] for one in choices) == text
    assert [id - 3 for one in ids(choices) for id in one][: len(text.encode())] == list(text.encode())


@given(st.text(min_size=1, max_size=8), st.text(max_size=3))
def test_the_end_of_the_tokens_writes_the_text(text: str, before: str) -> None:
    tokens = [(byte, bytes([byte])) for byte in (before + text).encode()]
    assert b"".join(raw for _, raw in ending_in(tokens, text)) == text.encode()
