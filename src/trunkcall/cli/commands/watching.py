"""`trunkcall top`, `requests`, `logs` and `usage`: what the server does, and did."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkcall.cli.commands.flags import ConfigFlag, HomeFlag, JsonFlag, KeyFlag, StoreFlag, UrlFlag
from trunkcall.core.errors import ServingError


def top(url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, json: JsonFlag = False) -> None:
    """Watch the server: models, replicas, speed, the last requests. `q` ends it; into a pipe it prints once."""
    from trunkcall.cli import reached
    from trunkcall.cli.top import top as watch

    watch(reached.required(home, url, key), json)


def requests(
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Tell all of this one; answers have it as a header.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="Those of this model.")] = "",
    caller: Annotated[str, typer.Option(metavar="NAME", help="Those of the key of this name.")] = "",
    errors: Annotated[bool, typer.Option("--errors", help="Those that failed.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 20,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show the latest requests and what happened to each."""
    from trunkcall.cli import reached
    from trunkcall.cli import requests as told

    server = reached.required(home, url, key)
    if id is not None:
        told.show(server, id, json)
    else:
        told.ls(server, model=model, caller=caller, errors=errors, limit=limit, as_json=json)


def logs(
    model: Annotated[str, typer.Argument(metavar="MODEL[/N]", help="A model, or one of its replicas.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1000, help="How many of each replica.")] = 50,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
) -> None:
    """Show what a model's engines wrote."""
    from trunkcall.cli import reached
    from trunkcall.cli.logs import logs as tell

    tell(reached.required(home, url, key), model, follow=follow, lines=lines)


def usage(
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="How far back, such as 12h, 1d, 4w; or a time, such as 2026-01-31.")
    ] = "1d",
    until: Annotated[str, typer.Option(metavar="WHEN", help="The end of the span. Default: now.")] = "",
    by: Annotated[
        str,
        typer.Option(metavar="FIELDS", help="Of model, key, day, hour, replica, protocol and error; between commas."),
    ] = "model",
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show requests, tokens and cost from the ledger."""
    from trunkcall.cli.offline import Offline
    from trunkcall.cli.usage import usage as report

    if csv and json:
        raise ServingError("bad_request", "--csv and --json: only one of them")
    report(home, Offline(config, store), since, until, by, "json" if json else "csv" if csv else "table", url, key)
