"""The `trunkcall` command; nothing is imported until it runs."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line in sys.argv and give its exit code: 0, 1 for failure, 2 for wrong use."""
    try:
        if sys.argv[1:2] == ["as"]:
            # Old commands have their own ways with flags, and their server should not carry typer.
            from trunkcall.cli.old import run_as

            return run_as(sys.argv[2:])
        from trunkcall.cli.commands.root import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
