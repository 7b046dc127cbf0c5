"""What is asked of the batch, and what it says: data alone, for both sides of it."""

from __future__ import annotations

from typing import Literal

import msgspec

Reason = Literal["end", "length"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How one answer's tokens are chosen; no value stands for "unset" here, 0 and 1 are what they are in the math.

    temperature 0 takes the most likely token; top_k 0 is off; repetition_penalty counts the prompt too, the other
    penalties only what was answered; logprobs: alternatives that are told per token, None for no logprobs; banned:
    tokens that never come; ending: tokens that do not come before min_tokens.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bias: dict[int, float] = {}
    banned: tuple[int, ...] = ()
    ending: tuple[int, ...] = ()
    min_tokens: int = 0
    logprobs: int | None = None

    @property
    def greedy(self) -> bool:
        """Nothing is left to chance."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def filtered(self) -> bool:
        """Some tokens are ruled out by how likely they are."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.typical_p < 1

    @property
    def penalised(self) -> bool:
        """What was said before counts."""
        return self.repetition_penalty != 1 or self.frequency_penalty != 0 or self.presence_penalty != 0


class Chosen(msgspec.Struct, frozen=True):
    """A token; its natural-log probability and the best alternatives, best first, where they were asked for.

    Probabilities are the model's own, before penalties, temperature and filters.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to one prompt; `ends` are tokens that end it, max_tokens the most that it may have."""

    prompt: tuple[int, ...]
    rules: Rules
    max_tokens: int
    ends: frozenset[int]
    seed: int | None = None


class Said(msgspec.Struct, frozen=True):
    """What a step gave for answer `index`: a token, that it is over and why, or both.

    A token that ended the answer comes with reason `end`.
    """

    index: int
    chosen: Chosen
    over: Reason | None
