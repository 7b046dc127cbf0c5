"""Random adapters for a tiny Llama, as a GGUF file and as a PEFT folder: they show whether an engine applies one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

RANK, ALPHA = 4, 256.0


def gguf_adapter(model: Path, path: Path) -> Path:
    """An adapter of the model's query projections."""
    import gguf

    shapes = {str(tensor.name): [int(size) for size in tensor.shape] for tensor in gguf.GGUFReader(model).tensors}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    for name, shape in shapes.items():
        if name.endswith("attn_q.weight"):
            # GGUF tells the inner dimension first.
            down, up = _pair(shape[0], shape[1])
            writer.add_tensor(f"{name}.lora_a", down)
            writer.add_tensor(f"{name}.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def peft_adapter(model: Path, folder: Path) -> Path:
    """The same for a folder as transformers saves it."""
    config = json.loads((model / "config.json").read_text())
    width = config["hidden_size"]
    out = config["num_attention_heads"] * config.get("head_dim", width // config["num_attention_heads"])
    tensors: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = _pair(width, out)
    folder.mkdir()
    about = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(model), "r": RANK,
        "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none", "target_modules": ["q_proj"], "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(about))
    _put(folder / "adapter_model.safetensors", tensors)
    return folder


def _pair(inner: int, outer: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(inner * outer)
    return (
        random.standard_normal((RANK, inner), dtype=np.float32) * 0.1,
        random.standard_normal((outer, RANK), dtype=np.float32) * 0.1,
    )


def _put(path: Path, tensors: dict[str, np.ndarray]) -> None:
    head: dict[str, object] = {}
    at = 0
    for name, tensor in tensors.items():
        head[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in tensors.values()))
