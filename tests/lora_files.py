"""Writes adapters for the pocket model as llama.cpp reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from trunkcall.pocket import gguf_path


def write_lora(path: Path, strength: float, architecture: str = "llama") -> Path:
    """An adapter of rank 2 that turns the attention of the first layer; made of the same numbers each time."""
    base: Any = next(t for t in gguf.GGUFReader(gguf_path()).tensors if t.name == "blk.0.attn_q.weight")
    inner, outer = (int(n) for n in base.shape)
    numbers = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", numbers.standard_normal((2, inner)).astype(np.float32))
    down = strength * numbers.standard_normal((outer, 2)).astype(np.float32)
    writer.add_tensor("blk.0.attn_q.weight.lora_b", down.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
