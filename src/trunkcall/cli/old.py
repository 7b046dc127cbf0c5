"""`trunkcall as` and `trunkcall takeover`: the commands of the systems that are replaced."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from trunkcall.cli.output import close_pipe, complain, complain_of_bug
from trunkcall.core.errors import ServingError

PROGRAMS: Final = {
    "fastchat.serve.cli": ("trunkcall.cli.fastchat_chat", "FastChat's chat in the terminal"),
    "fastchat.serve.register_worker": ("trunkcall.cli.fastchat_register", "tell a controller of a worker"),
    "fastchat.serve.shutdown_serve": ("trunkcall.cli.fastchat_shutdown", "end what was started in FastChat's place"),
    "fastchat.serve.test_message": ("trunkcall.cli.fastchat_message", "one question to a worker"),
    "fastchat.serve.test_throughput": ("trunkcall.cli.fastchat_throughput", "many questions at once"),
}
"""Old commands that serve nothing: name -> module whose `run` takes the arguments, and what it is."""


def run_as(arguments: list[str]) -> int:
    """Run an old command line and give its exit code; every failure is one or two lines on stderr."""
    from trunkcall.takeover import commands, shims

    shims.hide()
    try:
        try:
            return commands.run(arguments, PROGRAMS)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stdout.flush()
    except ServingError as error:
        return complain(error)
    except BrokenPipeError:
        return close_pipe()
    except Exception as error:  # noqa: BLE001 - no traceback may reach a user
        return complain_of_bug(error)


def takeover(system: str, into: Path | None) -> None:
    """Put the old names of a system where the shell and Python find them, and say how."""
    from trunkcall.takeover import shims

    placed = shims.place(system, into)
    print(placed.line)
