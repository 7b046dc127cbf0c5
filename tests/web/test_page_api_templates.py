"""Conversation templates of the page: which there are, and the prompts that they make."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trunkcall.core.errors import ServingError
from trunkcall.protocols import own_json
from trunkcall.web.templates import Prompt, Unrendered, rendered, templates

_DECODER = msgspec.json.Decoder(Unrendered)
USER = {"role": "user", "content": "hi"}


def ask(**fields: Any) -> Prompt:
    return rendered(own_json.read_body(msgspec.json.encode(fields), _DECODER))


def test_all_but_the_models_own() -> None:
    names = [template.name for template in templates().templates]
    assert {"vicuna_v1.1", "llama-2", "chatml", "zero_shot"} <= set(names)
    assert "trunkcall" not in names


@pytest.mark.parametrize(
    ("system", "begins"),
    [(None, "This is a chat"), ("Be brief.", "Be brief. USER: "), ("", " USER: ")],
)
def test_the_systems_text_is_the_templates_own_another_or_none(system: str | None, begins: str) -> None:
    made = ask(template="vicuna_v1.1", messages=[USER], system=system)
    assert made.prompt.startswith(begins)
    assert made.prompt.endswith("USER: hi ASSISTANT:")


def test_what_ends_an_answer() -> None:
    assert ask(template="chatml", messages=[USER]).stop == ("<|im_end|>",)
    assert ask(template="one_shot", messages=[USER]) == Prompt(
        ask(template="one_shot", messages=[USER]).prompt, ("###",), ()
    )


def test_an_answer_that_has_begun_is_gone_on_with() -> None:
    made = ask(template="zero_shot", messages=[USER, {"role": "assistant", "content": "Hel"}])
    assert made.prompt.endswith("### Assistant: Hel")
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    assert ask(template="zero_shot", messages=[{"role": "user", "content": parts}]).prompt.endswith(
        "Human: hi\n### Assistant:"
    )


IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}


@pytest.mark.parametrize(
    ("fields", "kind", "param", "words"),
    [
        ({"template": "vicuna", "messages": []}, "bad_request", "messages", "length"),
        ({"messages": [USER]}, "bad_request", "template", "lacks"),
        ({"template": "vicunna", "messages": [USER]}, "bad_request", "template", "Did you mean"),
        ({"template": "raw", "messages": [USER], "sytem": ""}, "bad_request", "sytem", "Did you mean 'system'"),
        ({"template": "raw", "messages": [{"role": "user", "content": 3}]}, "bad_request", "messages[0].content", ""),
        ({"template": "raw", "messages": [{"role": "nobody", "content": ""}]}, "bad_request", "messages[0].role", ""),
        ({"template": "raw", "messages": [USER, IMAGE]}, "unsupported", "messages[1]", "no text"),
        ({"template": "raw", "messages": [USER], "system": 1}, "bad_request", "system", "expected"),
    ],
)
def test_what_cannot_be_rendered(fields: dict[str, Any], kind: str, param: str, words: str) -> None:
    with pytest.raises(ServingError) as raised:
        ask(**fields)
    assert (raised.value.kind, raised.value.param) == (kind, param)
    assert words in raised.value.message
