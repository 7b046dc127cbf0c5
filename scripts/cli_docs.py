"""Write docs/cli.md from the command line's own help, or check that it is current."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def page() -> str:
    """The help of every command, in the order of `trunkcall --help`."""
    # typer wraps at the terminal's width, which it takes from here first.
    os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", LANG="C.UTF-8")
    from typer.main import get_command

    from trunkcall.cli.commands.root import app

    parts = [
        "# The command line\n\nWritten by `make docs` from `--help`, which stands in `src/trunkcall/cli/commands/`.\n"
    ]
    root: Any = get_command(app)

    def describe(command: Any, name: str, parent: Any) -> None:
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
        full = context.command_path
        parts.append(f"\n{'#' * (full.count(' ') + 2)} {full}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
        for child in getattr(command, "commands", {}):
            describe(command.commands[child], child, context)

    describe(root, "trunkcall", None)
    return "".join(parts)


def main() -> int:
    """Write, or with --check only compare."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/cli.md is not what --help says; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
