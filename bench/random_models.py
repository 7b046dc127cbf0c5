"""Llamas of random weights with the shipped model's tokenizer, as a GGUF file and as a folder of transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import numpy as np

WIDTH, INNER, HEAD = 1024, 2816, 64
"""Of each layer, which has 12.8 million weights: 24 layers make a model of 308 million."""
CONTEXT = 1024


def gguf_llama(shipped: Path, path: Path, layers: int) -> Path:
    """A q8_0 file like the shipped one with so many layers. Raises ImportError without the package gguf."""
    import gguf

    reader = gguf.GGUFReader(shipped)
    ours = {
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": layers,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": WIDTH // HEAD,
        "llama.attention.head_count_kv": WIDTH // HEAD,
        "llama.rope.dimension_count": HEAD,
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_Q8_0),
    }
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        # The writer tells these itself.
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind, *inner = field.types
            writer.add_key_value(name, ours.get(name, field.contents()), kind, inner[-1] if inner else None)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    quantised = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in _tensors(layers, vocabulary):
        if tensor.ndim == 1:
            writer.add_tensor(_gguf_name(name), tensor)
        else:
            writer.add_tensor(_gguf_name(name), gguf.quantize(tensor, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def folder_llama(shipped: Path, folder: Path, layers: int) -> Path:
    """The same, float16, as transformers saves it. Raises ImportError without the package safetensors."""
    from safetensors.numpy import save_file

    folder.mkdir()
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(shipped / name, folder / name)
    config = json.loads((shipped / "config.json").read_text())
    config |= {
        "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": layers, "head_dim": HEAD,
        "num_attention_heads": WIDTH // HEAD, "num_key_value_heads": WIDTH // HEAD,
        "max_position_embeddings": CONTEXT,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.astype(np.float16) for name, tensor in _tensors(layers, config["vocab_size"])}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


_PARTS = {
    "self_attn.q_proj": ("attn_q", (WIDTH, WIDTH)),
    "self_attn.k_proj": ("attn_k", (WIDTH, WIDTH)),
    "self_attn.v_proj": ("attn_v", (WIDTH, WIDTH)),
    "self_attn.o_proj": ("attn_output", (WIDTH, WIDTH)),
    "mlp.gate_proj": ("ffn_gate", (INNER, WIDTH)),
    "mlp.up_proj": ("ffn_up", (INNER, WIDTH)),
    "mlp.down_proj": ("ffn_down", (WIDTH, INNER)),
    "input_layernorm": ("attn_norm", (WIDTH,)),
    "post_attention_layernorm": ("ffn_norm", (WIDTH,)),
}
"""transformers' names, those of GGUF, and the shapes; the embedding is the head as well."""


def _tensors(layers: int, vocabulary: int) -> Generator[tuple[str, np.ndarray]]:
    """By transformers' names, in float32."""
    random = np.random.default_rng(0)

    def made(shape: tuple[int, ...]) -> np.ndarray:
        # A norm multiplies; the rest is as small as before training.
        return np.ones(shape, np.float32) if len(shape) == 1 else random.standard_normal(shape, np.float32) * 0.02

    yield "model.embed_tokens.weight", made((vocabulary, WIDTH))
    yield "model.norm.weight", made((WIDTH,))
    for layer in range(layers):
        for part, (_, shape) in _PARTS.items():
            yield f"model.layers.{layer}.{part}.weight", made(shape)


def _gguf_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{_PARTS[part][0]}.weight"
