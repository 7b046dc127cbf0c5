"""How likely each token of a prompt is, which llama.cpp tells only of tokens that it chooses itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from trunkcall.core.events import UNLIKELY
from trunkcall.workers.spelling import Spelling, Written, named

_CERTAIN: Final = 1e6
"""Added to a token's logit so that it is chosen; told are the probabilities before that."""

_MANY: Final = 4096
"""Alternatives among which part of a character is looked for; what is not there is too unlikely to tell."""

_Object = dict[str, Any]

Complete = Callable[[bytes], Awaitable[bytes]]
"""The engine's own /completion."""


class _Answer(msgspec.Struct):
    completion_probabilities: list[_Object] = []


_answer = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode


async def score(
    complete: Complete, spelling: Spelling, tokens: Sequence[tuple[int, bytes]], tops: int
) -> list[_Object]:
    """The tokens of a prompt as those of an answer are told; nothing precedes the first, so it has no probability.

    tokens: with what each writes; tops: alternatives per token. Each token but the first is one short question, whose
    prompt is still in the cache.

    Raises ServingError as the engine does.
    """
    made: list[_Object] = []
    ids = [id for id, _ in tokens]
    whole = next((id for id, raw in tokens if _is_whole(raw)), None)
    for place, (id, raw) in enumerate(tokens):
        told: _Object = {}
        if place and _is_whole(raw):
            told = await _ask(complete, ids[:place], id, max(1, tops))
        elif place and whole is not None:
            # Part of a character is never told as chosen, but as an alternative to another token.
            told = await _ask(complete, ids[:place], whole, max(_MANY, tops))
            told["logprob"] = next((one["logprob"] for one in told["top_logprobs"] if one["id"] == id), UNLIKELY)
        alternatives: list[_Object] = []
        for one in told.get("top_logprobs", ())[:tops]:
            spelling.learn(one)
            alternatives.append(one if one["bytes"] else {**one, **named(one["id"], await spelling.written(one["id"]))})
        written = await spelling.written(id)
        entry = named(id, written if written.special else Written(raw.decode(errors="replace"), raw))
        entry["logprob"] = told.get("logprob", UNLIKELY) if place else None
        entry["top_logprobs"] = alternatives
        made.append(entry)
    return made


def _is_whole(raw: bytes) -> bool:
    """Whether a token writes whole characters, or nothing, as marks do."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _ask(complete: Complete, before: Sequence[int], id: int, tops: int) -> _Object:
    """What the engine tells of a token that it is made to choose."""
    question = {"prompt": before, "n_predict": 1, "n_probs": tops, "logit_bias": [[id, _CERTAIN]], "temperature": 0}
    told = _answer.decode(await complete(_encode(question))).completion_probabilities
    return told[-1] if told else {"top_logprobs": []}
