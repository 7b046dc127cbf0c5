"""Which tokens the text of an answer has: llama.cpp tells the last one of each piece, and its tokenizer the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

_REPLACED: Final = "\ufffd"
"""How the engine writes a token that is not whole characters."""
_MOST: Final = 4096
"""Pieces that are remembered."""

Tokenize = Callable[[str], Awaitable[Sequence[tuple[int, bytes]]]]
"""Text -> its tokens and what each of them writes."""
Detokenize = Callable[[int], Awaitable[str]]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_Object = dict[str, Any]


class Spelling:
    """Tells the tokens of answers.

    The engine gives out a piece once it has whole characters that cannot be the beginning of a stop string. Most
    pieces are one token, whose number it tells with the probabilities. A longer one has the tokens that the tokenizer
    makes of it: the same text, and but for rare cases the tokens that the model wrote.
    """

    def __init__(self, tokenize: Tokenize, detokenize: Detokenize) -> None:
        self._tokenize = tokenize
        self._detokenize = detokenize
        self._written: dict[int, str] = {}
        self._known: dict[tuple[str, int], tuple[int, ...]] = {}

    async def tell(self, batch: Iterable[tuple[int, bytes]], *, logprobs: bool) -> list[tuple[int, bytes]]:
        """The engine's chunks with `token_ids` in their choices; logprobs: the probabilities are wanted too."""
        return [(index, await self._told(chunk, logprobs)) for index, chunk in batch]

    async def _told(self, chunk: bytes, logprobs: bool) -> bytes:
        said: _Object = _decode(chunk)
        for choice in said.get("choices", ()):
            probabilities: _Object = choice.get("logprobs") or {}
            tokens: list[_Object] = probabilities.get("content") or []
            text = _text(choice)
            if tokens and text:
                choice["token_ids"] = await self._ids(text, tokens)
            if tokens and not logprobs:
                choice["logprobs"] = None
        return _encode(said)

    async def _ids(self, text: str, tokens: list[_Object]) -> tuple[int, ...]:
        last: int = tokens[-1]["id"]
        for token in tokens:
            # The token itself has the text of the whole piece, the alternatives have their own.
            for one in (*token.get("top_logprobs", ()), *token.get("top_probs", ())):
                self._written[one["id"]] = one["token"]
        found = self._known.get((text, last))
        if found is None:
            if last not in self._written:
                self._written[last] = await self._detokenize(last)
            alone = self._written[last] == text and _REPLACED not in text
            found = (last,) if alone else ending_in(await self._tokenize(text), text)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[text, last] = found
        return found


def ending_in(tokens: Sequence[tuple[int, bytes]], text: str) -> tuple[int, ...]:
    """Those at the end that write the text; some tokenizers put a space in front of whatever they are given."""
    left = len(text.encode())
    start = len(tokens)
    while start and left > 0:
        start -= 1
        left -= len(tokens[start][1])
    return tuple(token for token, _ in tokens[start:])


def _text(choice: _Object) -> str:
    """What a choice says, as answer or as thought."""
    said = choice.get("delta", choice)
    return said.get("content") or said.get("reasoning_content") or said.get("text") or ""
