"""`trunkcall takeover SYSTEM`: launchers and modules under the old names, which lead to what replaces them."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path
from typing import Final

import msgspec

from trunkcall import workers
from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.home import locate

MARK: Final = ".trunkcall-takeover"
"""A file that tells a folder of such names from a user's own."""


class System(msgspec.Struct, frozen=True):
    """What an old system put on PATH and on Python's path.

    commands: the names of its programs, each run as `trunkcall as NAME`; programs: the same for those that
    are typed `python -m NAME`; modules: the folder in trunkcall/workers with the modules that its users'
    files import, empty without such files.
    """

    commands: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    modules: str = ""


SYSTEMS: Final = {
    "fastchat": System(
        programs=tuple(
            f"fastchat.serve.{name}"
            for name in (
                "cli",
                "controller",
                "gradio_web_server",
                "gradio_web_server_multi",
                "launch_all_serve",
                "model_worker",
                "multi_model_worker",
                "openai_api_server",
                "register_worker",
                "sglang_worker",
                "shutdown_serve",
                "test_message",
                "test_throughput",
                "vllm_worker",
            )
        )
    ),
    "kuwa": System(("kuwa-executor", "kuwa-kernel"), modules="kuwa_modules"),
    "tgi": System(("text-generation-launcher",)),
    "vllm": System(("vllm",), ("vllm.entrypoints.openai.api_server",), "vllm_modules"),
}


class Placed(msgspec.Struct, frozen=True):
    """Where the names were put, and the line that makes a shell find them."""

    folder: Path
    line: str


def place(system: str, into: Path | None = None) -> Placed:
    """Write the launchers to DIR/bin and the modules to DIR/python.

    into: DIR, by default HOME/takeover/SYSTEM. Nothing that is there is overwritten, unless it is what
    would be written. Raises ServingError: bad_request for an unknown system, conflict for files in the way.
    """
    found = SYSTEMS.get(system)
    if found is None:
        raise ServingError("bad_request", f"nothing of {system!r} is replaced here. {did_you_mean(system, SYSTEMS)}")
    folder = (into or locate(None, os.environ) / "takeover" / system).expanduser().absolute()
    if os.pathsep in str(folder):
        raise ServingError("bad_request", f"{folder}: PATH cannot hold a name with {os.pathsep!r}; choose another DIR")
    mark = f"made by `trunkcall takeover {system}`\n"
    files = {folder / "bin" / name: _launcher(name) for name in found.commands}
    files[folder / "bin" / MARK] = mark
    python = _programs(system, found.programs)
    if found.modules:
        ours = Path(next(iter(workers.__path__))) / found.modules
        for path in ours.rglob("*.py"):
            python[str(path.relative_to(ours))] = _module(system, path.read_text(encoding="utf-8"))
    if python:
        files |= {folder / "python" / name: text for name, text in {**python, MARK: mark}.items()}
    _write(files)
    shell = f'export PATH={shlex.quote(str(folder / "bin"))}:"$PATH"'
    if python:
        shell += f' PYTHONPATH={shlex.quote(str(folder / "python"))}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    return Placed(folder, shell)


def hide() -> None:
    """Take such folders off this process's path and its children's: a server imports and starts the real things."""
    sys.path[:] = _without_ours(sys.path)
    hide_from_children()


def hide_from_children() -> None:
    """Take such folders out of the environment: an engine's program is not what stands in for it."""
    for name in ("PATH", "PYTHONPATH"):
        if name in os.environ:
            os.environ[name] = os.pathsep.join(_without_ours(os.environ[name].split(os.pathsep)))


def _without_ours(path: list[str]) -> list[str]:
    return [entry for entry in path if not (entry and os.path.exists(f"{entry}/{MARK}"))]


def _write(files: dict[Path, str]) -> None:
    try:
        taken = [path for path, text in files.items() if path.exists() and path.read_text(encoding="utf-8") != text]
        if taken:
            raise ServingError(
                "conflict", f"{taken[0]} is there already and is left as it is; choose another place with --into DIR"
            )
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if path.parent.name == "bin" and path.name != MARK:
                path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError("forbidden", f"the names could not be written: {error}") from None


def _launcher(name: str) -> str:
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m trunkcall as {name} "$@"\n'


def _programs(system: str, names: tuple[str, ...]) -> dict[str, str]:
    """Path -> text of the modules that `python -m` finds under these names."""
    files: dict[str, str] = {}
    for name in names:
        *packages, module = name.split(".")
        for depth in range(1, len(packages) + 1):
            files["/".join((*packages[:depth], "__init__.py"))] = _comment(system)
        # -P: a folder called trunkcall in the working directory is not this package.
        files["/".join((*packages, f"{module}.py"))] = f"""{_comment(system)}
import os
import sys

if __name__ == "__main__":
    os.execv({sys.executable!r}, [{sys.executable!r}, "-P", "-m", "trunkcall", "as", {name!r}, *sys.argv[1:]])
"""
    return files


def _comment(system: str) -> str:
    return f"# Put here by `trunkcall takeover {system}`.\n"


def _module(system: str, text: str) -> str:
    return f"""{_comment(system)}import os
import sys

try:
    import trunkcall.workers
except ImportError:
    if sys.prefix == {sys.prefix!r}:
        raise
    # This Python has no Trunkcall: the one that it was installed in goes on with the same command line.
    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.orig_argv[1:]])

{text}"""
