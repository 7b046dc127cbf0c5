"""The command line of SGLang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines import stand_in
from engines.model_folders import put_model

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.sglang import Sglang
from trunkcall.protocols.outside_host import OutsideSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_model(tmp_path / "model")


def plan(target: object, program: Path | str, name: str = "m", **options: Any) -> LaunchSpec:
    source = parse_source(f"sglang:{target}")
    model = ModelSettings(name=name, sources=(source,), options={"program": str(program), **options})
    return Sglang().plan(model, Machine(8, 64 * 2**30, ("GPU",) * 4))


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ""),
        ({"context": 128, "slots": 4}, "--context-length 128 --max-running-requests 4"),
        ({"tensor_parallel": 2, "pipeline_parallel": 2}, "--tp-size 2 --pp-size 2"),
        ({"dtype": "bfloat16", "memory_share": 0.8}, "--dtype bfloat16 --mem-fraction-static 0.8"),
        ({"quantization": "fp8", "seed": 3}, "--quantization fp8 --random-seed 3"),
        ({"trust_remote_code": True, "lora": {"a": "o/b"}}, "--trust-remote-code --lora-paths a=o/b"),
        ({"args": ["--x"]}, "--x"),
    ],
)
def test_the_command(folder: Path, tmp_path: Path, options: dict[str, Any], flags: str) -> None:
    program = stand_in.program(tmp_path, "sglang")
    spec = plan(folder, program, **options)
    outside = msgspec.json.decode(spec.command[-1], type=OutsideSettings)
    start = f"{program} serve --model-path {folder} --host {{host}} --port {{port}} --served-model-name m"
    assert " ".join(outside.command) == f"{start} {flags}".strip()
    assert (spec.protocol, spec.engine, spec.slots) == ("openai", "sglang", options.get("slots", 256))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("m:7b", {}, "what follows a colon as an adapter"),
        ("m", {"lora": {"m": "/x"}}, "none can be called 'm'"),
        ("m", {"program": "/nowhere/x"}, "no program"),
        ("m", {"gpu_layers": 1}, "unknown option"),
    ],
)
def test_what_cannot_work(folder: Path, tmp_path: Path, name: str, options: dict[str, Any], says: str) -> None:
    program = stand_in.program(tmp_path, "sglang")
    with pytest.raises(ServingError, match=says):
        plan(folder, **{"program": program, "name": name, **options})
