"""`trunkcall logs`: what the processes of a model wrote, and what they write from now on."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec

from trunkcall.cli.client import Server
from trunkcall.cli.output import printable


class _Log(msgspec.Struct):
    replica: str
    lines: list[str]


class _Logs(msgspec.Struct):
    logs: list[_Log]


class _Line(msgspec.Struct):
    replica: str
    line: str


def logs(server: Server, name: str, *, follow: bool, lines: int) -> None:
    """Print the last lines of a model's replicas, or of one; with `follow` until the server ends."""
    path = f"/admin/logs/{quote(name, safe='')}?{urlencode({'lines': lines, 'follow': str(follow).lower()})}"
    if follow:
        for kind, data in server.events(path):
            if kind == "line":
                told = msgspec.json.decode(data, type=_Line)
                print(f"{told.replica}: {printable(told.line)}", flush=True)
        return
    found = server.read(path, _Logs).logs
    for one in found:
        for line in one.lines:
            print(f"{one.replica}: {printable(line)}" if len(found) > 1 else printable(line))
    if not any(one.lines for one in found):
        print(f"{name} has written nothing: its engine has not run yet, or something else runs it")
