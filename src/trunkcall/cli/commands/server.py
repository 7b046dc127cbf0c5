"""`trunkcall up`, `down`, `status` and `reload`: a server's life."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from trunkcall.cli.commands.flags import ConfigFlag, HomeFlag, JsonFlag, KeyFlag, UrlFlag


def up(
    config: ConfigFlag = None,
    host: Annotated[str | None, typer.Option(help="Address of the main port. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="The main port. Default: 8000.")] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDR=API,…", help="One more address and what it serves; repeatable."),
    ] = None,
    home: HomeFlag = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=SOURCE",
            help="Serve a model from a .gguf file, openai:URL[#model], pocket, debug or dummy; repeatable.",
        ),
    ] = None,
    pocket: Annotated[bool | None, typer.Option("--pocket/--no-pocket", help="Serve the shipped model.")] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error. Default: info.")
    ] = None,
    json_logs: Annotated[
        bool | None, typer.Option("--json-logs/--no-json-logs", help="Write the log as JSON lines.")
    ] = None,
    access_log: Annotated[
        bool | None, typer.Option("--access-log/--no-access-log", help="Log a line for each request.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The ledger: sqlite, or postgresql://… Default: sqlite.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it in the background and end once it is ready.")
    ] = False,
) -> int:
    """Start the server, in the foreground unless told otherwise."""
    import msgspec

    from trunkcall.cli.server import Up
    from trunkcall.config import Flags

    asked = Up(
        config=str(config) if config else None,
        home=str(home) if home else None,
        flags=Flags(
            host=host,
            port=port,
            listen=tuple(listen or ()),
            models=tuple(model or ()),
            pocket=pocket,
            log_level=log_level,
            json_logs=json_logs,
            access_log=access_log,
            store=store,
        ),
    )
    if not detach:
        sys.stdout.flush()
        # The same process goes on without what only the command line needs: typer is 7 MB that a server would keep.
        text = msgspec.json.encode(asked).decode()
        os.execv(sys.executable, [sys.executable, "-P", "-m", "trunkcall.cli.server", text])
    from trunkcall.cli.detach import start

    return start(asked)


def down(
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="How long running answers may go on. Default: drain_timeout."),
    ] = None,
    home: HomeFlag = None,
) -> int:
    """End the server that runs on the home, after its running answers."""
    from trunkcall.cli.detach import down as end

    return end(home, timeout)


def status(
    key: Annotated[
        str | None, typer.Option(envvar="TRUNKCALL_API_KEY", show_default=False, help="The API key, to see models.")
    ] = None,
    home: HomeFlag = None,
    json: JsonFlag = False,
) -> int:
    """Say whether a server runs on the home, and how it is. Exit code: 0 it does, 3 it does not, 4 it is stuck."""
    from trunkcall.cli.status import status as tell

    return tell(home, key, json)


def reload(url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, json: JsonFlag = False) -> None:
    """Have the server read its settings again and apply them; what is not valid changes nothing."""
    from trunkcall.cli import reached
    from trunkcall.cli.reloading import reload as apply

    apply(reached.required(home, url, key), json)
