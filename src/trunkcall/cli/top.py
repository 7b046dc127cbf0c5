"""`trunkcall top`: what the server does, as it does it."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

import msgspec

from trunkcall.apis.admin_server import ModelActivity, Status
from trunkcall.cli.client import Server
from trunkcall.cli.models import Models, state, trouble
from trunkcall.cli.output import print_json, printable
from trunkcall.cli.requests import Page, clock, notes, span
from trunkcall.cli.requests import state as state_of
from trunkcall.control.stories import Story
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView, ReplicaView
from trunkcall.protocols.fetching import amount

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PACE_SECONDS: Final = 1.0
SNAPSHOT_SECONDS: Final = 0.5
"""Between the two looks that one snapshot takes, so that it has a speed."""
SNAPSHOT_LINES: Final = 40
REQUESTS: Final = 50
_ENDS: Final = frozenset(b"qQ\x03")
_MOST_ROWS: Final = 12
"""Of models and of replicas; the busiest come first."""


class Snapshot(msgspec.Struct, frozen=True):
    """The server at one moment; at: monotonic seconds."""

    at: float
    status: Status
    models: tuple[ModelView, ...]
    requests: tuple[Story, ...]


class Activity(msgspec.Struct, frozen=True):
    """A model between two snapshots."""

    view: ModelView
    counted: ModelActivity
    tokens_per_second: float


def look(server: Server) -> Snapshot:
    """Ask the server; raises ServingError."""
    status = server.read("/admin/status", Status)
    models = server.read("/admin/models", Models).models
    page = server.read(f"/admin/requests?limit={REQUESTS}", Page)
    return Snapshot(time.monotonic(), status, tuple(models), tuple(page.requests))


def activities(before: Snapshot, now: Snapshot) -> list[Activity]:
    """What each model does, the busiest first."""
    counted = {one.name: one for one in now.status.models}
    earlier = {one.name: one.completion_tokens for one in before.status.models}
    seconds = max(now.at - before.at, 1e-3)
    # Another process of the server counts anew.
    same = before.status.pid == now.status.pid
    found: list[Activity] = []
    for view in now.models:
        if one := counted.get(view.name):
            more = one.completion_tokens - earlier.get(view.name, 0) if same else 0
            found.append(Activity(view, one, max(0.0, more / seconds)))
    return sorted(found, key=lambda one: (-one.counted.running - one.counted.waiting, -one.counted.requests))


def picture(server: str, before: Snapshot, now: Snapshot, height: int) -> RenderableType:
    """All of it in at most so many lines, for 80 columns and more."""
    from rich.console import Group
    from rich.text import Text

    found = activities(before, now)
    status = now.status
    wrong = "; ".join(one.reason for one in (status.condition.journal, status.condition.ledger) if not one.ok)
    running = sum(one.counted.running for one in found)
    waiting = sum(one.counted.waiting for one in found)
    speed = sum(one.tokens_per_second for one in found)
    head = Text.assemble(
        ("trunkcall ", "bold"),
        f"{status.version}  {server}  up {duration(status.uptime_seconds)}  {amount(status.memory)}",
        ("  draining" if status.draining else "", "yellow"),
        (f"  {wrong}" if wrong else "", "red"),
    )
    load = Text(f"{running} running  {waiting} waiting  {speed:.1f} tokens/s", style="bold")
    replicas = sorted((r for one in found for r in one.view.replicas), key=_urgency)
    rows = min(_MOST_ROWS, max(1, (height - 8) // 3))
    models = _model_table(found[:rows])
    engines = _replica_table(replicas[:rows])
    left = height - 6 - min(rows, len(found)) - min(rows, len(replicas))
    return Group(head, load, "", models, "", engines, "", _request_table(now.requests[: max(1, left - 3)]))


def _model_table(found: Sequence[Activity]) -> Table:
    table = _table(("MODEL", 2), ("STATE", 2), "RUN", "WAIT", "TOKENS/S", "FIRST", "REQUESTS", "FAILED")
    for one in found:
        counted = one.counted
        table.add_row(
            printable(counted.name),
            state(one.view),
            str(counted.running),
            str(counted.waiting),
            f"{one.tokens_per_second:.1f}",
            span(counted.first_token_ms),
            str(counted.requests),
            str(counted.failed),
        )
    return table


def _replica_table(replicas: Sequence[ReplicaView]) -> Table:
    table = _table(("REPLICA", 2), ("STATE", 1), "RUN", "MEMORY", ("NOTES", 3))
    for one in replicas:
        # What it will need is no memory that it takes.
        memory = one.rss if one.state == "off" else one.rss or one.memory
        told = trouble(one) or one.engine or one.source
        run = str(one.in_flight) if one.slots is None else f"{one.in_flight}/{one.slots}"
        table.add_row(printable(one.id), one.state, run, amount(memory) if memory else "-", printable(told))
    return table


def _request_table(stories: Sequence[Story]) -> Table:
    table = _table(("TIME", 0), ("MODEL", 2), ("STATE", 2), "QUEUE", "FIRST", "TOTAL", "TOKENS", ("NOTES", 3))
    for one in stories:
        style = "red" if one.error else ""
        table.add_row(
            clock(one.opened_at),
            printable(one.asked or one.model),
            printable(state_of(one)),
            span(one.queue_ms),
            span(one.first_token_ms),
            span(one.total_ms),
            f"{one.prompt_tokens}+{one.completion_tokens}",
            printable(notes(one)),
            style=style,
        )
    return table


def _table(*columns: str | tuple[str, int]) -> Table:
    """Numbers stand to the right and are never cut; words share what is left by their weights, in one line each."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for column in columns:
        if isinstance(column, str):
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column[0], ratio=column[1] or None, no_wrap=True, overflow="ellipsis")
    return table


