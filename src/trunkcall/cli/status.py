"""`trunkcall status`: whether a server runs on a home, since when, where, and how its models and its ledger are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall.cli.client import Server
from trunkcall.cli.output import print_json, print_table
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView
from trunkcall.home import Home, locate
from trunkcall.protocols.fetching import amount

RUNS: Final = 0
NOT_RUNNING: Final = 3
"""As `systemctl status` has it."""
PATIENCE: Final = 5.0
"""Seconds that a server is given to answer."""
STUCK: Final = 4
"""It holds its home and does not answer as it should."""
_CODES: Final = {
    **dict.fromkeys(("stopped", "starting", "ending"), NOT_RUNNING),
    **dict.fromkeys(("silent", "failing"), STUCK),
}


class _Models(msgspec.Struct):
    models: tuple[ModelView, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    state: stopped, starting, ending, silent (no answer), failing (an error as answer), or what /ready says of it, whose
    whole answer is ready; since: unix seconds; memory: bytes that the server's own process takes, 0 where not known;
    models: None where they were not told; trouble: why something is missing here.
    """

    state: str
    home: str
    pid: int = 0
    url: str = ""
    command: str = ""
    since: float = 0.0
    memory: int = 0
    ready: dict[str, Any] = {}
    models: tuple[ModelView, ...] | None = None
    trouble: str = ""


def status(home_flag: Path | None, key: str | None, as_json: bool) -> int:
    """Print what runs; gives 0 when it serves, 3 when none does, yet or any more, 4 when it does not answer right."""
    found = look(Home(locate(home_flag, os.environ)), key)
    if as_json:
        print_json(found)
    else:
        _print(found)
    return _CODES.get(found.state, RUNS)


def look(home: Home, key: str | None) -> Status:
    """Ask the server of a home, if there is one."""
    info = home.running()
    if info is None:
        return Status(state="stopped", home=str(home.path))
    found = Status(
        state="ending" if info.ending else "starting",
        home=str(home.path),
        pid=info.pid,
        url=info.url,
        command=info.command,
        since=info.since,
        memory=_resident(info.pid),
    )
    if not info.url or info.ending:
        return found
    server = Server(info.url, home.operator_key() or key, PATIENCE)
    try:
        ready = server.read("/ready", dict[str, Any])
    except ServingError as error:
        state = "silent" if error.kind == "unreachable" else "failing"
        return msgspec.structs.replace(found, state=state, trouble=error.message)
    found = msgspec.structs.replace(found, state=str(ready.get("status", "ready")), ready=ready)
    try:
        return msgspec.structs.replace(found, models=server.read("/admin/models", _Models).models)
    except ServingError as error:
        return msgspec.structs.replace(found, trouble=error.message)


def _print(found: Status) -> None:
    if found.state == "stopped":
        print(f"no server runs on {found.home}. Start one with: trunkcall up --detach")
        return
    place = f" at {found.url}" if found.url else ""
    role = f", instead of {found.command}" if found.command else ""
    print(f"{found.state}: process {found.pid}{place}{role}")
    if found.since:
        print(f"  since   {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.since))}")
    print(f"  home    {found.home}")
    if found.memory:
        print(f"  memory  {amount(found.memory)}, without engines")
    for name, value in found.ready.items():
        if name != "status" and value:
            print(f"  {name}  {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")
    if found.trouble:
        print(f"  {found.trouble}")
    if found.models:
        print()
        print_table(
            ("MODEL", "STATE", "RUNNING", "WAITING", "MEMORY"),
            [
                (
                    view.name,
                    ", ".join(sorted({replica.state for replica in view.replicas})) or "-",
                    str(sum(replica.in_flight for replica in view.replicas)),
                    str(view.waiting),
                    amount(taken) if (taken := sum(replica.rss for replica in view.replicas)) else "-",
                )
                for view in found.models
            ],
        )


def _resident(pid: int) -> int:
    """Bytes of memory that a process takes; 0 where there is no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
