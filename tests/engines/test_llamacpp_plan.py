"""The plan of a llama.cpp replica."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.gguf import Head
from trunkcall.engines.llamacpp import LlamaCpp, Pocket, cache_bytes, prompt_batch
from trunkcall.pocket import gguf_path

MACHINE = Machine(8, 16 * 2**30)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-model.gguf"
    shutil.copy(gguf_path(), path)
    return path


def plan(path: Path | str, machine: Machine = MACHINE, **options: Any) -> LaunchSpec:
    settings = ModelSettings(name="m", sources=(parse_source(f"llamacpp:{path}"),), options=options)
    return LlamaCpp().plan(settings, machine)


def told(spec: LaunchSpec) -> dict[str, Any]:
    """What the host process is told."""
    assert spec.command[:3] == (sys.executable, "-m", "trunkcall.workers.llamacpp")
    return json.loads(spec.command[3])


def test_defaults(model: Path) -> None:
    spec = plan(model)
    host = told(spec)
    assert spec.protocol == "openai"
    assert spec.slots == host["slots"] == 4
    assert host["name"] == "m"
    assert host["path"] == str(model)
    assert host["context"] == 1024
    assert host["threads"] == 7
    assert host["gpu_layers"] == 0
    assert told(plan(model, Machine(1, 2**30)))["threads"] == 1
    pocket = Pocket().plan(ModelSettings(name="p", sources=(parse_source("pocket"),)), MACHINE)
    assert pocket.slots == 8
    assert told(pocket)["path"] == str(gguf_path())


def test_options(model: Path, tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }} é")
    spec = plan(
        model, context=256, slots=3, threads=2, gpu_layers=-1, template=str(template), embeddings=True,
        pooling="cls", batch=64, cache_ram_mib=8, seed=5, kv="q8_0", mmproj=str(model),
    )  # fmt: skip
    host = told(spec)
    assert host["template"] == "{{ messages }} é"
    assert host["mmproj"] == str(model)
    expected = {"context": 256, "slots": 3, "threads": 2, "gpu_layers": -1, "embeddings": True, "pooling": "cls"}
    expected |= {"batch": 64, "cache_ram_mib": 8, "seed": 5, "kv": "q8_0"}
    assert {name: host[name] for name in expected} == expected
    assert told(plan(model, template="{{ x }}"))["template"] == "{{ x }}"
    assert plan(model, slots=None).slots == 4
    assert told(plan(model, gpu_layers=5))["batch"] == 2048
    assert told(plan(model, slots=600))["batch"] == 600


def test_the_operators_limit_is_the_number_of_slots(model: Path) -> None:
    settings = ModelSettings(name="m", sources=(parse_source(str(model)),), slots=9)
    assert LlamaCpp().plan(settings, MACHINE).slots == 9


@pytest.mark.parametrize(
    ("options", "says", "param"),
    [
        ({"contxt": 5}, "Did you mean 'context'", "contxt"),
        ({"context": "big"}, "option context: Expected `int | null`, got `str`", "context"),
        ({"context": True}, "option context", "context"),
        ({"slots": 0}, "option slots", "slots"),
        ({"pooling": "max"}, "option pooling", "pooling"),
        ({"context": 2048}, "was made for 1024 tokens", "context"),
        ({"template": "/no/such/file"}, "cannot be read as a template", "template"),
        ({"gpu_layers": -2}, "option gpu_layers", "gpu_layers"),
    ],
)
def test_wrong_options(model: Path, options: dict[str, Any], says: str, param: str) -> None:
    with pytest.raises(ServingError) as caught:
        plan(model, **options)
    assert says in caught.value.message
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


def test_files_that_cannot_be(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    text = tmp_path / "notes.gguf"
    text.write_text("hello")
    for path, says in (
        (tmp_path / "tiny_model.gguf", f"Did you mean {model}?"),
        (tmp_path, "is a folder; name the .gguf file"),
        (folder / "x.gguf", "There is no .gguf file in"),
        (tmp_path / "a" / "x.gguf", "nor does its folder"),
        (text, "is not a GGUF file"),
        ("", "needs a model file"),
    ):
        with pytest.raises(ServingError) as caught:
            plan(path)
        assert says in caught.value.message
        assert caught.value.kind == "bad_request"


def test_a_model_in_parts(model: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / f"big-0000{n}-of-00002.gguf" for n in (1, 2))
    shutil.copy(model, first)
    with pytest.raises(ServingError, match=r"big-00002-of-00002\.gguf does not exist"):
        plan(first)
    shutil.copy(model, second)
    assert plan(first).memory - plan(model).memory == model.stat().st_size
    with pytest.raises(ServingError, match=r"name the first one, big-00001-of-00002\.gguf"):
        plan(second)


def test_memory_grows_with_what_needs_it(model: Path) -> None:
    usual = plan(model)
    assert usual.memory > model.stat().st_size + 256 * 2**20
    assert plan(model, slots=8).memory > usual.memory
    assert plan(model, context=512).memory < usual.memory
    assert plan(model, kv="f32").memory > usual.memory > plan(model, kv="q8_0").memory
    assert usual.memory - plan(model, cache_ram_mib=0).memory == 256 * 2**20


def test_cache_bytes() -> None:
    seven_billion = Head("llama", 4096, 32, (32,) * 32, 128, 128, 0)
    assert cache_bytes(seven_billion, 4096, "f16") == 2 * 2**30


@pytest.mark.parametrize(
    ("active", "threads", "batch"),
    [(1_600_000, 1, 128), (1_600_000, 3, 512), (85_000_000, 1, 32), (7_000_000_000, 16, 32), (0, 1, 512)],
)
def test_prompt_batch(active: int, threads: int, batch: int) -> None:
    assert prompt_batch(active, threads) == batch
