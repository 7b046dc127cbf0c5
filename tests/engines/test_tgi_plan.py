"""The command line of text-generation-inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines import stand_in
from engines.model_folders import put_model

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.tgi import Tgi
from trunkcall.protocols.outside_host import OutsideSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_model(tmp_path / "model")


def plan(target: object, program: Path | str, **options: Any) -> LaunchSpec:
    source = parse_source(f"tgi-server:{target}")
    model = ModelSettings(name="m", sources=(source,), options={"program": str(program), **options})
    return Tgi().plan(model, Machine(8, 64 * 2**30, ("GPU",) * 4))


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ""),
        ({"context": 128}, "--max-total-tokens 128 --max-input-tokens 127"),
        ({"slots": 4, "tensor_parallel": 2}, "--max-concurrent-requests 4 --num-shard 2"),
        ({"dtype": "float16", "memory_share": 0.8}, "--dtype float16 --cuda-memory-fraction 0.8"),
        ({"quantization": "awq", "trust_remote_code": True}, "--quantize awq --trust-remote-code"),
        ({"lora": {"a": "o/b", "c": "d/e"}}, "--lora-adapters a=o/b,c=d/e"),
        ({"args": ["--x"]}, "--x"),
    ],
)
def test_the_command(folder: Path, tmp_path: Path, options: dict[str, Any], flags: str) -> None:
    program = stand_in.program(tmp_path, "tgi-server")
    spec = plan(folder, program, **options)
    outside = msgspec.json.decode(spec.command[-1], type=OutsideSettings)
    start = f"{program} --model-id {folder} --hostname {{host}} --port {{port}}"
    assert " ".join(outside.command) == f"{start} {flags}".strip()
    # Two on one machine must not meet.
    assert (outside.env["PROMETHEUS_PORT"], outside.env["MASTER_PORT"]) == ("{port2}", "{port3}")
    assert "{port}" in outside.env["SHARD_UDS_PATH"]
    assert (spec.protocol, spec.engine, spec.slots) == ("openai", "tgi-server", options.get("slots", 128))


def test_what_cannot_work(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = stand_in.program(tmp_path, "tgi-server")
    with pytest.raises(ServingError, match="float16 and bfloat16"):
        plan(folder, program, dtype="float32")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("TRUNKCALL_TGI", raising=False)
    with pytest.raises(ServingError, match="text-generation-launcher is not installed here") as caught:
        plan(folder, "")
    assert caught.value.kind == "unsupported"
