"""What this host has: cores, memory and GPUs, as engines need to know it."""

from __future__ import annotations

import os
from pathlib import Path

from trunkcall.core.models import Machine


def look() -> Machine:
    """Physical cores this process may use, memory in bytes, and the names of NVIDIA GPUs."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(cores=min(allowed, _physical_cores() or allowed), memory=memory, gpus=_gpus())


def _physical_cores() -> int:
    """Distinct (package, core) pairs; 0 where the kernel does not tell."""
    try:
        topologies = list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology"))
        return len({((t / "physical_package_id").read_text(), (t / "core_id").read_text()) for t in topologies})
    except OSError:
        return 0


def _gpus() -> tuple[str, ...]:
    names: list[str] = []
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in about.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    return tuple(names)
