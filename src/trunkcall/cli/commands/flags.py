"""Flags that several groups of commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeFlag = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="State directory. Default: TRUNKCALL_HOME, or the platform's place."),
]
ConfigFlag = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file. Default: ./trunkcall.yaml, or HOME/trunkcall.yaml."),
]
StoreFlag = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The ledger, where the settings do not say it.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UrlFlag = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A server elsewhere. Default: the one that runs on the home."),
]
KeyFlag = Annotated[
    str | None,
    typer.Option("--key", envvar="TRUNKCALL_API_KEY", show_default=False, help="The API key, of role admin."),
]
