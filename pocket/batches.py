"""Rows of tokens for training, packed from the corpus, with a weight for every token to be predicted."""

from collections.abc import Iterator
from itertools import islice

import torch
from tokenizers import Tokenizer

from pocket.corpus import Document, documents
from pocket.text import END_OF_TEXT, TURN_END, TURN_START, number_of

Batch = tuple[torch.Tensor, torch.Tensor]
# A story has ten times the tokens of an answer; without this cap stories would be most of the loss.
_FULL_WEIGHT_TOKENS = 50


def encode(tokenizer: Tokenizer, document: Document) -> tuple[list[int], list[float]]:
    """Token ids, and for each the weight of predicting it: answers count, questions do not."""
    end, start, stop = (number_of(tokenizer, token) for token in (END_OF_TEXT, TURN_START, TURN_END))
    if not document.messages:
        ids = [*tokenizer.encode(document.plain).ids, end]
        return ids, [_FULL_WEIGHT_TOKENS / max(len(ids), _FULL_WEIGHT_TOKENS)] * len(ids)
    newline: list[int] = tokenizer.encode("\n").ids
    ids = []
    weights: list[float] = []
    for message in document.messages:
        head = [start, *tokenizer.encode(message.role + "\n").ids]
        body = [*tokenizer.encode(message.text).ids, stop]
        weight = min(1.0, _FULL_WEIGHT_TOKENS / len(body)) if message.role == "assistant" else 0.0
        ids += head + body + newline
        weights += [0.0] * len(head) + [weight] * len(body) + [0.0] * len(newline)
    return [*ids, end], [*weights, 0.0]


def rows(
    tokenizer: Tokenizer, seed: int, length: int, turns: int | None = None
) -> Iterator[tuple[list[int], list[float]]]:
    """Each row begins with a fresh document, as a prompt does; the last document of a row is cut."""
    ids: list[int] = []
    weights: list[float] = []
    for document in documents(seed, turns):
        more, their_weights = encode(tokenizer, document)
        ids, weights = ids + more, weights + their_weights
        if len(ids) > length:
            yield ids[: length + 1], weights[: length + 1]
            ids, weights = [], []


def batches(tokenizer: Tokenizer, seed: int, length: int, count: int, turns: int | None = None) -> Iterator[Batch]:
    source = rows(tokenizer, seed, length, turns)
    while True:
        chosen = list(islice(source, count))
        yield torch.tensor([ids for ids, _ in chosen]), torch.tensor([weights for _, weights in chosen])
