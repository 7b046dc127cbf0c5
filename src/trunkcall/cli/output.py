"""What commands print: tables, JSON and complaints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from trunkcall.core.errors import ServingError


def complain(error: ServingError) -> int:
    """Say on stderr what failed; gives the exit code: 2 where the user's own words were wrong, else 1."""
    print(f"trunkcall: {error.message}", file=sys.stderr)
    return 2 if error.kind == "bad_request" else 1


def complain_of_bug(error: Exception) -> int:
    """The last resort for what nobody expected: one line for the user, the traceback only on request."""
    if os.environ.get("TRUNKCALL_TRACEBACK"):
        raise error
    print(
        f"trunkcall: a bug in Trunkcall: {type(error).__name__}: {error}\n"
        "Please report it with what TRUNKCALL_TRACEBACK=1 shows.",
        file=sys.stderr,
    )
    return 1


def close_pipe() -> int:
    """The reader of our pipe has left: keep the interpreter from complaining when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def printable(text: str) -> str:
    """Text that came from elsewhere, without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\t\n" else f"\\x{ord(one):02x}" for one in text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, one_line: bool = False) -> None:
    """Print rows under columns; into a pipe nothing is cut to a terminal's width.

    one_line: a terminal shows of the last column what fits beside the others, instead of folding them.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", expand=one_line and sys.stdout.isatty())
    for column in columns:
        last = one_line and column == columns[-1]
        table.add_column(column, overflow="ellipsis" if last else "fold", no_wrap=one_line, ratio=1 if last else None)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
