"""What `text-generation-launcher --env` prints: the machine, this program and its engines."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Final

from trunkcall import __version__
from trunkcall.engines.installed import REMEDIES, lacking
from trunkcall.machine import look

_NOTHING: Final = "N/A"


def environment(environ: Mapping[str, str]) -> str:
    """A heading and a line for each thing; no variable's value but the image's label."""
    machine = look(environ)
    gpus = machine.gpu_memory or (0,) * len(machine.gpus)
    rows = {
        "Target": f"{platform.machine()}-{sys.platform}",
        "Trunkcall version": __version__,
        "Python version": platform.python_version(),
        "Docker label": environ.get("DOCKER_LABEL") or _NOTHING,
        "CPU cores": str(machine.cores),
        "Memory": _gib(machine.memory),
        "GPUs": ", ".join(f"{name} {_gib(size)}" for name, size in zip(machine.gpus, gpus, strict=True)) or _NOTHING,
        "Engines": ", ".join(name for name in REMEDIES if not lacking(name)) or _NOTHING,
    }
    return "Runtime environment:\n" + "".join(f"{what}: {found}\n" for what, found in rows.items())


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size else ""
