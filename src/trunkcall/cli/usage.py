"""`trunkcall usage`: requests, tokens and cost, from the running server or from the ledger itself."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec

from trunkcall.cli.client import Server
from trunkcall.cli.offline import Offline, find
from trunkcall.cli.output import print_json, printable
from trunkcall.cli.reached import reach
from trunkcall.config_file import duration
from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.home import Home
from trunkcall.store import ledger
from trunkcall.store.importer import Importer

Form = Literal["table", "json", "csv"]
_SLACK: Final = 1.0
"""Seconds by which a span may differ from what was asked for without a word about it."""


class Usage(msgspec.Struct, frozen=True):
    """What the server answers; as ledger.Usage in plain values."""

    rows: list[dict[str, Any]]
    total: dict[str, Any]
    since: float | None
    until: float | None


def usage(
    home_flag: Path | None,
    told: Offline,
    since: str,
    until: str,
    by: str,
    form: Form,
    url: str | None = None,
    key: str | None = None,
) -> None:
    """Print what was used in a span of time, one row for each group, and the total.

    since: how far back, such as 12h, or a time; until: a time, empty for now. Raises ServingError.
    """
    groups = tuple(word.strip() for word in by.split(",") if word.strip())
    for group in groups:
        if group not in ledger.GROUPS:
            raise ServingError("bad_request", f"--by: cannot group by {group!r}. {did_you_mean(group, ledger.GROUPS)}")
    start, end = _moment(since, "--since"), _moment(until, "--until") if until else None
    home, server = reach(home_flag, url, key)
    found = None if server is None else _from_server(server, start, end, groups)
    if found is None:
        found = _from_ledger(home, told, start, end, groups, imports=server is None)
    if form == "json":
        print_json(found)
    elif form == "csv":
        _print_csv(groups, found)
    elif found.rows:
        _print_table(groups, found)
    else:
        print(f"nothing was used {_span(start, end)}")
    if found.since is not None and abs(found.since - start) > _SLACK:
        why = "more was asked for than is kept" if found.since > start else "only whole hours or days of it are kept"
        print(f"trunkcall: these are sums {_span(found.since, found.until)}: {why}", file=sys.stderr)


def _moment(text: str, flag: str) -> float:
    """A time, or how far back."""
    try:
        return ledger.moment(text)
    except ServingError:
        if text[:4].isdecimal() and "-" in text:
            raise ServingError("bad_request", f"{flag}: {text!r} is no time, such as 2026-01-31") from None
        return time.time() - duration(text, flag)
    except OverflowError:
        raise ServingError("bad_request", f"{flag}: {text!r} is too far from now") from None


def _from_server(server: Server, since: float, until: float | None, by: tuple[str, ...]) -> Usage | None:
    """None when it has no administration, as the servers of old commands have none."""
    span = {"since": f"{since:.3f}"} if until is None else {"since": f"{since:.3f}", "until": f"{until:.3f}"}
    try:
        return server.read(f"/admin/usage?{urlencode({**span, 'by': ','.join(by)})}", Usage)
    except ServingError as error:
        if error.status == 404:
            return None
        raise


def _from_ledger(
    home: Home, told: Offline, since: float, until: float | None, by: tuple[str, ...], *, imports: bool
) -> Usage:
    """imports: no server is there that does it."""
    url, _ = find(home, told)
    if imports:
        home.ensure()
        Importer(home.journal, url).import_now()
    return msgspec.convert(msgspec.to_builtins(ledger.usage(url, since, until, by)), Usage)


def _span(since: float, until: float | None) -> str:
    def told(moment: float) -> str:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"

    return f"since {told(since)}" if until is None else f"from {told(since)} to {told(until)}"


def _print_csv(by: Sequence[str], found: Usage) -> None:
    columns = list(found.rows[0] if found.rows else [*by, *found.total])
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found.rows)


def _print_table(by: Sequence[str], found: Usage) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Without columns of nothing but zeros a row fits into a terminal.
    unused = {name for name in ("open", "failed", "estimated", "cached_tokens", "cost") if not found.total[name]}
    numbers = [name for name in found.total if name not in unused]
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=len(found.rows) > 1, footer_style="bold")
    for place, name in enumerate(by):
        table.add_column(name.upper(), "total" if place == 0 else "", overflow="fold")
    for name in numbers:
        heading = name.removeprefix("mean_").replace("_", " ").upper()
        table.add_column(heading, _number(name, found.total[name]), justify="right", overflow="fold")
    for row in found.rows:
        named = (Text(printable(row[name]) or "-") for name in by)
        table.add_row(*named, *(_number(name, row[name]) for name in numbers))
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "cost":
        # One token may cost a millionth.
        return f"{value:,.6f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
