"""The settings and the ledger of a home, as a command finds them that asks no server."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from trunkcall import config
from trunkcall.home import Home


class Offline(msgspec.Struct, frozen=True):
    """Where a command was told to look: a settings file, and a ledger where that does not say it."""

    file: Path | None = None
    store: str | None = None


def find(home: Home, told: Offline) -> tuple[str, config.Loaded]:
    """The ledger's URL, and the settings; raises ServingError (bad_request) for settings that are not valid."""
    flags = config.Flags(store=told.store)
    loaded = config.load(config=told.file, home=home.path, environ=os.environ, flags=flags)
    return home.ledger(loaded.settings.store), loaded
