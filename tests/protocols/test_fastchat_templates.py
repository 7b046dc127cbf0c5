"""FastChat's conversation templates against what the real 0.2.36 made of the same ones, and its editions' integers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import AudioPart, ImagePart, Message, TextPart
from trunkcall.protocols.fastchat import NAMES, NEUTRAL, ConvTemplate, emit_template, named, read_template, render

DATA = json.loads((Path(__file__).parent / "data" / "fastchat" / "prompts.json").read_text())
"""Rendered by the real OpenAI server for a stand-in worker that told it these templates."""

CONVERSATIONS: dict[str, tuple[tuple[Any, str], ...]] = {
    "short": (("user", "hi"),),
    "long": (("system", "new sys"), ("user", " q1 "), ("assistant", "a1"), ("user", "q2")),
}
CASES = sorted(case for case in DATA["prompts"] if "s19" not in case and case != "named-gemma/long")
"""Without a style that is not rendered here, and a template in which the original loses the instructions."""

CHATML = {
    "name": "x",
    "system_template": "<|im_start|>system\n{system_message}",
    "system_message": "s",
    "roles": ["<|im_start|>user", "<|im_start|>assistant"],
    "sep": "<|im_end|>",
}
PLAIN = {"name": "x", "system_template": "{system_message}", "system_message": "s", "roles": ["U", "A"], "sep": "|"}


def conversation(turns: tuple[tuple[Any, str], ...]) -> tuple[Message, ...]:
    return tuple(Message(role, (TextPart(text),)) for role, text in turns)


def told(fields: dict[str, Any]) -> ConvTemplate:
    return read_template(json.dumps({"conv": fields}).encode())


@pytest.mark.parametrize("case", CASES)
def test_renders_as_the_original(case: str) -> None:
    name, turns = case.split("/")
    template = named(name[6:]) if name.startswith("named-") else told(DATA["templates"][name])
    assert render(template, conversation(CONVERSATIONS[turns])) == DATA["prompts"][case]


@pytest.mark.parametrize(
    ("fields", "number", "style"),
    [
        *((PLAIN, number, None) for number in (0, 19, 22, 99, -1)),
        (PLAIN, 7, "llama2"),
        (CHATML, 9, "chatml"),
        (CHATML, 10, "chatml"),
        ({**PLAIN, "system_template": "<|start_header_id|>system{system_message}"}, 8, "llama3"),
        ({**PLAIN, "name": "llama-3"}, 8, "llama3"),
        ({**PLAIN, "name": "chatglm2"}, 8, "chatglm"),
        ({**PLAIN, "name": "chatglm2"}, 9, "chatglm"),
        (PLAIN, 9, "chatml"),
        ({**PLAIN, "system_message_vision": ""}, 9, "chatglm"),
        ({**PLAIN, "max_image_size_mb": None}, 10, "chatml"),
        ({**PLAIN, "max_image_size_mb": 5}, 18, "deepseek_chat"),
        (PLAIN, 17, "deepseek_chat"),
        (PLAIN, 21, "gemma"),
        (PLAIN, 23, "default"),
    ],
)
def test_tells_the_editions_apart(fields: dict[str, Any], number: int, style: str | None) -> None:
    wire = {**fields, "sep_style": number}
    if style is not None:
        assert told(wire).sep_style == style
        return
    with pytest.raises(ServingError, match="option template") as caught:
        told(wire)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize(
    ("style", "prompt"),
    [
        (
            "llama3",
            "<|begin_of_text|>s<|start_header_id|>U<|end_header_id|>\n\nhi<|eot_id|>"
            "<|start_header_id|>A<|end_header_id|>\n\n",
        ),
        ("gemma", "<bos><start_of_turn>U\nhi<end_of_turn>\n<start_of_turn>A\n"),
        ("default", "s\nU: hi\nA:"),
    ],
)
def test_renders_what_came_after_the_release(style: Any, prompt: str) -> None:
    template = ConvTemplate(name="x", system_message="s", roles=("U", "A"), sep_style=style)
    assert render(template, conversation((("user", " hi " if style == "llama3" else "hi"),))) == prompt


def test_reads_the_old_shape() -> None:
    old = {"name": "v", "system": "be {kind}", "roles": ["U", "A"], "messages": [["U", "q"], ["A", None]], "offset": 0}
    template = told({**old, "sep_style": 1, "sep": "|", "sep2": None, "stop_str": "#", "stop_token_ids": None})
    assert (template.system_template, template.system_message) == ("{system_message}", "be {kind}")
    assert render(template, conversation((("user", "hi"),))) == "be {kind}|U: q|U: hi|A:"


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b'{"conv":{}}', b"<html>", b'{"conv":{"roles":["U"],"sep_style":1}}', b'{"a":"\xff"}']
)
def test_refuses_what_is_no_template(body: bytes) -> None:
    with pytest.raises(ServingError, match="cannot be read") as caught:
        read_template(body)
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize("name", NAMES)
def test_emits_both_shapes(name: str) -> None:
    body = emit_template(named(name))
    fields = json.loads(body)["conv"]
    assert 1 <= fields["sep_style"] <= 7
    assert fields["system"] == fields["system_template"].replace("{system_message}", fields["system_message"])
    needed = {"name", "system_template", "system_message", "roles", "messages", "offset", "sep_style", "sep", "sep2"}
    assert fields.keys() >= {*needed, "stop_str", "stop_token_ids"}
    assert read_template(body) == named(name)


def test_does_not_emit_what_editions_number_differently() -> None:
    with pytest.raises(ServingError) as caught:
        emit_template(msgspec.structs.replace(NEUTRAL, sep_style="chatml"))
    assert caught.value.kind == "unsupported"


def test_names_what_was_meant() -> None:
    assert named("vicuna") is named("vicuna_v1.1")
    with pytest.raises(ServingError, match="'llama-2'") as caught:
        named("lama-2")
    assert caught.value.kind == "bad_request"


def test_instructions_without_a_place_go_to_the_user() -> None:
    prompt = render(named("gemma"), conversation((("system", "s"), ("user", "q"))))
    assert prompt == "<bos><start_of_turn>user\ns\n\nq<end_of_turn>\n<start_of_turn>model\n"


def test_parts_continuation_and_a_third_role() -> None:
    template = ConvTemplate(name="x", roles=("U", "A", "F"), sep="|")
    parts = (ImagePart("http://x/y.png"), TextPart("see"), AudioPart("", "wav"))
    messages = (Message("user", parts), Message("tool", (TextPart("42"),)), Message("assistant", (TextPart("so"),)))
    assert render(template, messages) == "U<image>\nsee|F42|Aso|A"
    assert render(template, messages, continued=True) == "U<image>\nsee|F42|Aso"
    assert render(template, (), continued=True) == "A"


@given(st.text(), st.text())
def test_braces_and_marks_in_texts_stay(system: str, said: str) -> None:
    template = ConvTemplate(name="x", system_template="<{system_message}>", roles=("{role}", "{sep2}"), sep="{sep}")
    assert render(template, conversation((("system", system), ("user", said)))).startswith(
        f"<{system}>{{role}}{said}{{sep}}"
    )
