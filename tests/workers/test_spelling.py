"""The tokens of pieces of text, with a tokenizer of letters and a few words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.workers.spelling import Spelling, ending_in

pytestmark = pytest.mark.anyio

WHOLE = {1000: "Hello", 1001: "ab"}


class Engine:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def tokenize(self, text: str) -> list[tuple[int, bytes]]:
        self.asked.append(text)
        return [(byte, bytes([byte])) for byte in b" " + text.encode()]

    async def detokenize(self, token: int) -> str:
        self.asked.append(token)
        return WHOLE.get(token) or bytes([token]).decode(errors="replace")


def chunk(text: str, last: int, field: str = "content", **more: Any) -> bytes:
    token = {"id": last, "token": text, "bytes": [], "prob": 1.0, **more}
    return json.dumps({"choices": [{"delta": {field: text}, "logprobs": {"content": [token]}}]}).encode()


async def told(spelling: Spelling, *chunks: bytes, logprobs: bool = False) -> list[dict[str, Any]]:
    found = await spelling.tell(enumerate(chunks), logprobs=logprobs)
    assert [index for index, _ in found] == list(range(len(chunks)))
    return [json.loads(data)["choices"][0] for _, data in found]


@pytest.mark.parametrize(
    ("text", "last", "ids"),
    [
        ("Hello", 1000, [1000]),
        ("a", 97, [97]),
        ("ab", 98, [97, 98]),
        ("ab", 1001, [1001]),
        ("\u00e9", 0xA9, [0xC3, 0xA9]),
    ],
)
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
async def test_one_token_as_told_and_several_as_the_tokenizer_says(
    text: str, last: int, ids: list[int], field: str
) -> None:
    engine = Engine()
    spelling = Spelling(engine.tokenize, engine.detokenize)
    for _ in range(2):
        (choice,) = await told(spelling, chunk(text, last, field))
        assert choice["token_ids"] == ids
        assert choice["logprobs"] is None
        assert choice["delta"] == {field: text}
    assert engine.asked == ([last] if len(ids) == 1 else [last, text]), "the second time it is remembered"


async def test_what_the_engine_tells_anyway_is_not_asked_for() -> None:
    engine = Engine()
    spelling = Spelling(engine.tokenize, engine.detokenize)
    (choice,) = await told(spelling, chunk("Hello", 1000, top_probs=[{"id": 1000, "token": "Hello"}]))
    assert (choice["token_ids"], engine.asked) == ([1000], [])


async def test_chunks_without_text_and_errors_pass() -> None:
    engine = Engine()
    spelling = Spelling(engine.tokenize, engine.detokenize)
    (ending,) = await told(spelling, chunk("", 2))
    assert "token_ids" not in ending
    (kept,) = await told(spelling, chunk("a", 97), logprobs=True)
    assert kept["logprobs"]["content"][0]["id"] == 97
    (text,) = await told(spelling, b'{"choices":[{"text":"a","logprobs":{"content":[{"id":97,"token":"a"}]}}]}')
    assert text["token_ids"] == [97]
    for other in (b'{"error":{"code":500}}', b'{"choices":[],"usage":{}}'):
        assert json.loads((await spelling.tell([(0, other)], logprobs=False))[0][1]) == json.loads(other)


@given(st.text(min_size=1, max_size=8), st.text(max_size=3))
def test_the_end_of_the_tokens_writes_the_text(text: str, before: str) -> None:
    tokens = [(byte, bytes([byte])) for byte in (before + text).encode()]
    assert bytes(ending_in(tokens, text)) == text.encode()
