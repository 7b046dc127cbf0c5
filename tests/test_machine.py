"""What the host has, with an nvidia-smi of our own."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from trunkcall.core.models import Machine
from trunkcall.machine import cpu_features, look, memory_limit

TWO = "NVIDIA H200, 143771, 140000\nNVIDIA, RTX 4090, 24564, 512"
MIB = 2**20


def seen(folder: Path, said: str, code: int = 0, **environ: str) -> Machine:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {code}\n")
    program.chmod(0o755)
    return look({"PATH": f"{folder}:/usr/bin:/bin", **environ})


def test_this_machine() -> None:
    found = look()
    assert found.cores >= 1
    assert found.memory > 2**28
    assert 0 < found.free <= found.memory
    assert {"x86_64": "sse2", "aarch64": "asimd"}[platform.machine()] in cpu_features()


def test_gpus(tmp_path: Path) -> None:
    found = seen(tmp_path, TWO)
    assert found.gpus == ("NVIDIA H200", "NVIDIA, RTX 4090")
    assert found.gpu_memory == (143771 * MIB, 24564 * MIB)
    assert found.gpu_free == (140000 * MIB, 512 * MIB)


def test_memory_that_is_not_told(tmp_path: Path) -> None:
    found = seen(tmp_path, "NVIDIA GB10, [N/A], [N/A]")
    assert (found.gpus, found.gpu_memory, found.gpu_free) == (("NVIDIA GB10",), (), ())


@pytest.mark.parametrize(("said", "code"), [("NVIDIA-SMI has failed", 9), ("No devices were found", 0)])
def test_a_driver_that_fails(tmp_path: Path, said: str, code: int) -> None:
    assert seen(tmp_path, said, code).gpus == look({"PATH": "/nowhere"}).gpus


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("1", ["NVIDIA, RTX 4090"]),
        ("1,0", ["NVIDIA, RTX 4090", "NVIDIA H200"]),
        ("0,7,1", ["NVIDIA H200"]),
        ("", []),
        ("-1", []),
        ("GPU-8932f937", ["NVIDIA H200", "NVIDIA, RTX 4090"]),
    ],
)
def test_those_that_cuda_is_told_to_use(tmp_path: Path, wanted: str, names: list[str]) -> None:
    assert list(seen(tmp_path, TWO, CUDA_VISIBLE_DEVICES=wanted).gpus) == names


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"memory.max": "1000"}, 1000),
        ("0::/a.slice/b", {"a.slice/b/memory.max": "max", "a.slice/memory.max": "700", "memory.max": "900"}, 700),
        ("0::/of/the/host", {"memory.max": "800"}, 800),
        ("0::/", {"memory.max": "max"}, None),
        ("3:cpu,cpuacct:/\n2:memory:/docker/x", {"memory/memory.limit_in_bytes": "600"}, 600),
        ("2:memory:/d", {"memory/d/memory.limit_in_bytes": "500", "memory/memory.limit_in_bytes": str(2**63)}, 500),
        ("2:memory:/\n0::/", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, 2**63 - 4096),
        ("3:cpu:/", {"memory.max": "1"}, None),
        (None, {"memory.max": "1"}, None),
    ],
)
def test_the_limits_of_control_groups(tmp_path: Path, groups: str | None, files: dict[str, str], limit: int) -> None:
    put = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {**put, **({} if groups is None else {"proc/self/cgroup": groups})}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert memory_limit(tmp_path) == limit
    whole = look({}, tmp_path / "elsewhere").memory
    assert look({}, tmp_path).memory == min(limit or whole, whole)
