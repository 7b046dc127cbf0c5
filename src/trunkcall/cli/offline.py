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


def load(home: Home, file: Path | None, store: str | None = None) -> config.Loaded:
    """The settings; raises ServingError (bad_request) for such as are not valid."""
    return config.load(config=file, home=home.path, environ=os.environ, flags=config.Flags(store=store))


def find(home: Home, told: Offline) -> tuple[str, config.Loaded]:
    """The ledger's URL, and the settings; raises ServingError (bad_request) for settings that are not valid."""
    loaded = load(home, told.file, told.store)
    return home.ledger(loaded.settings.store), loaded
