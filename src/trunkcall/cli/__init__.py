"""The `trunkcall` command; nothing is imported until it runs."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line in sys.argv and give its exit code: 0, 1 for failure, 2 for wrong use."""
    try:
        from trunkcall.cli.commands import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
