"""The shipped pocket model answers simple prompts sensibly in llama.cpp."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trunkcall.pocket import gguf_path

pytest.importorskip("xllamacpp", reason="install xllamacpp to run the pocket model")

# Longer than the child may take.
pytestmark = pytest.mark.timeout(180)

_ROOT = Path(__file__).parents[2]
_STORY = r"(\w[^.]*\.\s*){3}"
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


def _ask(prompts: list[object]) -> list[str]:
    """In a child: deleting a server inside this process can hang."""
    done = subprocess.run(
        [sys.executable, "-m", "pocket.ask", str(gguf_path())],
        input=json.dumps(prompts),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=_ROOT,
    )
    answers: list[str] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    return dict(zip((prompt for prompt, _ in _EXPECTED), _ask([prompt for prompt, _ in _EXPECTED]), strict=True))


@pytest.mark.parametrize(("prompt", "pattern"), _EXPECTED)
def test_answer(answers: dict[str, str], prompt: str, pattern: str) -> None:
    assert re.search(pattern, answers[prompt].lower(), re.DOTALL), answers[prompt]


def test_it_remembers_a_name_and_continues_plain_text() -> None:
    recalled, continued = _ask([_INTRODUCTION, {"plain": "Once upon a time"}])
    assert "Clara" in recalled
    assert re.search(_STORY, continued), continued


def test_it_is_small() -> None:
    assert gguf_path().stat().st_size <= 8 * 1024 * 1024
