"""`trunkcall doctor`, `backup`, `restore` and `version`: what an installation needs beside its server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkcall import __version__
from trunkcall.cli.commands.flags import ConfigFlag, HomeFlag, JsonFlag, StoreFlag


def doctor(home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False) -> int:
    """Look at this machine and the settings: what works, what does not, and what to do about it."""
    from trunkcall.cli.doctor import doctor as examine

    return examine(home, config, json)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, such as trunkcall.tar.gz.")],
    store: StoreFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Save the ledger, the journal, keys (as hashes) and added models; a server may run meanwhile."""
    from trunkcall.cli.backup import backup as save
    from trunkcall.cli.offline import Offline

    save(file, home, Offline(config, store))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `trunkcall backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    store: StoreFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Put a backup in place, also into another database; no server may run on the home."""
    from trunkcall.cli.backup import restore as put_back
    from trunkcall.cli.offline import Offline

    put_back(file, home, Offline(config, store), force)


def version(json: JsonFlag = False) -> None:
    """Print the version."""
    import platform

    if json:
        from trunkcall.cli.output import print_json

        print_json({"version": __version__, "python": platform.python_version(), "platform": platform.platform()})
    else:
        print(f"trunkcall {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
