"""Which tokens the text of an answer has: what llama.cpp tells of them, completed by its tokenizer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from trunkcall.core.events import UNLIKELY

_REPLACED: Final = "\ufffd"
"""How the engine writes a token that is not whole characters."""
_MOST: Final = 4096
"""Pieces of text that are remembered."""

Tokenize = Callable[[str, bool], Awaitable[Sequence[tuple[int, bytes]]]]
"""Text, and whether marks such as `<|im_end|>` in it are meant -> its tokens and what each of them writes."""
Detokenize = Callable[[int], Awaitable[str]]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_Object = dict[str, Any]


class Written(msgspec.Struct, frozen=True):
    """A token of the vocabulary: its text, its bytes (None for a part of a character), whether it is a mark."""

    text: str
    raw: bytes | None
    special: bool = False


class Spelt(msgspec.Struct, frozen=True):
    """A token of an answer; told: what the engine said of it, None where it kept it to itself."""

    id: int
    written: Written
    told: _Object | None = None


class Spelling:
    """What is known of a model's vocabulary."""

    def __init__(self, tokenize: Tokenize, detokenize: Detokenize) -> None:
        self._tokenize = tokenize
        self._detokenize = detokenize
        self._written: dict[int, Written] = {}
        self._spelled: dict[str, Sequence[tuple[int, bytes]]] = {}

    async def written(self, token: int) -> Written:
        """A token's text and bytes."""
        found = self._written.get(token)
        if found is None:
            text = await self._detokenize(token)
            if _REPLACED in text:
                found = Written(text, None)
            else:
                found = Written(text, text.encode(), await self._is_special(token, text))
            self._written[token] = found
        return found

    def learn(self, alternative: _Object) -> None:
        """Take in what the engine says of an alternative, whose bytes are its own; it writes nothing of a mark."""
        raw = bytes(alternative.get("bytes") or ())
        if raw and alternative["id"] not in self._written:
            self._written[alternative["id"]] = Written(alternative["token"], raw)

    async def tokens(self, text: str) -> Sequence[tuple[int, bytes]]:
        """What the tokenizer makes of a text in the middle of others."""
        found = self._spelled.get(text)
        if found is None:
            found = ending_in(await self._tokenize(text, True), text)
            if len(self._spelled) >= _MOST:
                self._spelled.clear()
            self._spelled[text] = found
        return found

    async def _is_special(self, token: int, text: str) -> bool:
        if not text:
            return True
        meant = await self._tokenize(text, True)
        if [id for id, _ in meant] != [token]:
            return False
        return [id for id, _ in await self._tokenize(text, False)] != [token]


class _Answer:
    """What of one answer is still to be told."""

    __slots__ = ("ahead", "held", "matched")

    def __init__(self) -> None:
        self.ahead = ""
        """Text that was given out before the engine did, which holds back what may become a stop string."""
        self.held: list[_Object] = []
        """Tokens whose text is not known yet."""
        self.matched: str | None = None


