"""The command for a transformers replica, and what cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines.model_folders import LLAMA, put_embedder, put_model, put_weights

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.engines import transformers as engine
from trunkcall.protocols.transformers_host import HostSettings

PLAIN = Machine(4, 16 * 2**30)
GPU = Machine(4, 16 * 2**30, ("H200",), (2**37,), (2**37,))
LARGE = {"embed": ("BF16", [1000, 1000])}


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that are installed, as the engine sees it."""
    there = {"torch", "transformers"}
    monkeypatch.setattr(engine, "lacking", lambda name: "" if {"torch", name} <= there else "it; pip install it")
    monkeypatch.setattr(engine, "find_spec", lambda name: name if name in there else None)
    return there


def plan(target: Any, machine: Machine = PLAIN, slots: int | None = None, **options: Any) -> LaunchSpec:
    source = Source("transformers", str(target))
    settings = ModelSettings(name="m", sources=(source,), options=options, slots=slots)
    return engine.Transformers().plan(settings, machine)


def host(*arguments: Any, **options: Any) -> HostSettings:
    return msgspec.json.decode(plan(*arguments, **options).command[-1], type=HostSettings)


def refused(*arguments: Any, **options: Any) -> ServingError:
    with pytest.raises(ServingError) as caught:
        plan(*arguments, **options)
    return caught.value


def test_defaults(tmp_path: Path) -> None:
    spec = plan(put_model(tmp_path))
    assert spec.command[1:4] == ("-P", "-m", "trunkcall.workers.transformers")
    assert (spec.protocol, spec.slots, spec.engine) == ("openai", 16, "transformers")
    made = host(tmp_path)
    assert (made.path, made.context, made.slots, made.threads) == (str(tmp_path), 512, 16, 3)
    assert (made.device, made.dtype, made.generates, made.embeddings) == ("auto", "auto", True, False)
    # Weights as float32, keys and values of 16 slots of 512 positions (3 layers, 2 heads of 8), Python with torch.
    assert spec.memory == 4 * (100 * 64 + 64) + 16 * 512 * (2 * 3 * 2 * 8) * 4 + engine.PROCESS_BYTES


def test_options_reach_the_host(tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}")
    put_model(tmp_path)
    made = host(
        tmp_path,
        context=100,
        slots=2,
        threads=1,
        batch=64,
        device="cpu",
        dtype="bfloat16",
        trust_remote_code=True,
        template=str(template),
        embeddings=True,
        pooling="cls",
    )
    assert (made.context, made.slots, made.threads, made.batch) == (100, 2, 1, 64)
    assert (made.device, made.dtype, made.trust_remote_code) == ("cpu", "bfloat16", True)
    assert (made.template, made.embeddings, made.pooling) == ("{{ messages }}", True, "cls")
    assert host(tmp_path, slots=3).slots == 3
    assert plan(tmp_path, PLAIN, 5).slots == 5


@pytest.mark.parametrize(
    ("architecture", "options", "generates", "embeddings"),
    [
        ("LlamaForCausalLM", {}, True, False),
        ("GPT2LMHeadModel", {}, True, False),
        ("Gemma3ForConditionalGeneration", {"embeddings": True}, True, True),
        ("BertModel", {}, False, True),
        ("BertForMaskedLM", {}, False, True),
        ("ChatGLMModel", {"embeddings": False}, True, False),
    ],
)
def test_what_a_model_can_do(
    tmp_path: Path, architecture: str, options: dict[str, Any], generates: bool, embeddings: bool
) -> None:
    made = host(put_model(tmp_path, architectures=[architecture]), **options)
    assert (made.generates, made.embeddings) == (generates, embeddings)


def test_a_sentence_transformers_folder_gives_vectors(tmp_path: Path) -> None:
    made = host(put_embedder(tmp_path))
    assert (made.generates, made.embeddings) == (False, True)


def test_halves_where_floats_do_not_fit(tmp_path: Path) -> None:
    folder = put_model(tmp_path)
    put_weights(folder / "model.safetensors", LARGE)
    tight = Machine(4, 4_000_000 + engine.PROCESS_BYTES)
    assert host(folder, tight, context=1, slots=1).dtype == "bfloat16"
    assert host(folder, PLAIN, context=1, slots=1).dtype == "auto"
    error = refused(folder, Machine(4, engine.PROCESS_BYTES + 1_000_000), context=1, slots=1)
    assert "weights" in error.message and error.param == "force"
    assert plan(folder, Machine(4, 2**20), force=True).command


