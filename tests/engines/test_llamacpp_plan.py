"""The plan of a llama.cpp replica."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lora_files import write_lora

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.gguf import Head, read_head
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
    assert cache_bytes(seven_billion, 4096, 1, "f16", 32) == 2 * 2**30
    assert cache_bytes(seven_billion, 1024, 8, "f16", 32) == 4 * 2**30
    windows = Head("gemma3", 8192, 4, (1,) * 4, 8, 8, 0, windows=(100, 100, 100, 0))
    assert cache_bytes(windows, 4096, 2, "f16", 32) == 2 * (3 * 132 + 4096) * 16 * 2
    assert cache_bytes(windows, 64, 1, "f16", 32) == 4 * 64 * 16 * 2


def test_what_does_not_fit_is_refused_with_the_numbers(model: Path) -> None:
    small = Machine(2, 300 * 2**20)
    with pytest.raises(ServingError) as caught:
        plan(model, small)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "force")
    for says in ("weights ", " + cache ", " + prompts kept 268.4 MB", "this machine has 314.6 MB", "force: true"):
        assert says in caught.value.message
    assert plan(model, small, force=True).memory > small.memory
    assert plan(model, small, cache_ram_mib=0).memory < small.memory
    assert plan(model, small, gpu_layers=-1).memory > small.memory, "a GPU that is not known is not weighed"


def test_what_does_not_fit_on_the_gpu(model: Path) -> None:
    mib = 2**20
    weights = plan(model, MACHINE).memory
    full = Machine(8, 16 * 2**30, ("A", "B"), (8000 * mib,) * 2, (1000 * mib, 2 * mib))
    with pytest.raises(ServingError, match=r"on each GPU \(weights .* \+ cache .*\); B has 2\.1 MB free") as caught:
        plan(model, full, gpu_layers=-1)
    assert caught.value.param == "force"
    assert plan(model, full, gpu_layers=-1, force=True).memory > weights
    # One layer of five, with its part of the cache, is little.
    roomy = msgspec.structs.replace(full, gpu_free=(1000 * mib, 5 * mib))
    assert plan(model, roomy, gpu_layers=1)
    with pytest.raises(ServingError, match=r"B has 5\.2 MB free"):
        plan(model, roomy, gpu_layers=5)
    with pytest.raises(ServingError, match=r"this machine has 104\.9 MB"):
        plan(model, msgspec.structs.replace(full, memory=100 * mib, gpu_free=(9000 * mib,) * 2), gpu_layers=-1)


def test_a_gpu_that_is_asked_for_and_not_there_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = msgspec.structs.replace(MACHINE, gpus=("A",))
    assert "finds no NVIDIA GPU" in plan(model, gpu_layers=-1).why
    for spec in (plan(model), plan(model, gpu, gpu_layers=-1), plan(model, gpu_layers=-1, server=sys.executable)):
        assert spec.why == "GGUF is the format of llama.cpp"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "no NVIDIA" not in plan(model, gpu_layers=-1).why


def test_what_would_be_faster(model: Path) -> None:
    gpu = Machine(8, 16 * 2**30, ("A",), (2**33,), (2**33,))
    assert "gpu_layers: -1" in plan(model, gpu).faster
    assert (plan(model, gpu, gpu_layers=-1).faster, plan(model).faster) == ("", "")


def test_what_goes_with_the_model(model: Path, tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "a.gguf", 1.0)
    plain = plan(model)
    spec = plan(model, lora=[{"path": str(adapter)}, {"path": str(adapter), "scale": 0}], draft=str(model))
    host = told(spec)
    assert host["lora"] == [{"path": str(adapter), "scale": 1.0}, {"path": str(adapter), "scale": 0.0}]
    assert (host["draft"], host["draft_tokens"]) == (str(model), 3)
    head = read_head(model)
    draft = model.stat().st_size + cache_bytes(head, host["context"], 4, "f16", host["batch"])
    assert spec.memory - plain.memory == 2 * adapter.stat().st_size + draft
    assert (spec.engine, spec.why) == ("llamacpp", "GGUF is the format of llama.cpp")


def test_adapters_and_drafts_that_cannot_be(model: Path, tmp_path: Path) -> None:
    other = write_lora(tmp_path / "other.gguf", 1.0, "qwen2")
    lora = write_lora(tmp_path / "lora.gguf", 1.0)
    for options, says, param in (
        ({"lora": [{"path": str(other)}]}, "an adapter for another base: a qwen2 model, and this is a llama", "lora"),
        ({"lora": [{"path": str(model)}]}, "is not a LoRA adapter; convert one", "lora"),
        ({"lora": [{"path": str(tmp_path / "no.gguf")}]}, "option lora: ", "lora"),
        ({"lora": [{"scale": 1}]}, "option lora[0]: Object missing required field `path`", "lora[0]"),
        ({"draft": str(tmp_path / "no.gguf")}, "option draft: ", "draft"),
        ({"draft": str(lora)}, "is a LoRA adapter; serve its base", "draft"),
        ({"mmproj": str(tmp_path / "no.gguf")}, "option mmproj: ", "mmproj"),
        ({"server": "no-such-server"}, "is no program that can be started; give the path of llama-server", "server"),
    ):
        with pytest.raises(ServingError) as caught:
            plan(model, **options)
        assert says in caught.value.message
        assert (caught.value.kind, caught.value.param) == ("bad_request", param)


def test_a_llama_server_is_told_the_same(model: Path, tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "a.gguf", 1.0)
    spec = plan(
        model, server=sys.executable, context=256, slots=3, threads=2, gpu_layers=-1, template="{{ x }}", seed=5,
        embeddings=True, pooling="cls", batch=64, kv="q8_0", mmproj=str(model), draft=str(model), draft_tokens=5,
        lora=[{"path": str(adapter), "scale": 0.5}, {"path": str(adapter)}],
    )  # fmt: skip
    assert spec.command[1:4] == ("-P", "-m", "trunkcall.workers.outside")
    outside = json.loads(spec.command[4])
    assert outside["command"][0] == sys.executable
    assert outside["command"][1:] == [
        "--host", "{host}", "--port", "{port}", "--model", str(model), "--alias", "m", "--ctx-size", "768",
        "--parallel", "3", "--threads", "2", "--batch-size", "256", "--ubatch-size", "256", "--n-gpu-layers", "999",
        "--cache-ram", "256", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "--chat-template", "{{ x }}",
        "--seed", "5", "--mmproj", str(model), "--lora-scaled", f"{adapter}:0.5,{adapter}:1.0",
        "--model-draft", str(model), "--spec-type", "draft-simple", "--spec-draft-n-max", "5",
        "--pooling", "cls", "--embeddings", "--jinja", "--slots", "--metrics", "--no-webui",
    ]  # fmt: skip
    # The engine that we carry has llama.cpp's own table of flags in it.
    library = importlib.util.find_spec("xllamacpp")
    assert library is not None and library.origin is not None
    known = next(Path(library.origin).parent.glob("*.so")).read_bytes()
    flags = [word for word in outside["command"][1:] if word.startswith("--")]
    assert [flag for flag in flags if b"\0%s\0" % flag.encode() not in known] == []


@pytest.mark.parametrize(
    ("active", "threads", "batch"),
    [(1_600_000, 1, 128), (1_600_000, 3, 512), (85_000_000, 1, 32), (7_000_000_000, 16, 32), (0, 1, 512)],
)
def test_prompt_batch(active: int, threads: int, batch: int) -> None:
    assert prompt_batch(active, threads) == batch


@pytest.mark.parametrize(
    ("options", "resumes"),
    [
        ({}, {"greedy", "penalties"}),
        ({"kv": "q8_0"}, set()),
        ({"gpu_layers": 5, "force": True}, set()),
        ({"embeddings": True}, set()),
    ],
)
def test_only_what_was_seen_to_go_on_exactly_is_declared(options: dict[str, Any], resumes: set[str]) -> None:
    settings = ModelSettings(name="m", sources=(parse_source("pocket"),), options=options)
    assert Pocket().plan(settings, Machine(2, 8 * 2**30)).resumes == resumes
