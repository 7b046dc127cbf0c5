"""A conversation that is too long loses its oldest turns until it fits a model."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Counts, Generates
from trunkcall.core.requests import Count, Generate, Message, MessagesPrompt, TextPart

BYTES_PER_TOKEN: Final = 3
"""Of UTF-8, where the backend cannot count: English has four, Chinese three to six."""

_INSTRUCTIONS: Final = frozenset({"system", "developer"})


async def fit(request: Generate, backend: Generates, limit: int) -> Generate:
    """The request with as few of its oldest turns left out as make its prompt `limit` tokens or less.

    Instructions stay, and what is left begins with a turn of the user. Tokens are counted by the
    backend, as the model's own template renders the conversation; one that cannot count has them
    estimated at BYTES_PER_TOKEN.

    Raises ServingError: too_long when the last turn alone does not fit, and as the backend's count does.
    """
    prompt = request.prompt
    assert isinstance(prompt, MessagesPrompt), "only conversations have turns"
    candidates = shortened(prompt.messages)
    choice = choose(len(candidates))
    try:
        index = next(choice)
        while True:
            counted = await _count(request.model, candidates[index], backend)
            index = choice.send(counted <= limit)
    except StopIteration as end:
        chosen: int | None = end.value
    if chosen is None:
        raise ServingError("too_long", f"the last message alone is longer than {limit} tokens; shorten it")
    return msgspec.structs.replace(request, prompt=MessagesPrompt(candidates[chosen]))


def shortened(messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    """The whole conversation, then what is left of it from each later turn of the user on; longest first."""
    turns = [index for index, message in enumerate(messages) if message.role not in _INSTRUCTIONS]
    starts = [index for index in turns[1:] if messages[index].role == "user"]
    return [
        tuple(messages),
        *(tuple(m for i, m in enumerate(messages) if i >= start or m.role in _INSTRUCTIONS) for start in starts),
    ]


def choose(candidates: int) -> Generator[int, bool, int | None]:
    """Finds the first of so many ever shorter candidates that fits: yields the number of one, is sent whether it does.

    Gives its number, or None when not even the last one fits.
    """
    if (yield 0):
        return 0
    low, high = 1, candidates
    while low < high:
        middle = (low + high) // 2
        if (yield middle):
            high = middle
        else:
            low = middle + 1
    return low if low < candidates else None


async def _count(model: str, messages: tuple[Message, ...], backend: Generates) -> int:
    if isinstance(backend, Counts):
        try:
            return (await backend.count(Count(model=model, prompt=MessagesPrompt(messages)))).count
        except ServingError as error:
            if error.kind != "unsupported":
                raise
    texts = (part.text for message in messages for part in message.parts if isinstance(part, TextPart))
    return -(-sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN)
