"""A bar on the terminal for a batch, and a line while its model is started."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from trunkcall.core.events import Usage

_SHOWN: Final = 100
"""Characters of a line of an engine's log."""


@contextmanager
def starting(model: str) -> Generator[Callable[[str], None]]:
    """A line on stderr while the block runs, on a terminal; what it gives is called with the engine's last words."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(f"Starting {escape(model)}") as status:
        yield lambda line: status.update(f"Starting {escape(model)} [dim]{escape(line[:_SHOWN])}[/dim]")


@contextmanager
def bar(what: str, total: int, wanted: bool) -> Generator[Callable[[Usage | None], None]]:
    """A bar on stderr while the block runs; what it gives is called at each answer with its token counts."""
    if not wanted:
        yield lambda usage: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[tokens]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, tokens="")
        tokens = 0

        def told(usage: Usage | None) -> None:
            nonlocal tokens
            tokens += usage.completion if usage is not None else 0
            speed = tokens / max(progress.tasks[task].elapsed or 0, 1e-9)
            progress.update(task, advance=1, tokens=f"{speed:.0f} tok/s" if tokens else "")

        yield told
