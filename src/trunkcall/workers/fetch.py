"""The program that fetches a model from the Hub before it is started; it ends when that is done.

`python -m trunkcall.workers.fetch JSON`, JSON being protocols.fetching.FetchSettings.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.net.link import ChildLink
from trunkcall.protocols.fetching import FetchSettings, amount
from trunkcall.workers.download import Wanted, download
from trunkcall.workers.program import run

_LINE_SECONDS: Final = 2.0


class Lines:
    """Fits workers.download.Watcher; says in a line now and then how far it is, for a log."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._total = self._here = self._came = 0
        self._began = self._said = time.monotonic()

    def begin(self, files: Sequence[Wanted]) -> None:
        """Say what there is to do."""
        self._total = sum(one.size for one in files)
        self._here = sum(one.here for one in files)
        self._began = self._said = time.monotonic()
        here = f", of which {amount(self._here)} are here" if self._here else ""
        print(f"{self._model}: {len(files)} files, {amount(self._total)}{here}", flush=True)

    def got(self, path: str, size: int) -> None:
        """Count, and say how far it is when that has not been said for a while."""
        with self._lock:
            self._here += size
            self._came += size
            now = time.monotonic()
            if now - self._said < _LINE_SECONDS:
                return
            self._said = now
            line = progress(self._here, self._total, self._came / (now - self._began))
        print(f"{self._model}: {line}", flush=True)


def progress(here: int, total: int, speed: float) -> str:
    """How far it is; speed in bytes per second."""
    share = f"{100 * here // total} %" if total else "100 %"
    left = f", {_duration((total - here) / speed)} left" if speed > 0 else ""
    return f"{share}, {amount(here)} of {amount(total)}, {amount(max(0.0, speed))}/s{left}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{minutes // 60} h {minutes % 60} min"
        if minutes > 99
        else f"{minutes} min"
    )


def _fetch(settings: FetchSettings, link: ChildLink) -> None:
    link.watch()
    try:
        path = download(settings, Lines(settings.repo))
    except ServingError as error:
        print(error.message, file=sys.stderr)
        raise
    print(f"{settings.repo}: it is at {path}", flush=True)


if __name__ == "__main__":
    run("trunkcall.workers.fetch", FetchSettings, _fetch)