def test_on_a_gpu(tmp_path: Path) -> None:
    folder = put_model(tmp_path)
    assert host(folder, GPU).batch == engine.GPU_BATCH
    assert host(folder, GPU, device="cpu").batch < engine.GPU_BATCH
    assert host(folder, GPU, device="cuda:0").device == "cuda:0"
    full = msgspec.structs.replace(GPU, gpu_free=(2**20,))
    assert "H200 has 1.0 MB free" in refused(folder, full).message


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"device": "cuda"}, "unsupported", "no GPU"),
        ({"device": "mps"}, "unsupported", "Apple"),
        ({"device": "tpu"}, "bad_request", "none of auto"),
        ({"context": 513}, "bad_request", "512"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "bad_request", "exclude"),
        ({"load_in_8bit": True}, "unsupported", "pip install bitsandbytes"),
        ({"device_map": "auto"}, "unsupported", "pip install accelerate"),
        ({"adapter": "."}, "unsupported", "pip install peft"),
        ({"revision": "v1"}, "bad_request", "Hub"),
        ({"template": "/nowhere"}, "bad_request", "cannot be read"),
        ({"dtype": "int8"}, "bad_request", "dtype"),
        ({"conext": 5}, "bad_request", "Did you mean 'context'"),
    ],
)
def test_options_that_cannot_work(
    tmp_path: Path, packages: set[str], options: dict[str, Any], kind: str, words: str
) -> None:
    if "exclude" in words:
        packages |= {"bitsandbytes", "accelerate"}
    error = refused(put_model(tmp_path), **options)
    assert error.kind == kind and words in error.message
    assert error.param == next(iter(reversed(options)))


def test_a_gpu_that_is_not_the_first(tmp_path: Path) -> None:
    assert "GPUs 0 to 0" in refused(put_model(tmp_path), GPU, device="cuda:1").message


def test_adapters(tmp_path: Path, packages: set[str]) -> None:
    packages.add("peft")
    folder = put_model(tmp_path / "model")
    assert "adapter_config.json" in refused(folder, adapter=str(tmp_path)).message
    (tmp_path / "adapter_config.json").write_text("{}")
    assert host(folder, adapter=str(tmp_path)).adapter == str(tmp_path)


def test_quantised_weights_take_less(tmp_path: Path, packages: set[str]) -> None:
    packages |= {"bitsandbytes", "accelerate"}
    folder = put_model(tmp_path)
    put_weights(folder / "model.safetensors", LARGE)
    four = plan(folder, GPU, load_in_4bit=True, context=1, slots=1)
    assert four.memory == 1_000_000 // 2 + 2 * 3 * 2 * 8 * 2
    assert host(folder, GPU, load_in_8bit=True).bits == 8


def test_a_limit_for_each_gpu_divides_the_model(tmp_path: Path, packages: set[str]) -> None:
    folder = put_model(tmp_path)
    assert "pip install accelerate" in refused(folder, GPU, max_memory=5).message
    packages.add("accelerate")
    made = host(folder, GPU, max_memory=5)
    assert (made.device_map, made.max_memory) == ("auto", 5)
    assert host(folder, GPU, max_memory=5, device_map="balanced").device_map == "balanced"
    assert host(folder, GPU).max_memory is None
    assert refused(folder, max_memory=0).param == "max_memory"


def test_missing_packages(tmp_path: Path, packages: set[str]) -> None:
    packages.clear()
    error = refused(put_model(tmp_path))
    assert error.kind == "unsupported" and "pip install" in error.message


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    assert "transformers:FOLDER" in refused("").message
    assert "does not exist" in refused(tmp_path / "nowhere").message
    (tmp_path / "config.json").write_text(msgspec.json.encode(LLAMA).decode())
    assert "no weights" in refused(tmp_path).message


def test_a_name_of_the_hub_is_fetched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    spec = plan("org/repo", revision="v2")
    assert "trunkcall.workers.fetch" in spec.fetch and '"revision":"v2"' in spec.fetch[-1]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in refused("org/repo").message
    commit = "0" * 40
    folder = tmp_path / "models--org--repo" / "snapshots" / commit
    put_model(folder)
    (folder / "tokenizer.json").write_text("{}")
    refs = tmp_path / "models--org--repo" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    assert host("org/repo").path == str(folder)
