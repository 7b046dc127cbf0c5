"""Model folders made by hand: a config, and weight files whose heads are true."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "dtype": "bfloat16",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
TENSORS = {"embed": ("BF16", [100, 64]), "norm": ("F32", [64])}
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1}


def put_weights(path: Path, tensors: dict[str, tuple[str, list[int]]] | None = None) -> None:
    """A safetensors file of zeros."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in (TENSORS if tensors is None else tensors).items():
        size = math.prod(shape) * _BYTES[dtype]
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def put_model(folder: Path, config: dict[str, Any] | None = None, **more: Any) -> Path:
    """A whole folder; `more` is added to the config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**(LLAMA if config is None else config), **more}))
    put_weights(folder / "model.safetensors")
    return folder


def put_embedder(folder: Path, inside: str = "") -> Path:
    """A sentence-transformers folder; inside: where its transformer stands, as those of old had it."""
    put_model(folder / inside, {**LLAMA, "architectures": ["BertModel"]})
    modules = [{"idx": 0, "name": "0", "path": inside, "type": "sentence_transformers.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder
