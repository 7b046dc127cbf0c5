"""`trunkcall reload`: have the server read its settings again, and say what that changed."""

from __future__ import annotations

from trunkcall.cli.client import Server
from trunkcall.cli.output import print_json
from trunkcall.control.operations import Reloaded


def reload(server: Server, as_json: bool) -> None:
    """Print what is different now, and what waits for a restart.

    Raises ServingError with the server's reason when the settings are not valid, which changes nothing.
    """
    done = server.ask("POST", "/admin/reload", Reloaded, {})
    if as_json:
        print_json(done)
        return
    print(f"changed: {', '.join(done.changed)}" if done.changed else "nothing has changed")
    if done.restart:
        print(f"waits for a restart of the server: {', '.join(done.restart)}")
