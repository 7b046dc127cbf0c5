"""`trunkcall pull`: a model from the Hub into its cache, with progress bars."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trunkcall import machine
from trunkcall.engines import hub

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from trunkcall.workers.download import Wanted

_SCHEME = "hf:"


def pull(source: str) -> None:
    """Fetch the model, say where it is and how to serve it; where the network is forbidden, the one that is here.

    Raises ServingError for a name that is none, and when the model cannot be had.
    """
    name = hub.parse(source.removeprefix(_SCHEME))
    path = hub.locate(source.removeprefix(_SCHEME), machine.look()) if hub.offline(os.environ) else _fetch(name)
    print(f"{name} is at {path}")
    label = name.repo.rpartition("/")[2].lower()
    print(f"Serve it: trunkcall up --model {label}={name}")


def _fetch(name: hub.HubName) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from trunkcall.workers.download import download

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        return download(hub.wanted(name, machine.look(), hub.cache_folder(os.environ)), Bars(shown))


class Bars:
    """Fits workers.download.Watcher; a bar for each file."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._bars: dict[str, TaskID] = {}

    def begin(self, files: Sequence[Wanted]) -> None:
        """Show all of them."""
        self._bars = {one.path: self._shown.add_task(one.path, total=one.size, completed=one.here) for one in files}

    def got(self, path: str, size: int) -> None:
        """Move the file's bar."""
        self._shown.advance(self._bars[path], size)
