"""`trunkcall requests`: the latest requests and what happened to each, or the whole story of one."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import msgspec

from trunkcall.cli.client import Server
from trunkcall.cli.output import print_json, print_table, printable
from trunkcall.control.stories import Story
from trunkcall.store.ledger import ANY_ERROR

COLUMNS: Final = ("TIME", "ID", "MODEL", "KEY", "REPLICA", "STATE", "QUEUE", "FIRST", "TOTAL", "TOKENS", "NOTES")
_NARROW: Final = frozenset({"TIME", "ID", "MODEL", "STATE", "TOTAL", "TOKENS", "NOTES"})
"""What a terminal has room for that is no wider than is usual."""
_WIDE: Final = 110


class Page(msgspec.Struct):
    """What /admin/requests answers."""

    requests: list[Story]
    next: str | None = None


def ls(server: Server, *, model: str, caller: str, errors: bool, limit: int, as_json: bool) -> None:
    """Print the latest requests, the newest first; caller: the name of a key."""
    wanted = {"model": model, "key": caller, "error": ANY_ERROR if errors else ""}
    query = urlencode({name: value for name, value in wanted.items() if value})
    found: list[Story] = []
    before = ""
    while len(found) < limit:
        asked = urlencode({"limit": min(limit - len(found), 1000), **({"before": before} if before else {})})
        page = server.read(f"/admin/requests?{asked}&{query}", Page)
        found += page.requests
        if page.next is None:
            break
        before = page.next
    if as_json:
        print_json({"requests": found})
    elif found:
        _print(found)
    else:
        print("no such request is recorded")


def _print(stories: Sequence[Story]) -> None:
    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE
    shown = [place for place, name in enumerate(COLUMNS) if not narrow or name in _NARROW]
    cells = [[row[place] for place in shown] for row in rows(stories)]
    print_table([COLUMNS[place] for place in shown], cells, one_line=True)


def show(server: Server, id: str, as_json: bool) -> None:
    """Print all that is known of one request."""
    story = server.read(f"/admin/requests/{quote(id, safe='')}", Story)
    if as_json:
        print_json(story)
        return
    for name, value in msgspec.to_builtins(story).items():
        if value:
            print(f"{name:18} {printable(_said(value) if name != 'opened_at' else _date(story.opened_at))}")


def rows(stories: Sequence[Story]) -> list[tuple[str, ...]]:
    """Stories as the cells of COLUMNS."""
    return [
        (
            clock(one.opened_at),
            one.id,
            f"{one.model} ({one.asked})" if one.model and one.asked else one.model or one.asked,
            one.key or "-",
            one.replica or "-",
            state(one),
            span(one.queue_ms),
            span(one.first_token_ms),
            span(one.total_ms),
            f"{one.prompt_tokens}+{one.completion_tokens}",
            notes(one),
        )
        for one in stories
    ]


def state(story: Story) -> str:
    """How far a request is, or how it ended."""
    return story.state if story.state != "ended" else story.error or story.finish or str(story.status or "ended")


def notes(story: Story) -> str:
    """What was not as usual, and why it got its replica."""
    told = [
        f"{story.attempts - 1} retried" if story.attempts > 1 else "",
        f"resumed {story.resumes} times ({story.resumed})" if story.resumes else "",
        f"dropped {', '.join(story.dropped)}" if story.dropped else "",
        story.why,
    ]
    return "; ".join(word for word in told if word) or "-"


def clock(moment: float) -> str:
    """A time of the last day as such, an older one with its date; of this machine's zone."""
    form = "%H:%M:%S" if time.time() - moment < 86400 else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, time.localtime(moment))


def span(milliseconds: float | None) -> str:
    """A time as short as people read it."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))


def _said(value: Any) -> str:
    if value is True:
        return "yes"
    return ", ".join(cast(Sequence[str], value)) if isinstance(value, (list, tuple)) else str(value)
