"""Model folders: their shape, the memory that they need, and what is wrong with them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines.model_folders import LLAMA, put_embedder, put_model, put_weights
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine
from trunkcall.engines.weights import check_memory, gguf_files, memory, read_checkpoint

GB = 10**9


def test_a_whole_folder(tmp_path: Path) -> None:
    found = read_checkpoint(put_model(tmp_path))
    assert (found.size, found.parameters, found.width) == (6400 * 2 + 64 * 4, 6464, 2)
    assert found.cached == 2 * 3 * 2 * 8
    assert (found.context, found.architecture) == (512, "LlamaForCausalLM")
    assert (found.own_code, found.embedder) == (False, False)
    assert found.files == (tmp_path / "model.safetensors",)
    assert memory(found, 1000) == {"weights": 13056, "cache": 96_000 * 2}
    assert memory(found, 1000, 4) == {"weights": 6464 * 4, "cache": 96_000 * 4}


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"dtype": None, "torch_dtype": "float32"}, "width", 4),
        ({"dtype": None}, "width", 2),
        ({"head_dim": 32}, "cached", 2 * 3 * 2 * 32),
        ({"num_key_value_heads": None}, "cached", 2 * 3 * 8 * 8),
        ({"layer_types": ["full_attention", "sliding_attention", "linear_attention"]}, "cached", 2 * 1 * 2 * 8),
        ({"num_attention_heads": None, "num_key_value_heads": None}, "cached", 0),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Own"}}, "own_code", True),
        ({"architectures": None}, "architecture", ""),
        ({"max_position_embeddings": None, "n_positions": 9}, "context", 9),
    ],
)
def test_configs(tmp_path: Path, config: dict[str, Any], field: str, value: object) -> None:
    assert getattr(read_checkpoint(put_model(tmp_path, **config)), field) == value


def test_gpt2_and_models_that_also_see(tmp_path: Path) -> None:
    assert read_checkpoint(put_model(tmp_path / "a", {"n_layer": 2, "n_head": 4, "n_embd": 32})).cached == 2 * 2 * 4 * 8
    assert read_checkpoint(put_model(tmp_path / "b", {"text_config": LLAMA})).cached == 96


def test_parts_and_pickled_weights(tmp_path: Path) -> None:
    folder = put_model(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    found = read_checkpoint(folder)
    assert (found.size, found.parameters, found.width) == (1000, 0, 2)
    assert memory(found, 0, 4)["weights"] == 1000, "their number is not known"
    for name in ("one", "two"):
        put_weights(folder / f"{name}.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}})
    )
    found = read_checkpoint(folder)
    assert ([path.name for path in found.files], found.size) == (["one.safetensors", "two.safetensors"], 26112)


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
def test_embedders(tmp_path: Path, inside: str) -> None:
    found = read_checkpoint(put_embedder(tmp_path, inside))
    assert (found.embedder, found.architecture, found.folder) == (True, "BertModel", tmp_path)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def lose_a_part(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x-1.safetensors"}}')


def be_an_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')


def be_a_file(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights: neither model.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), "is not a model folder: it has no config.json"),
    "config": (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "config.json is damaged"),
    "cut": (cut, "13246 of 13247 bytes are there"),
    "pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"),
        "run `git lfs pull`",
    ),
    "other bytes": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "its head cannot be read"),
    "no bytes": (lambda f: (f / "model.safetensors").write_bytes(b""), "its head cannot be read"),
    "a part": (lose_a_part, "1 of 1 weight files are missing, such as x-1.safetensors"),
    "an empty index": (
        lambda f: (f / "model.safetensors.index.json").write_text("{}"),
        "names no weight files; fetch it again",
    ),
    "an adapter": (be_an_adapter, "is an adapter, not a model. Serve its base, org/base"),
    "a file": (be_a_file, "is a file; name the folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_loaded(tmp_path: Path, case: str) -> None:
    folder = put_model(tmp_path / "model")
    spoil, words = WRONG[case]
    spoil(folder)
    with pytest.raises(ServingError) as caught:
        read_checkpoint(folder)
    assert caught.value.kind == "bad_request"
    assert words in caught.value.message
    assert str(folder) in caught.value.message


@given(data=st.binary(max_size=64), length=st.none() | st.integers(0, 2**64 - 1))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes, length: int | None) -> None:
    folder = put_model(tmp_path_factory.mktemp("model"))
    head = b"" if length is None else struct.pack("<Q", length)
    (folder / "model.safetensors").write_bytes(head + data)
    try:
        read_checkpoint(folder)
    except ServingError as error:
        assert error.kind == "bad_request"


def test_projectors_are_no_models(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "mmproj-b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    assert gguf_files(tmp_path) == {tmp_path / "a.gguf": 4, tmp_path / "b.gguf": 4}


BIG, BUSY = ("big", 80 * GB, 70 * GB), ("busy", 80 * GB, 10 * GB)


def machine(*gpus: tuple[str, int, int], memory: int = 32 * GB) -> Machine:
    names, totals, free = zip(*gpus, strict=True) if gpus else ((), (), ())
    return Machine(8, memory, names, totals, free)


@pytest.mark.parametrize(
    ("need", "host", "gpus", "words"),
    [
        (31, machine(), 0, ""),
        (33, machine(), 0, "needs about 34.0 GB (weights 33.0 GB + cache 1.0 GB) and this machine has 32.0 GB"),
        (33, machine(BIG), 0, "and this machine has 32.0 GB"),
        (60, machine(BIG), 1, ""),
        (60, machine(BUSY, BIG), 1, ""),
        (60, machine(BUSY), 1, "busy has 10.0 GB free of 80.0 GB"),
        (60, machine(BIG, BUSY), 2, "needs about 30.5 GB on each GPU"),
        (130, machine(BIG, BIG), 2, ""),
        (1, machine(), 1, "is to run on 1 GPU and this machine has none"),
        (1, machine(BIG), 2, "is to run on 2 GPUs and this machine has 1"),
        (900, Machine(8, GB, ("unknown",)), 1, ""),
    ],
)
def test_memory_is_checked(need: int, host: Machine, gpus: int, words: str) -> None:
    parts = {"weights": need * GB, "cache": GB}
    if not words:
        check_memory("m", parts, host, gpus=gpus)
        return
    with pytest.raises(ServingError) as caught:
        check_memory("m", parts, host, gpus=gpus)
    assert caught.value.kind == "bad_request"
    assert words in caught.value.message
