"""`trunkcall usage`: requests and tokens, from the running server or from the ledger itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from trunkcall import config
from trunkcall.cli.client import Server
from trunkcall.cli.models import reach
from trunkcall.cli.output import print_json, print_table
from trunkcall.config_file import duration
from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.home import Home
from trunkcall.store import ledger
from trunkcall.store.importer import Importer


class _Usage(msgspec.Struct):
    rows: list[dict[str, Any]]


def usage(home_flag: Path | None, file: Path | None, since: str, by: str, as_json: bool) -> None:
    """Print what was used since a while ago, one row for each group."""
    groups = tuple(word.strip() for word in by.split(",") if word.strip())
    for group in groups:
        if group not in ledger.GROUPS:
            raise ServingError("bad_request", f"--by: cannot group by {group!r}. {did_you_mean(group, ledger.GROUPS)}")
    start = time.time() - duration(since, "--since")
    home, server = reach(home_flag)
    rows = None if server is None else _from_server(server, start, groups)
    if rows is None:
        rows = _from_ledger(home, file, start, groups, imports=server is None)
    if as_json:
        print_json({"rows": rows})
    elif rows:
        print_table([name.upper() for name in rows[0]], [[_cell(value) for value in row.values()] for row in rows])
    else:
        print(f"nothing was used in the last {since}")


def _from_server(server: Server, since: float, by: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """None when it has no administration, as the servers of old commands have none."""
    query = urlencode({"since": f"{since:.3f}", "by": ",".join(by)})
    try:
        return server.read(f"/admin/usage?{query}", _Usage).rows
    except ServingError as error:
        if error.status == 404:
            return None
        raise


def _from_ledger(
    home: Home, file: Path | None, since: float, by: tuple[str, ...], *, imports: bool
) -> list[dict[str, Any]]:
    """imports: no server is there that does it."""
    loaded = config.load(config=file, home=home.path, environ=os.environ, flags=config.Flags())
    home.ensure()
    url = home.ledger_url if loaded.settings.store == "sqlite" else loaded.settings.store
    if imports:
        Importer(home.journal, url).import_now()
    return [msgspec.to_builtins(row) for row in ledger.usage(url, since, by=by)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return "-" if value is None or value == "" else str(value)