class Speller:
    """Tells the tokens of one request's answers.

    The engine names each token that ends a character, also while it holds its text back for a stop string; of a
    character in several tokens it names the last one only, and in chats only the last one of a piece. The others are
    those that the tokenizer makes of the same text, which but for rare cases are what the model wrote; their
    probabilities nobody knows.

    stops: of the request; include: they stay in the text, which then goes out at once; logprobs: alternatives that
    are told per token, None for no probabilities; ids: whether ids are told.
    """

    def __init__(
        self, spelling: Spelling, *, stops: Sequence[str], include: bool, logprobs: int | None, ids: bool
    ) -> None:
        self._spelling = spelling
        self._stops = [stop for stop in stops if stop]
        self._include = include
        self._logprobs = logprobs
        self._ids = ids
        self._answers: dict[int, _Answer] = {}

    async def tell(self, batch: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The engine's chunks with `token_ids`, `logprobs.content` and `stop_reason` in their choices."""
        return [(index, await self._told(index, chunk)) for index, chunk in batch]

    async def _told(self, index: int, chunk: bytes) -> bytes:
        said: _Object = _decode(chunk)
        answer = self._answers.get(index)
        if answer is None:
            answer = self._answers[index] = _Answer()
        for choice in said.get("choices", ()):
            await self._complete(answer, choice)
        return _encode(said)

    async def _complete(self, answer: _Answer, choice: _Object) -> None:
        place, field = _text_of(choice)
        text: str = place.get(field) or ""
        probabilities: _Object = choice.get("logprobs") or {}
        for token in probabilities.get("content") or ():
            for one in (*token.get("top_logprobs", ()), *token.get("top_probs", ())):
                self._spelling.learn(one)
            answer.held.append(token)
        finish: str | None = choice.get("finish_reason")
        shown, tokens = await self._resolve(answer, text, finish)
        if shown or text:
            place[field] = shown
        if finish is not None and answer.matched is not None:
            choice["stop_reason"] = answer.matched
        choice["logprobs"] = None
        if not tokens:
            return
        if self._ids:
            choice["token_ids"] = [token.id for token in tokens]
        if self._logprobs is not None:
            choice["logprobs"] = {"content": [await self._entry(token) for token in tokens]}

    async def _resolve(self, answer: _Answer, text: str, finish: str | None) -> tuple[str, list[Spelt]]:
        """The text to give out, and its tokens; text: what the engine gives out."""
        if not answer.held and not answer.ahead:
            return text, []
        if text and len(answer.held) == 1 and not answer.ahead:
            # Nearly always: one token, which writes what is given out.
            token = Spelt(answer.held[0]["id"], await self._spelling.written(answer.held[0]["id"]), answer.held[0])
            if token.written.text == text and token.written.raw is not None:
                answer.held.clear()
                return text, [token]
        spelt = [Spelt(one["id"], await self._spelling.written(one["id"]), one) for one in answer.held]
        own = _joined(spelt)
        known = None if own is None else answer.ahead + own
        if text:
            return await self._given(answer, text, known, spelt)
        if known is not None and known and self._include:
            stop = self._begins(known, 0)
            if stop is not None:
                return self._cut(answer, "", stop), spelt
        if finish is None:
            if own is None or known is None or (own and not self._include):
                return "", []
            answer.ahead = known
            answer.held.clear()
            return own, spelt
        return await self._rest(answer, known, spelt, stopped=finish == "stop")

    async def _given(
        self, answer: _Answer, text: str, known: str | None, spelt: list[Spelt]
    ) -> tuple[str, list[Spelt]]:
        """The engine gives out a text, which is all that was held back or what of it stands before a stop string."""
        stop = None
        if known is not None and known != text and known.startswith(text):
            stop = self._begins(known, len(text))
        if stop is not None:
            return self._cut(answer, text, stop), spelt
        shown = text[len(answer.ahead) :]
        if known != text:
            spelt = aligned(await self._spelling.tokens(shown), spelt) or spelt
        answer.ahead = ""
        answer.held.clear()
        return shown, spelt

    async def _rest(
        self, answer: _Answer, known: str | None, spelt: list[Spelt], *, stopped: bool
    ) -> tuple[str, list[Spelt]]:
        """The answer is over with something held back: a stop string, or what the engine forgets at the limit."""
        stop = None
        if stopped and known is not None:
            stop = self._begins(known, 0)
        elif stopped:
            for one in self._stops:
                found = aligned(await self._spelling.tokens(one[len(answer.ahead) :]), spelt, strictly=True)
                if one.startswith(answer.ahead) and found:
                    stop, spelt = one, found
                    break
        if stop is not None:
            return self._cut(answer, "", stop), spelt
        shown = b"".join(token.written.raw or b"" for token in spelt if not token.written.special)
        answer.ahead = ""
        answer.held.clear()
        return shown.decode(errors="ignore"), spelt

    def _begins(self, text: str, place: int) -> str | None:
        return next((stop for stop in self._stops if text.startswith(stop, place)), None)

    def _cut(self, answer: _Answer, before: str, stop: str) -> str:
        """What is given out of a text that ended at a stop string."""
        shown = (before + stop)[len(answer.ahead) :] if self._include else before
        answer.matched = stop
        answer.ahead = ""
        answer.held.clear()
        return shown

    async def _entry(self, token: Spelt) -> _Object:
        told = token.told or {}
        made = named(token.id, token.written)
        made["logprob"] = told.get("logprob", UNLIKELY)
        tops: list[_Object] = []
        for one in told.get("top_logprobs", ())[: self._logprobs]:
            if not one.get("bytes"):
                one = {**one, **named(one["id"], await self._spelling.written(one["id"]))}
            tops.append(one)
        made["top_logprobs"] = tops
        return made


def ending_in(tokens: Sequence[tuple[int, bytes]], text: str) -> tuple[tuple[int, bytes], ...]:
    """Those at the end that write the text; some tokenizers put a space in front of whatever they are given."""
    left = len(text.encode())
    start = len(tokens)
    while start and left > 0:
        start -= 1
        left -= len(tokens[start][1])
    return tuple(tokens[start:])


def aligned(tokens: Sequence[tuple[int, bytes]], spelt: Sequence[Spelt], *, strictly: bool = False) -> list[Spelt]:
    """The tokens of a text with what the engine told of some of them; those that write nothing come last.

    Where they do not agree the tokenizer is believed, because its tokens write the text; strictly: nothing then.
    """
    told = [token for token in spelt if not token.written.special]
    made: list[Spelt] = []
    for id, raw in tokens:
        match = told.pop(0) if told and told[0].id == id else None
        made.append(Spelt(id, Written(raw.decode(errors="replace"), raw), match.told if match else None))
    if told and strictly:
        return []
    return [*made, *(token for token in spelt if token.written.special)]


def _joined(spelt: Iterable[Spelt]) -> str | None:
    """The text of tokens that have whole characters; None for others."""
    raws = [token.written.raw for token in spelt if not token.written.special]
    whole = [raw for raw in raws if raw is not None]
    if len(whole) != len(raws):
        return None
    try:
        return b"".join(whole).decode()
    except UnicodeDecodeError:
        return None


def named(id: int, written: Written) -> _Object:
    """A token as it is told, without its probability."""
    raw = written.text.encode() if written.raw is None else written.raw
    made: _Object = {"id": id, "token": written.text, "bytes": list(raw)}
    if written.special:
        made["special"] = True
    return made


def _text_of(choice: _Object) -> tuple[_Object, str]:
    """Where a choice says something, as answer or as thought."""
    said: _Object = choice.get("delta", choice)
    for field in ("content", "reasoning_content"):
        if said.get(field):
            return said, field
    return said, "content" if "delta" in choice else "text"
