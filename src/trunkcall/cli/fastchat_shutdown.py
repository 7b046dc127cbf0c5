"""`fastchat.serve.shutdown_serve`: ends what `trunkcall as fastchat.serve.…` started here, and nothing else."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trunkcall.cli.output import print_table
from trunkcall.core.errors import ServingError
from trunkcall.home import Home, ServerInfo, locate

_PREFIX: Final = "fastchat.serve."
_ALL: Final = "all"
_END_SECONDS: Final = 60.0
"""More than a server gives its running answers."""
_LOOK_SECONDS: Final = 0.1


def run(arguments: Sequence[str]) -> int:
    """End them and wait until they are gone; gives the exit code.

    Raises ServingError (forbidden) for another user's, deadline for one that stays.
    """
    parser = argparse.ArgumentParser(
        prog="fastchat.serve.shutdown_serve",
        description="End the servers that were started in place of FastChat's by this user, each by its process id.",
    )
    parser.add_argument(
        "--down",
        choices=(_ALL, "controller", "model_worker", "openai_api_server"),
        default=_ALL,
        help="which of them (default: %(default)s)",
    )
    asked = parser.parse_args(arguments)
    homes = [
        (home, server)
        for home, server in _serving(locate(None, os.environ) / "as")
        if asked.down in (_ALL, server.command.removeprefix(_PREFIX))
    ]
    if not homes:
        print("nothing of the kind runs here")
        return 0
    for _, server in homes:
        try:
            os.kill(server.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise ServingError("forbidden", f"{server.command} ({server}) is another user's") from None
    _wait([home for home, _ in homes])
    print_table(("ended", "was", "process"), [(server.command, server.url, str(server.pid)) for _, server in homes])
    return 0


def _serving(root: Path) -> list[tuple[Home, ServerInfo]]:
    found: list[tuple[Home, ServerInfo]] = []
    for folder in sorted(root.glob("*")):
        home = Home(folder)
        server = home.running()
        if server is not None and server.pid and server.command.startswith(_PREFIX):
            found.append((home, server))
    return found


def _wait(homes: list[Home]) -> None:
    limit = time.monotonic() + _END_SECONDS
    for home in homes:
        while (server := home.running()) is not None:
            if time.monotonic() > limit:
                raise ServingError("deadline", f"{server} did not end in {_END_SECONDS:g} s: it is still answering")
            time.sleep(_LOOK_SECONDS)
