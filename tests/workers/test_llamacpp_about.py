"""What llama.cpp's own descriptions come to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkcall.core.about import About
from trunkcall.workers.llamacpp_about import about

SAMPLED = {
    "temperature": 0.800000011920929,
    "top_k": 40,
    "top_p": 0.949999988079071,
    "repeat_penalty": 1.1,
    "dry_base": 1.75,
}
CAPS = {"supports_tools": True, "supports_reasoning_effort": False}
PROPS = {
    "default_generation_settings": {"n_ctx": 1024, "params": SAMPLED},
    "modalities": {"vision": False, "audio": False},
    "chat_template_caps": CAPS,
    "model_path": "/x.gguf",
}  # fmt: skip
MODELS = {"data": [{"id": "m", "meta": {"n_params": 3051072}}]}


@pytest.mark.parametrize(
    ("props", "models", "known"),
    [
        (
            PROPS,
            MODELS,
            About(
                context=1024, images=False, tools=True, parameters=3051072,
                defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1},
            ),
        ),
        ({**PROPS, "chat_template_caps": {**CAPS, "supports_reasoning_effort": True}, "modalities": {"vision": True}}, {},
         About(context=1024, images=True, tools=True, reasoning=True,
               defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1})),
        ({"default_generation_settings": {"n_ctx": 7}}, {"data": [{"id": "m", "meta": None}]}, About(context=7, tools=False)),
    ],
)  # fmt: skip
def test_what_is_told(props: Any, models: Any, known: About) -> None:
    assert about(json.dumps(props).encode(), json.dumps(models).encode()) == known
