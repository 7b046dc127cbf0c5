"""Prompts are shortened as late as possible, and answers get the room that is left."""

from __future__ import annotations

from typing import Any

import pytest
from apis.fastchat_workers import Wordy
from apis.kuwa_executors import Script

from trunkcall.apis.fastchat_fitting import Fitting
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    Embed,
    Generate,
    Message,
    MessagesPrompt,
    Sampling,
    TextPart,
    TextPrompt,
    TokenPrompt,
)

pytestmark = pytest.mark.anyio


def conversation(*words: int) -> MessagesPrompt:
    """A system message of one word, then turns of so many words each."""
    roles = ("user", "assistant")
    turns = [Message(roles[at % 2], (TextPart("w " * size),)) for at, size in enumerate(words)]  # type: ignore[arg-type]
    return MessagesPrompt((Message("system", (TextPart("w"),)), *turns))


def text(words: int) -> TextPrompt:
    return TextPrompt(("w " * words,))


def words_in(prompt: Any) -> list[int]:
    if isinstance(prompt, TokenPrompt):
        return [len(ids) for ids in prompt.prompts]
    if isinstance(prompt, TextPrompt):
        return [len(one.split()) for one in prompt.texts]
    return [len(message.parts[0].text.split()) for message in prompt.messages]


@pytest.mark.parametrize(
    ("prompt", "wanted", "left", "tokens", "cut"),
    [
        # The context is of 400.
        (text(3), 256, [3], 256, False),
        (text(200), 256, [200], 200, False),
        (text(300), 256, [300], 100, False),
        (text(301), 256, [300], 100, True),
        (text(301), 50, [301], 50, False),
        (text(1000), 1, [399], 1, True),
        (text(1000), 10**9, [300], 100, True),
        (conversation(100, 50, 100), 256, [1, 100, 50, 100], 149, False),
        (conversation(200, 50, 100), 256, [1, 100], 256, True),
        (conversation(100, 50, 100, 50, 100), 256, [1, 100, 50, 100], 149, True),
    ],
)
async def test_fit(prompt: Any, wanted: int, left: list[int], tokens: int, cut: bool) -> None:
    shortened: list[bool] = []
    request = Generate(model="m", prompt=prompt, sampling=Sampling(max_tokens=wanted, temperature=0.5))
    fitted = await Fitting().fit(request, Wordy(context=400), lambda: shortened.append(True))
    assert words_in(fitted.prompt) == left
    assert fitted.sampling == Sampling(max_tokens=tokens, temperature=0.5)
    assert bool(shortened) == cut


async def test_a_last_turn_that_is_too_long_is_refused() -> None:
    request = Generate(model="m", prompt=conversation(10, 10, 500), sampling=Sampling(max_tokens=5))
    with pytest.raises(ServingError, match="last message alone") as caught:
        await Fitting().fit(request, Wordy(context=400), lambda: None)
    assert caught.value.kind == "too_long"


@pytest.mark.parametrize("backend", [Script(), Wordy(context=None), Wordy(context=10, ids=False)])
async def test_what_cannot_be_counted_or_cut_stays(backend: Any) -> None:
    request = Generate(model="m", prompt=text(100), sampling=Sampling(max_tokens=5))
    assert await Fitting().fit(request, backend, lambda: None) is request


@pytest.mark.parametrize(
    ("words", "left"),
    [((3, 5), None), ((400,), None), ((401,), [400]), ((3, 1000, 400), [3, 400, 400])],
)
async def test_texts_to_embed_are_ended_at_the_context(words: tuple[int, ...], left: list[int] | None) -> None:
    backend, fitting, shortened = Wordy(context=400), Fitting(), list[bool]()
    request = Embed(model="m", inputs=tuple("w " * size for size in words))
    for _ in range(2):
        found = await fitting.cut(request, backend, lambda: shortened.append(True))
        assert found is request if left is None else [len(ids) for ids in found.inputs] == left
    assert len(shortened) == (0 if left is None else 2)
    # Known to fit after the first time.
    assert len(backend.counted) == (2 if max(words) < 100 else 2 * len(words))


@pytest.mark.parametrize("backend", [Script(), Wordy(context=None), Wordy(context=10, ids=False)])
async def test_texts_that_cannot_be_counted_or_cut_stay(backend: Any) -> None:
    request = Embed(model="m", inputs=("w " * 100,))
    assert await Fitting().cut(request, backend, lambda: None) is request


async def test_what_surely_fits_is_not_counted() -> None:
    backend, fitting = Wordy(context=4000), Fitting()
    for prompt in (text(9), text(9), conversation(9), conversation(9)):
        request = Generate(model="m", prompt=prompt, sampling=Sampling(max_tokens=5))
        assert (await fitting.fit(request, backend, lambda: None)).prompt is prompt
    assert len(backend.counted) == 1
    # A replica that was started anew may hold less.
    await fitting.fit(request, Wordy(context=4000), lambda: None)
    assert len(backend.counted) == 1
