"""Prompts of FastChat's clients read as conversations, and all others left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.requests import Message, MessagesPrompt, TextPart, TextPrompt
from trunkcall.protocols.fastchat import NEUTRAL, named, parse_prompt, render

DATA = json.loads((Path(__file__).parent / "data" / "fastchat" / "prompts.json").read_text())["prompts"]

words = st.text(st.characters(exclude_characters="#|<>:", exclude_categories=("Cs",)), min_size=1).filter(
    lambda text: text.strip() == text and bool(text)
)


def turns(prompt: MessagesPrompt | TextPrompt) -> list[tuple[str, str]] | None:
    if isinstance(prompt, TextPrompt):
        return None
    return [
        (message.role, "".join(p.text for p in message.parts if isinstance(p, TextPart))) for message in prompt.messages
    ]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("named-trunkcall/short", [("user", "hi")]),
        ("named-chatml/long", [("system", "new sys"), ("user", " q1 "), ("assistant", "a1"), ("user", "q2")]),
        ("named-zero_shot/long", [("system", "new sys"), ("user", " q1 "), ("assistant", "a1"), ("user", "q2")]),
        ("named-vicuna_v1.1/long", [("system", "new sys"), ("user", " q1 "), ("assistant", "a1"), ("user", "q2")]),
        ("named-llama-3/long", None),
        ("named-raw/long", None),
        ("s1/long", None),
    ],
)
def test_reads_what_the_original_rendered(case: str, expected: Any) -> None:
    assert turns(parse_prompt(DATA[case])) == expected


def test_examples_become_earlier_turns() -> None:
    found = turns(parse_prompt(DATA["named-one_shot/short"]))
    assert found is not None
    assert [role for role, _ in found] == ["system", "user", "assistant", "user"]
    assert found[-1] == ("user", "hi")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello world",
        "### Human: hi",
        "### Human: hi\n### Assistant: and so",
        "### Human: a\n### Human: b\n### Assistant:",
        "### Assistant: a\n### Human: b",
        "ASSISTANT:",
        "say USER: and ASSISTANT: twice USER: x",
        "<|im_start|>user\nhi<|im_end|>\n",
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nso",
        "<|im_start|>user\nhi\n<|im_start|>assistant\n",
        "<|im_start|>robot\nhi<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nhi<|im_end|>\n<|im_start|>assistant\n",
        "x<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>assistant\n",
    ],
)
def test_leaves_other_texts_alone(text: str) -> None:
    assert parse_prompt(text) == TextPrompt((text,))


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=3), st.text())
def test_the_neutral_template_comes_back_exactly(system: str, before: list[tuple[str, str]], last: str) -> None:
    said = [("user", last)]
    for question, answer in before:
        said = [("user", question), ("assistant", answer), *said]
    said = [("system", system), *said] if system else said
    if any("<|im_" in text for _, text in said):
        return
    messages = tuple(Message(role, (TextPart(text),)) for role, text in said)  # pyright: ignore[reportArgumentType]
    assert parse_prompt(render(NEUTRAL, messages)) == MessagesPrompt(messages)


@given(st.sampled_from(["zero_shot", "vicuna_v1.1"]), words, words, words)
def test_marked_turns_come_back_exactly(name: str, question: str, answer: str, last: str) -> None:
    messages = (
        Message("system", (TextPart("s"),)),
        Message("user", (TextPart(question),)),
        Message("assistant", (TextPart(answer),)),
        Message("user", (TextPart(last),)),
    )
    assert parse_prompt(render(named(name), messages)) == MessagesPrompt(messages)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert isinstance(parse_prompt(text), TextPrompt | MessagesPrompt)