def _urgency(replica: ReplicaView) -> tuple[bool, bool, int]:
    return (not replica.error, replica.state in ("ready", "off"), -replica.in_flight)


def duration(seconds: float) -> str:
    """A long time in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def top(server: Server, as_json: bool) -> None:
    """Show what the server does until `q` or Ctrl-C; one snapshot where stdout is no terminal."""
    first = look(server)
    if as_json:
        print_json({"status": first.status, "models": first.models, "requests": first.requests})
        return
    from rich.console import Console

    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        time.sleep(SNAPSHOT_SECONDS)
        now = look(server)
        Console(width=_width()).print(picture(server.url, first, now, SNAPSHOT_LINES))
        return
    with _keys(sys.stdin):
        try:
            _live(Console(), server, first)
        except KeyboardInterrupt:
            return


def _width() -> int:
    return max(80, shutil.get_terminal_size((100, 24)).columns)


def _live(console: Console, server: Server, first: Snapshot) -> None:
    from rich.live import Live

    before = now = first
    trouble = ""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            shown = picture(server.url, before, now, console.size.height - bool(trouble))
            live.update(_under(trouble, shown) if trouble else shown, refresh=True)
            if _quits(sys.stdin, PACE_SECONDS):
                return
            try:
                before, now, trouble = now, look(server), ""
            except ServingError as error:
                if error.kind in ("unauthenticated", "forbidden"):
                    raise
                trouble = error.message


def _under(trouble: str, shown: RenderableType) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(Text(trouble, style="bold red", no_wrap=True, overflow="ellipsis"), shown)


def _quits(keys: TextIO, seconds: float) -> bool:
    """Wait so long for a key; gives whether it was one that ends."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([keys], [], [], left)[0]:
            typed = os.read(keys.fileno(), 64)
            # Nothing to read any more: the terminal is gone.
            if not typed or set(typed) & _ENDS:
                return True
    return False


@contextmanager
def _keys(keys: TextIO) -> Generator[None]:
    """Each key is there at once and not shown; the terminal is as it was afterwards."""
    import termios
    import tty

    descriptor = keys.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
