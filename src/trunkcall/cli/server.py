"""The process that `trunkcall up` becomes: the settings are read, then the server runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from trunkcall.config import Flags


class Up(msgspec.Struct, frozen=True):
    """What was asked on the command line, as it is handed over."""

    config: str | None
    home: str | None
    flags: Flags


def serve(asked: Up) -> int:
    """Load the settings and run the server to its end; gives the exit code.

    Raises ServingError for what the user can put right.
    """
    from trunkcall import plugins
    from trunkcall.config import Loaded, load
    from trunkcall.home import Home, locate

    home = Home(locate(Path(asked.home) if asked.home else None, os.environ))

    def read() -> Loaded:
        loaded = load(
            config=Path(asked.config) if asked.config else None, home=home.path, environ=os.environ, flags=asked.flags
        )
        for model in loaded.settings.models.values():
            for source in model.sources:
                plugins.check(source)
        return loaded

    loaded = read()
    from trunkcall.app import run
    from trunkcall.takeover import shims

    shims.hide()
    return run(loaded, home, reread=read)


def main() -> int:
    """Serve what argv[1] asks for, an `Up` in JSON."""
    from trunkcall.cli.output import complain, complain_of_bug
    from trunkcall.core.errors import ServingError

    try:
        return serve(msgspec.json.decode(sys.argv[1], type=Up))
    except ServingError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - no traceback may reach a user
        return complain_of_bug(error)


if __name__ == "__main__":
    sys.exit(main())
