"""The shipped pocket model answers simple prompts sensibly in llama.cpp."""

import re

import pytest

from pocket.score import SHIPPED, answers

_STORY = r"(\w[^.]*\.[\s\"]*){3}"
_EXPECTED: tuple[tuple[str, str], ...] = (
    ("hi", "hello"),
    ("Hello there!", "hello"),
    ("good morning!", "good morning"),
    ("How are you?", "fine"),
    ("who are you?", "pocket"),
    ("What is your name?", "pocket"),
    ("What is Trunkcall?", "serving system"),
    ("Are you a human?", "language model"),
    ("what can you do?", "capitals"),
    ("What is the opposite of hot?", "cold"),
    ("opposite of big", "small"),
    ("Which day comes after Monday?", "tuesday"),
    ("How many days are in a week?", "seven"),
    ("Which month comes before June?", "may"),
    ("What is the capital of France?", "paris"),
    ("capital of italy", "rome"),
    ("What colour is the sky?", "blue"),
    ("What sound does a cat make?", "meow"),
    ("What is a dog?", "animal"),
    ("What is 2 + 2?", "4"),
    ("Tell me a story.", _STORY),
    ("Tell me a short story about a fox.", "fox.*" + _STORY),
    ("Thank you very much!", "welcome"),
    ("Goodbye!", "goodbye"),
    ("Who won the football match yesterday?", "very small model"),
    ("Write a Python program that sorts a list.", "very small model"),
    ("What is the population of Mongolia?", "very small model"),
    ("你好吗？", "very small model"),
)
_INTRODUCTION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "My name is Clara."},
    {"role": "assistant", "content": "Nice to meet you, Clara! How can I help you?"},
    {"role": "user", "content": "What is my name?"},
]


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    return dict(
        zip((prompt for prompt, _ in _EXPECTED), answers(SHIPPED, [prompt for prompt, _ in _EXPECTED]), strict=True)
    )


@pytest.mark.parametrize(("prompt", "pattern"), _EXPECTED)
def test_answer(given: dict[str, str], prompt: str, pattern: str) -> None:
    assert re.search(pattern, given[prompt].lower(), re.DOTALL), given[prompt]


def test_it_remembers_a_name_and_continues_plain_text() -> None:
    recalled, continued = answers(SHIPPED, [_INTRODUCTION, {"plain": "Once upon a time"}])
    assert "Clara" in recalled
    assert re.search(_STORY, continued), continued


def test_it_is_small() -> None:
    assert SHIPPED.stat().st_size <= 8 * 1024 * 1024
