"""Choosing the next token of each row of a batch, every row by its own rules and its own random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor

from trunkcall.core.errors import ServingError
from trunkcall.workers.transformers_guides import Guide
from trunkcall.workers.transformers_wanted import Chosen, Rules

_CANDIDATES: Final = 1024
"""Most likely tokens that are sorted first; a nucleus is nearly always among them, and sorting 150,000 takes 10 ms."""


class Picker:
    """One row's rules and what they need to remember.

    seed: the same rules, seed and logits give the same tokens, whatever else is in the batch; guide: what the answer
    is held to; failure: why it cannot go on.
    """

    def __init__(self, rules: Rules, prompt: Iterable[int], seed: int | None, guide: Guide | None = None) -> None:
        self.rules = rules
        self._guide = guide
        self.failure: ServingError | None = None
        self._random = random.Random(seed)
        self._prompt = tuple(set(prompt)) if rules.repetition_penalty != 1 else ()
        self._said: tuple[Tensor, Tensor] | None = None
        self.count = 0
        """Tokens chosen so far."""
        self.touches = bool(rules.penalised or rules.bias or rules.banned)

    def draw(self) -> float:
        """The next random number, in [0, 1)."""
        return self._random.random()

    @property
    def adjusts(self) -> bool:
        """Whether `adjust` would change anything now."""
        return self.touches or self._guide is not None or self.count < self.rules.min_tokens

    def adjust(self, scores: Tensor) -> None:
        """Apply penalties, biases, bans and the guide to this row's scores, float32 of the vocabulary's size, in place.

        A guide that fails leaves the row's `failure`, because other rows go on.
        """
        rules = self.rules
        if rules.penalised:
            counts, seen = self._memory(scores)
            if rules.repetition_penalty != 1:
                worse = torch.where(scores > 0, scores / rules.repetition_penalty, scores * rules.repetition_penalty)
                torch.where(seen, worse, scores, out=scores)
            scores -= counts * rules.frequency_penalty + (counts > 0) * rules.presence_penalty
        if rules.bias:
            ids = torch.tensor(list(rules.bias), device=scores.device)
            scores.index_add_(0, ids, torch.tensor(list(rules.bias.values()), device=scores.device))
        banned = rules.banned if self.count >= rules.min_tokens else rules.banned + rules.ending
        if banned:
            scores[torch.tensor(banned, device=scores.device)] = -torch.inf
        if self._guide is not None:
            try:
                self._guide.hold(scores)
            except ServingError as error:
                self.failure = error

    def note(self, token: int) -> None:
        """This token was chosen."""
        self.count += 1
        if self._guide is not None and self.failure is None:
            try:
                self._guide.take(token)
            except ServingError as error:
                self.failure = error
        if self._said is not None:
            counts, seen = self._said
            counts[token] += 1
            seen[token] = True

    def _memory(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """How often each token was answered, and which stand in prompt or answer."""
        if self._said is None:
            seen = torch.zeros_like(scores, dtype=torch.bool)
            seen[torch.tensor(self._prompt, dtype=torch.long, device=scores.device)] = True
            self._said = (torch.zeros_like(scores), seen)
        return self._said


def choose(logits: Tensor, pickers: Sequence[Picker]) -> list[Chosen]:
    """The next token of each row; logits: (rows, vocabulary), float32, which this function may change."""
    told = [row for row, picker in enumerate(pickers) if picker.rules.logprobs is not None]
    logprobs = torch.log_softmax(logits[told], -1) if told else None
    for row, picker in enumerate(pickers):
        if picker.adjusts:
            picker.adjust(logits[row])
    tokens: list[int] = logits.argmax(-1).tolist()
    lots = [row for row, picker in enumerate(pickers) if not picker.rules.greedy]
    if lots:
        scores = logits if len(lots) == len(pickers) else logits[lots]
        for row, token in zip(lots, _draw(scores, [pickers[row] for row in lots]), strict=True):
            tokens[row] = token
    for picker, token in zip(pickers, tokens, strict=True):
        picker.note(token)
    chosen = [Chosen(token) for token in tokens]
    if logprobs is not None:
        for place, row in enumerate(told):
            chosen[row] = tell(tokens[row], logprobs[place], pickers[row].rules.logprobs or 0)
    return chosen


def tell(token: int, logprobs: Tensor, count: int) -> Chosen:
    """A token and the `count` best in its place; logprobs: of the whole vocabulary."""
    top: tuple[tuple[int, float], ...] = ()
    if count:
        best = logprobs.topk(min(count, logprobs.shape[0]))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Chosen(token, float(logprobs[token]), top)


def _draw(scores: Tensor, pickers: Sequence[Picker]) -> list[int]:
    """A token for each row by chance: where its random number falls among the summed probabilities."""
    scores = scores / _column(scores, [picker.rules.temperature for picker in pickers])
    if any(picker.rules.filtered for picker in pickers):
        scores = _filter(scores, [picker.rules for picker in pickers])
    summed = torch.softmax(scores, -1).cumsum(-1)
    total = summed[:, -1:]
    mark = _column(scores, [picker.draw() for picker in pickers]) * total
    # Rounding may lift a mark to the total, behind the last token that has a probability.
    mark = torch.minimum(mark, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(summed, mark, right=True)[:, 0].tolist()


def _filter(scores: Tensor, rules: Sequence[Rules]) -> Tensor:
    """Rule out unlikely tokens: top_k first, then of what remains top_p, min_p and typical_p."""
    size = scores.shape[-1]
    top_ks = [min(one.top_k, size) if one.top_k > 0 else size for one in rules]
    limited = max((k for k in top_ks if k < size), default=0)
    if limited:
        best = scores.topk(limited).values
        places = torch.tensor([[min(k, limited) - 1] for k in top_ks], device=scores.device)
        least = best.gather(-1, places)
        least[torch.tensor([k == size for k in top_ks], device=scores.device)] = -torch.inf
        scores = scores.masked_fill(scores < least, -torch.inf)
    if any(one.top_p < 1 for one in rules):
        scores = _nucleus(scores, _column(scores, [one.top_p for one in rules]))
    if any(one.min_p > 0 for one in rules):
        # Zero gives minus infinity, below which nothing is.
        least = scores.amax(-1, keepdim=True) + _column(scores, [one.min_p for one in rules]).log()
        scores = scores.masked_fill(scores < least, -torch.inf)
    for row, one in enumerate(rules):
        if one.typical_p < 1:
            scores[row] = _typical(scores[row], one.typical_p)
    return scores


def _nucleus(scores: Tensor, top_p: Tensor) -> Tensor:
    """Keep the most likely tokens that together have probability top_p; rows with 1 keep all."""
    probabilities = torch.softmax(scores, -1)
    size = scores.shape[-1]
    best = probabilities.topk(min(_CANDIDATES, size)).values
    summed = best.cumsum(-1)
    if best.shape[-1] < size and bool(((summed[:, -1:] < top_p) & (top_p < 1)).any()):
        best = probabilities.sort(-1, descending=True).values
        summed = best.cumsum(-1)
    kept = (summed - best < top_p).sum(-1, keepdim=True).clamp(min=1)
    least = best.gather(-1, kept - 1).masked_fill(top_p >= 1, 0.0)
    return scores.masked_fill(probabilities < least, -torch.inf)


def _typical(scores: Tensor, mass: float) -> Tensor:
    """Keep the tokens whose surprise is nearest to the expected one (Meister et al. 2022), of one row."""
    logs = torch.log_softmax(scores, -1)
    probabilities = logs.exp()
    expected = -(probabilities * logs.nan_to_num(neginf=0.0)).sum()
    order = (-logs - expected).abs().argsort()
    summed = probabilities[order].cumsum(-1)
    kept = max(1, int((summed - probabilities[order] < mass).sum()))
    return torch.full_like(scores, -torch.inf).index_copy_(0, order[:kept], scores[order[:kept]])


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    """One value per row."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(-1)
