"""The program that runs a user's file as its own, with Kuwa's modules in reach."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trunkcall.core.errors import ServingError
from trunkcall.net.link import VARIABLE, ChildLink
from trunkcall.workers.kuwa_child import Child, end_soon, exit_code
from trunkcall.workers.kuwa_classes import SERVE

MODULES: Final = Path(__file__).with_name("kuwa_modules")
"""A folder for Python's path: the names that old files import, under the modules that they import them from."""


def main() -> None:
    """Run what the command line names and end the process."""
    linked = VARIABLE in os.environ
    link = ChildLink()
    link.watch()

    def report(address: str, about: dict[str, Any]) -> None:
        link.report(address=address, about=about)

    code, reason = _run(sys.argv[1:], Child(report))
    if reason:
        print(reason, file=sys.stderr)
        if linked:
            link.report(error=reason)
    end_soon(code)
    sys.exit(code)


def _run(words: Sequence[str], child: Child) -> tuple[int, str]:
    """The exit code and, where user code ended without having served, why."""
    SERVE.set(child.serve)
    try:
        _run_as_main(words)
    except SystemExit as end:
        code = exit_code(end)
        if isinstance(end.code, str):
            return code, end.code
        # Without words of its own: argparse has written to stderr, and --help is no failure.
        return code or child.exit_code, ""
    except ServingError as error:
        return 1, error.message
    except Exception as error:  # noqa: BLE001
        # The last line of defence: the log has the traceback, the parent gets one line.
        traceback.print_exc()
        return 1, f"{' '.join(words[:1])}: {type(error).__name__}: {error}"
    if not child.called:
        return 1, f"{words[0]} ended without serving: its last line must call run(), as in `MyExecutor().run()`"
    return child.exit_code, ""


def _run_as_main(words: Sequence[str]) -> None:
    match words:
        case ["-m", module, *arguments]:
            sys.argv = ["-m", *arguments]
            sys.path[:0] = [str(Path.cwd()), str(MODULES)]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [file, *_] if Path(file).is_file():
            sys.argv = list(words)
            sys.path[:0] = [str(Path(file).resolve().parent), str(MODULES)]
            runpy.run_path(file, run_name="__main__")
        case [file, *_]:
            raise ServingError("bad_request", f"{file} does not exist")
        case _:
            raise ServingError("bad_request", "which file? Write: trunkcall as python FILE.py ARGUMENT...")
