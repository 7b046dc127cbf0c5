"""Holding answers to a grammar: llguidance says at each step which tokens may come next."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, Final

import llguidance
import torch
from torch import Tensor

from trunkcall.core.errors import ServingError
from trunkcall.workers.transformers_shapes import Shape
from trunkcall.workers.transformers_tools import CLOSE, OPEN

_LIMITS: Final = llguidance.LLParserLimits(verbose_errors=False)
"""Its defaults bound the work of a step to some 20 ms; errors are shown to callers, so without its inner state."""


class Guide:
    """One answer's place in its grammar; only one thread may use it."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    def copy(self) -> Guide:
        """Another answer at the same place."""
        return Guide(self._matcher.deep_copy())

    def hold(self, scores: Tensor) -> None:
        """Rule out all tokens that cannot come next, in place; scores: float32 of the vocabulary's size.

        The grammar wins over bans and biases that leave nothing of what it allows.

        Raises ServingError (unsupported) when the grammar takes too much work.
        """
        mask = bytearray(self._matcher.compute_bitmask())
        self._check()
        bits = torch.frombuffer(mask, dtype=torch.uint8).to(scores.device)
        places = torch.arange(8, dtype=torch.uint8, device=scores.device)
        allowed = (bits[:, None] >> places & 1).bool().flatten()[: scores.shape[0]]
        scores.masked_fill_(~allowed, -torch.inf)
        if scores.max() == -torch.inf:
            scores.masked_fill_(allowed, 0.0)

    def take(self, token: int) -> None:
        """This token was chosen. Raises ServingError (unsupported) when the grammar takes too much work."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ServingError(
                "unsupported",
                "the shape that the answer must have takes too much work; ask for a simpler one",
                detail=self._matcher.get_error(),
            )


class Guides:
    """Makes the guides of one model; may be called from any thread.

    fast: the tokenizer as tokenizers has it, None for one that only transformers can run; size: tokens that the model
    has a row for; ends: tokens that end an answer.
    """

    def __init__(self, fast: Any, size: int, ends: Sequence[int]) -> None:
        self._fast = fast
        self._size = size
        self._ends = list(ends)
        self._lock = threading.Lock()
        self._tokenizer: llguidance.LLTokenizer | None = None

    def make(self, shape: Shape, answers: int) -> list[Guide]:
        """A guide for each of so many answers.

        Raises ServingError: bad_request for a shape that cannot be read or has parts that nobody could hold an answer
        to, unsupported for a model that cannot be held to any.
        """
        tokenizer = self._words(shape.param)
        grammar = shape.lark + (_marks(tokenizer) if shape.calls else "")
        matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            reason = matcher.get_error().rpartition("failed to compile JSON schema: ")[2].partition("\n")[0]
            raise ServingError(
                "bad_request", f"{shape.param}: an answer cannot be held to it: {reason}", param=shape.param
            )
        guide = Guide(matcher)
        return [guide, *(guide.copy() for _ in range(answers - 1))]

    def _words(self, param: str) -> llguidance.LLTokenizer:
        """The tokenizer for llguidance; made once, which takes a second for a large one."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._made(param)
            return self._tokenizer

    def _made(self, param: str) -> llguidance.LLTokenizer:
        reason = ""
        if self._fast is None:
            reason = "its tokenizer is not one of the tokenizers library"
        elif not self._ends:
            reason = "it has no token that ends an answer"
        else:
            size = max(self._size, self._fast.get_vocab_size(with_added_tokens=True))
            try:
                return llguidance.LLTokenizer(self._fast.to_str(), n_vocab=size, eos_token=self._ends)
            except ValueError as error:
                reason = str(error)
        raise ServingError(
            "unsupported", f"{param}: this model cannot be held to a shape: {reason}; leave it out", param=param
        )


def _marks(tokenizer: llguidance.LLTokenizer) -> str:
    """The rules of the marks around a call, each its own token where the model has one."""
    opening, closing = _mark(tokenizer, OPEN), _mark(tokenizer, CLOSE)
    if opening.startswith("<"):
        before = f"before: TEXT {opening}"
    else:
        before = f"before[lazy]: TEXT {opening}"
    return f"open: {opening}\nclose: {closing}\n{before}\nTEXT: /(.|\\n)*/\n"


def _mark(tokenizer: llguidance.LLTokenizer, text: str) -> str:
    ids = tokenizer.tokenize_str(text, parse_special=True)
    own = len(ids) == 1 and tokenizer.is_special_token(ids[0])
    return f"<[{ids[0]}]>" if own else json.dumps(text)
