"""Heads of GGUF files, written by hand after the format's specification."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from lora_files import write_lora

from trunkcall.core.errors import ServingError
from trunkcall.engines.gguf import Head, read_adapter, read_head
from trunkcall.pocket import gguf_path


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key: str, value: Any) -> bytes:
    match value:
        case bool():
            return text(key) + struct.pack("<I?", 7, value)
        case int():
            return text(key) + struct.pack("<II", 4, value)
        case float():
            return text(key) + struct.pack("<If", 6, value)
        case str():
            return text(key) + struct.pack("<I", 8) + text(value)
        case [str(), *_]:
            return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        case _:
            return text(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)


def gguf(fields: dict[str, Any], version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(fields)) + b"".join(entry(*f) for f in fields.items())


LLAMA = {
    "general.architecture": "llama",
    "general.tags": ["a", "bc"],
    "llama.rope.freq_base": 10000.0,
    "llama.context_length": 8192,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 2,
    "llama.attention.causal": True,
}


def head(tmp_path: Path, data: bytes) -> Head:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    return read_head(path)


def test_a_usual_model(tmp_path: Path) -> None:
    # Queries and output 64 x 64, keys and values 64 x 16 each, three matrices 64 x 128: twice.
    active = 2 * (2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 128)
    expected = Head("llama", 8192, 2, (2, 2), 8, 8, active)
    for version in (2, 3):
        assert head(tmp_path, gguf(LLAMA, version)) == expected


def test_what_comes_after_the_shape_is_not_read(tmp_path: Path) -> None:
    whole = gguf({**LLAMA, "tokenizer.ggml.tokens": ["a"] * 100})
    assert head(tmp_path, whole[:-150]).layers == 2


def test_a_vocabulary_before_the_shape_is_walked_through(tmp_path: Path) -> None:
    assert head(tmp_path, gguf({"tokenizer.ggml.tokens": ["a", "bc"] * 50, **LLAMA})).layers == 2


def test_experts_and_layers_of_different_width(tmp_path: Path) -> None:
    fields = {
        **LLAMA,
        "llama.attention.head_count_kv": [4, 0],
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 32,
        "llama.expert_used_count": 2,
        "llama.expert_feed_forward_length": 32,
    }
    found = head(tmp_path, gguf(fields))
    assert (found.kv_heads, found.key, found.value) == ((4, 0), 16, 32)
    assert found.active == 2 * (2 * 64 * 8 * 16 + 2 * 3 * 64 * 32) + 64 * 4 * 48


@pytest.mark.parametrize(
    ("architecture", "fields", "windows"),
    [
        ("llama", {}, ()),
        ("llama", {"attention.sliding_window": 64}, (0, 0, 0, 0)),
        ("gemma2", {"attention.sliding_window": 64}, (64, 0, 64, 0)),
        ("gemma3", {"attention.sliding_window": 64}, (64, 64, 64, 64)),
        ("x", {"attention.sliding_window": 64, "attention.sliding_window_pattern": 3}, (64, 64, 0, 64)),
        ("x", {"attention.sliding_window": 64, "attention.sliding_window_pattern": 0}, (64, 64, 64, 64)),
        ("x", {"attention.sliding_window": 64, "attention.sliding_window_pattern": [1, 0]}, (64, 0, 64, 0)),
    ],
)
def test_layers_with_a_window(
    tmp_path: Path, architecture: str, fields: dict[str, Any], windows: tuple[int, ...]
) -> None:
    fields = {"block_count": 4, "embedding_length": 64, "attention.head_count": 4, **fields}
    named = {f"{architecture}.{key}": value for key, value in fields.items()}
    assert head(tmp_path, gguf({"general.architecture": architecture, **named})).windows == windows


def test_the_vocabulary_is_counted(tmp_path: Path) -> None:
    assert head(tmp_path, gguf({**LLAMA, "tokenizer.ggml.tokens": ["a", "b", "c"]})).vocabulary == 3
    assert head(tmp_path, gguf({**LLAMA, "llama.vocab_size": 77})).vocabulary == 77


def test_an_adapter_is_not_a_model_nor_a_model_an_adapter(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "adapter.gguf", 1.0, "qwen2")
    assert read_adapter(path) == "qwen2"
    with pytest.raises(ServingError, match="is a LoRA adapter; serve its base, with it in the option lora"):
        read_head(path)
    with pytest.raises(ServingError, match="is not a LoRA adapter"):
        read_adapter(gguf_path())
    with pytest.raises(ServingError, match="is a projector; serve its model"):
        head(tmp_path, gguf({"general.architecture": "clip"}))


def test_the_pocket_model() -> None:
    found = read_head(gguf_path())
    assert found.architecture == "llama"
    assert found.context >= 1024
    assert 1_000_000 < found.active < 100_000_000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04" + bytes(100), "is not a GGUF file"),
        (b"GGUF\x03", "damaged or incomplete"),
        (gguf(LLAMA, version=1), "version 1"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 1), "version 50331648"),
        (gguf({"general.name": "x"}), "damaged or incomplete"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "damaged or incomplete"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 4, 2**62),
            "damaged or incomplete",
        ),
    ],
)
def test_what_is_no_model(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        head(tmp_path, data)
    assert caught.value.kind == "bad_request"


def test_a_head_cut_anywhere_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = gguf(LLAMA)
    for size in range(len(whole)):
        with pytest.raises(ServingError):
            head(tmp_path, whole[:size])
