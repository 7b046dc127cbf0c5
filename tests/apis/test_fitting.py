"""Conversations that are too long: which turns go, and how they are counted."""

from __future__ import annotations

import pytest
from apis.kuwa_executors import Counting, Script, executor
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.apis.fitting import choose, fit, shortened
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, Message, MessagesPrompt, Role, TextPart

pytestmark = pytest.mark.anyio

ROLES: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
TOO_LONG = "[Sorry, The input message is too long!]"


def messages(words: str) -> tuple[Message, ...]:
    """`u1 a2 u3` are three turns, each of one word."""
    return tuple(Message(ROLES[word[0]], (TextPart(word),)) for word in words.split())


def words(found: tuple[Message, ...]) -> str:
    return " ".join(part.text for message in found for part in message.parts if isinstance(part, TextPart))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("u1", ["u1"]),
        ("u1 a2 u3", ["u1 a2 u3", "u3"]),
        ("s0 u1 a2 u3 a4 u5", ["s0 u1 a2 u3 a4 u5", "s0 u3 a4 u5", "s0 u5"]),
        ("a1 u2", ["a1 u2", "u2"]),
        ("s0 u1 u2 s3 u4", ["s0 u1 u2 s3 u4", "s0 u2 s3 u4", "s0 s3 u4"]),
        ("s0 u1 a2", ["s0 u1 a2"]),
        ("s0", ["s0"]),
    ],
)
def test_what_may_be_left(given: str, expected: list[str]) -> None:
    assert [words(found) for found in shortened(messages(given))] == expected


@given(st.integers(1, 300), st.integers(0, 300))
def test_the_longest_that_fits_is_found_with_few_questions(candidates: int, fits_from: int) -> None:
    choice = choose(candidates)
    asked = [next(choice)]
    try:
        while True:
            asked.append(choice.send(asked[-1] >= fits_from))
    except StopIteration as end:
        found = end.value
    assert found == (fits_from if fits_from < candidates else None)
    assert len(asked) <= 2 + candidates.bit_length()
    assert max(asked) < candidates


@pytest.mark.parametrize(
    ("limit", "expected"), [(6, "s0 u1 a2 u3 a4 u5"), (5, "s0 u3 a4 u5"), (4, "s0 u3 a4 u5"), (2, "s0 u5"), (1, None)]
)
async def test_the_backend_counts(limit: int, expected: str | None) -> None:
    request = Generate(model="m", prompt=MessagesPrompt(messages("s0 u1 a2 u3 a4 u5")))
    if expected is None:
        with pytest.raises(ServingError) as caught:
            await fit(request, Counting(), limit)
        assert caught.value.kind == "too_long"
    else:
        fitted = await fit(request, Counting(), limit)
        assert isinstance(fitted.prompt, MessagesPrompt)
        assert words(fitted.prompt.messages) == expected


@pytest.mark.parametrize("backend", [Script(), Counting(failure=ServingError("unsupported", "no such route"))])
async def test_without_counting_three_bytes_are_a_token(backend: Script) -> None:
    request = Generate(model="m", prompt=MessagesPrompt((*messages("u1 a2"), Message("user", (TextPart("世界"),)))))
    for limit, expected in ((4, "u1 a2 世界"), (3, "世界"), (2, "世界")):
        fitted = await fit(request, backend, limit)
        assert isinstance(fitted.prompt, MessagesPrompt)
        assert words(fitted.prompt.messages) == expected
    with pytest.raises(ServingError):
        await fit(request, backend, 1)


async def test_a_count_that_fails_fails_the_call() -> None:
    request = Generate(model="m", prompt=MessagesPrompt(messages("u1")))
    with pytest.raises(ServingError) as caught:
        await fit(request, Counting(failure=ServingError("unreachable", "gone")), 9)
    assert caught.value.kind == "unreachable"


async def test_through_the_api() -> None:
    backend = Counting("ok")
    async with executor(backend, input_tokens=3) as running:
        assert (await running.say("one two", "three", "four five")).text == "ok"
        assert (await running.say("one", "two", "three four five six")).text == TOO_LONG
        failed = (await running.metrics())['executor_framework_failed_total{executor_name="model"}']
    (asked,) = backend.asked
    assert isinstance(asked.prompt, MessagesPrompt)
    assert words(asked.prompt.messages) == "four five"
    assert failed == 0
