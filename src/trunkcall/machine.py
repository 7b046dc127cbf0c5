"""What this host has: cores, memory and GPUs, as engines need to know it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trunkcall.core.models import Machine

_ASK: Final = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
_ASK_SECONDS: Final = 10.0
"""A driver that has just been loaded takes some seconds to answer."""

_Gpu = tuple[str, int, int]
"""Its name, its memory and what of that is free, in bytes; zeros where that is not known."""


def look(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Machine:
    """Physical cores and bytes of memory this process may use, and the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves.

    root: where proc and sys are found.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = _visible(_asked(environ) or _listed(), environ.get("CUDA_VISIBLE_DEVICES"))
    known = all(total for _, total, _ in gpus)
    memory = min(whole, memory_limit(root) or whole)
    return Machine(
        cores=min(allowed, _physical_cores() or allowed),
        memory=memory,
        gpus=tuple(name for name, _, _ in gpus),
        gpu_memory=tuple(total for _, total, _ in gpus) if known else (),
        gpu_free=tuple(free for _, _, free in gpus) if known else (),
        free=min(memory, _available(root)),
    )


def _available(root: Path) -> int:
    """Bytes that could be taken without swapping, as the kernel guesses; 0 where it does not."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def cpu_features() -> frozenset[str]:
    """What the processor can do, in the kernel's words (`avx2`); empty where the kernel does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    # `flags` on x86, `Features` on ARM.
    return frozenset(
        next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that the control groups of this process leave it (a container's limit); None where they set none.

    A limit of an outer group holds for those in it. Both versions of control groups, where systems mount them.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found: list[int] = []
    for line in lines:
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if number == "0":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in kinds.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = mount / path.strip("/")
        # What a container sees as the mount may be its own group already, under a path of the host's.
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(mount))):
            try:
                said = (folder / name).read_text().strip()
            except OSError:
                continue
            if said.isdecimal():
                found.append(int(said))
    return min(found, default=None)


def _physical_cores() -> int:
    """Distinct (package, core) pairs; 0 where the kernel does not tell."""
    try:
        topologies = list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology"))
        return len({((t / "physical_package_id").read_text(), (t / "core_id").read_text()) for t in topologies})
    except OSError:
        return 0


def _asked(environ: Mapping[str, str]) -> list[_Gpu]:
    """What nvidia-smi says; nothing where there is none, or where it fails."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return []
    try:
        answer = subprocess.run([program, *_ASK], capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
        return [_gpu(line) for line in answer.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _gpu(line: str) -> _Gpu:
    # Of a part of a GPU (MIG), and of memory that is the machine's own, it says "[N/A]".
    name, total, free = (word.strip() for word in line.rsplit(",", 2))
    if not total.isdecimal() or not free.isdecimal():
        return name, 0, 0
    return name, int(total) * 2**20, int(free) * 2**20


def _listed() -> list[_Gpu]:
    """The driver's own list, which tells names only."""
    found: list[_Gpu] = []
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in about.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                found.append((line.partition(":")[2].strip(), 0, 0))
    return found


def _visible(gpus: list[_Gpu], wanted: str | None) -> list[_Gpu]:
    """Those that CUDA would show; names other than numbers are not told apart here."""
    if wanted is None:
        return gpus
    numbers: list[int] = []
    for word in (one.strip() for one in wanted.split(",")):
        if word and not word.lstrip("-").isdecimal():
            return gpus
        # CUDA ends its list at the first one that is not there.
        if not word or not 0 <= int(word) < len(gpus):
            break
        numbers.append(int(word))
    return [gpus[number] for number in numbers]
