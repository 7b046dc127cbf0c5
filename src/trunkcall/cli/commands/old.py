"""`trunkcall as` and `trunkcall takeover`: the commands of the systems that are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run_as(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[--show] COMMAND ...", help="An old command line as it was written.")
    ] = None,
) -> int:
    """Run an old command line, such as kuwa-executor or vllm serve. `trunkcall as --help` lists them."""
    from trunkcall.cli import old

    return old.run_as(arguments or [])


def takeover(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="kuwa or vllm")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put them. Default: HOME/takeover/SYSTEM.")
    ] = None,
) -> None:
    """Put launchers and modules under an old system's names, so that its documented commands run."""
    from trunkcall.cli import old

    old.takeover(system, into)
