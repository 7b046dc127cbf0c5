"""What engines need, and where their programs are looked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trunkcall.engines import installed as module
from trunkcall.engines.installed import REMEDIES, installed, lacking, program, variable


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    for engine in REMEDIES:
        monkeypatch.delenv(variable(engine), raising=False)


def put(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"llguidance", "xllamacpp", "transformers"}
    monkeypatch.setattr(module, "find_spec", lambda name: name if name in there else None)
    assert lacking("llamacpp") == ""
    assert lacking("transformers") == "the Python package 'torch'; pip install 'trunkcall[transformers]'"
    assert installed() == {"llamacpp"}
    there.add("torch")
    assert installed() == {"llamacpp", "transformers"}


@pytest.mark.parametrize(
    ("engine", "name"), [("vllm", "vllm"), ("sglang", "sglang"), ("tgi-server", "text-generation-launcher")]
)
def test_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, name: str) -> None:
    assert lacking(engine) == f"the program {name!r}; {REMEDIES[engine]}"
    beside = put(tmp_path / "beside" / name)
    assert (program(engine), lacking(engine)) == (beside, "")
    on_path = put(tmp_path / "path" / name)
    assert program(engine) == on_path
    monkeypatch.setenv(variable(engine), str(tmp_path / "gone"))
    assert str(tmp_path / "gone") in lacking(engine)
    monkeypatch.setenv(variable(engine), put(tmp_path / "own" / "its name"))
    assert program(engine) == str(tmp_path / "own" / "its name")
    assert program(engine, beside) == beside
    assert variable(engine) in REMEDIES[engine]
