"""Which server a command speaks to: the one at --url, else the one that runs on the home."""

from __future__ import annotations

import os
from pathlib import Path

from trunkcall.cli.client import Server
from trunkcall.core.errors import ServingError
from trunkcall.home import Home, locate


def reach(home_flag: Path | None, url: str | None = None, key: str | None = None) -> tuple[Home, Server | None]:
    """The home, and the server that is meant; None when none runs on the home and no address is given.

    Raises ServingError (loading) while that server is still starting.
    """
    home = Home(locate(home_flag, os.environ))
    if url is not None:
        return home, Server(url, key)
    running = home.running()
    if running is None:
        return home, None
    if not running.url:
        raise ServingError(
            "loading", f"the server on {home.path} ({running}) does not listen yet; try again in a moment"
        )
    # Who may read the home administers its server, whatever key is in the environment.
    return home, Server(running.url, home.operator_key() or key)


def required(home_flag: Path | None, url: str | None = None, key: str | None = None) -> Server:
    """The server that is meant; raises ServingError (unreachable) with the remedy when there is none."""
    home, server = reach(home_flag, url, key)
    if server is None:
        raise ServingError(
            "unreachable", f"no server runs on {home.path}: start one with `trunkcall up`, or name one with --url"
        )
    return server
