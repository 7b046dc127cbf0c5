"""Real transformers hosts in child processes, and small models for them, for tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from worker_child import WorkerChild

from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.engines.transformers import Transformers

POCKET = Path(__file__).parents[1] / "pocket" / "hf"
MACHINE = Machine(2, 8 * 2**30)
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def plan(folder: Path, **options: Any) -> LaunchSpec:
    settings = ModelSettings(name="tiny", sources=(Source("transformers", str(folder)),), options=options)
    return Transformers().plan(settings, MACHINE)


class Child(WorkerChild):
    """A host that has reported."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(plan(folder, **options), env=env, limit=120, model="tiny")

    def said(self, text: str = "What is the capital of France?", **fields: Any) -> str:
        return self.chat(text, **fields)["choices"][0]["message"]["content"]


def put_random(folder: Path, config: Any, **options: Any) -> Path:
    """A model of random weights with the pocket model's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, **options)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(POCKET / name, folder / name)
    return folder


SMALL = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
"""A small model's config, in words that most architectures know."""
