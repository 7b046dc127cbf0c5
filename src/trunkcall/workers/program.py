"""The frame of a worker's program: its settings are JSON on the command line, and its parent is told why it failed."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeVar

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.net.link import ChildLink

S = TypeVar("S", bound=msgspec.Struct)


def run(name: str, settings: type[S], work: Callable[[S, ChildLink], None]) -> NoReturn:
    """Do the work, and end the process at once: other threads may be inside native code that cannot be unloaded.

    name: the program's module; settings: their type. A ServingError that the work raises is told by its message.
    Exit code: 0 when the work returned, else 1.
    """
    code = 1
    link = ChildLink()
    try:
        work(_read(name, settings), link)
        code = 0
    except ServingError as error:
        if error.detail:
            print(error.detail, file=sys.stderr)
        link.report(error=error.message)
    except Exception as error:  # noqa: BLE001
        # The last line of defence: the parent is told, the log has the traceback.
        traceback.print_exc()
        link.report(error=f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _read(name: str, settings: type[S]) -> S:
    try:
        return msgspec.json.decode(sys.argv[1], type=settings)
    except (msgspec.DecodeError, IndexError) as error:
        raise ServingError("bad_request", f"{name} needs its settings as JSON: {error}") from error
