"""Which engines can be started here, and what would make the others so."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PACKAGES: Final = {"llamacpp": ("xllamacpp",), "transformers": ("llguidance", "torch", "transformers")}
PROGRAMS: Final = {"vllm": "vllm", "sglang": "sglang", "tgi-server": "text-generation-launcher"}
"""The program of each engine that others wrote."""
REMEDIES: Final = {
    "llamacpp": "pip install --force-reinstall trunkcall",
    "transformers": "pip install 'trunkcall[transformers]'",
    "vllm": "pip install 'trunkcall[vllm]', or name its program in TRUNKCALL_VLLM",
    "sglang": "pip install sglang, or name its program in TRUNKCALL_SGLANG",
    "tgi-server": "install text-generation-inference, or name its launcher in TRUNKCALL_TGI",
}
"""For each engine that can be chosen, how to get it."""


def lacking(engine: str) -> str:
    """What keeps one of REMEDIES from being started, with the remedy; empty when nothing does."""
    for package in _PACKAGES.get(engine, ()):
        if find_spec(package) is None:
            return f"the Python package {package!r}; {REMEDIES[engine]}"
    if engine in PROGRAMS and program(engine) is None:
        named = os.environ.get(variable(engine)) or PROGRAMS[engine]
        return f"the program {named!r}; {REMEDIES[engine]}"
    return ""


def installed() -> frozenset[str]:
    """Those of REMEDIES that lack nothing."""
    return frozenset(engine for engine in REMEDIES if not lacking(engine))


def variable(engine: str) -> str:
    """The environment variable that names the program of an engine which others wrote."""
    return f"TRUNKCALL_{engine.removesuffix('-server').upper()}"


def program(engine: str, named: str = "") -> str | None:
    """The absolute path of such an engine's program; named: the one to take, before what the variable names."""
    wanted = named or os.environ.get(variable(engine), "")
    if wanted:
        found = shutil.which(os.path.expanduser(wanted))
    else:
        # A virtual environment that was not activated is not on the PATH.
        name = PROGRAMS[engine]
        found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return os.path.abspath(found) if found else None
