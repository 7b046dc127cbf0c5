"""The replica that describes the machine it runs on: for operators who reach it only through a chat."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from trunkcall import machine
from trunkcall.backends.scripted import Scripted, ScriptedOptions, for_each_prompt
from trunkcall.core.models import ModelSettings, read_options

_PACKAGES: Final = ("trunkcall", "torch", "transformers", "vllm", "xllamacpp")
"""What runs models; looked up and never imported, because torch alone takes seconds and 300 MB."""


def connect(target: str, settings: ModelSettings, model: str) -> Scripted:
    """`sysinfo` answers at once; `sysinfo:0.05` waits so many seconds before each piece.

    Raises ServingError (bad_request) as Scripted does, and for wrong options.
    """
    options = read_options(settings, ScriptedOptions)
    return Scripted(lambda request: for_each_prompt(request, page()), target, settings, options)


def page() -> str:
    """What this machine is and has, as markdown."""
    host = machine.look()
    sections = {
        "System": {
            "Platform": platform.platform(),
            "Python": f"{platform.python_implementation()} {platform.python_version()}",
            "CPU": f"{host.cores} cores, {platform.machine()}",
            "Memory": f"{host.memory / 2**30:.1f} GiB",
            "GPU": ", ".join(host.gpus) or "none",
        },
        "Packages": dict(_versions()),
    }
    lines = ["# This machine"]
    for title, facts in sections.items():
        lines += ["", f"## {title}", "", *(f"- {name}: {fact}" for name, fact in facts.items())]
    return "\n".join(lines)


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"
