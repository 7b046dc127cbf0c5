"""What a server needs beside engines: free ports, open files, a clock that is right, its ledger and its keys."""

from __future__ import annotations

import os
import resource
import time
import zoneinfo
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from trunkcall.cli.finding import Finding
from trunkcall.config import Settings, is_loopback
from trunkcall.core.errors import ServingError
from trunkcall.home import Home
from trunkcall.net.credentials import read_secret
from trunkcall.net.listeners import bind
from trunkcall.protocols.fetching import amount
from trunkcall.store.database import connect, sqlite_path
from trunkcall.store.keys import KeyStore

LEAST_FILES: Final = 4096
"""Open files below which a few thousand clients are too many: each takes one, and one more to its engine."""
SKEW_SECONDS: Final = 5.0
"""By which clocks may differ before days and months of budgets do."""
_LISTENS: Final = "0A"
"""State of a socket in /proc/net/tcp."""


def service(settings: Settings, home: Home) -> Iterator[Finding]:
    """Look at all of it; nothing is changed."""
    yield from _listeners(settings, home)
    yield _open_files()
    yield from _ledger(settings, home)
    yield _clock(home, time.time())
    yield _time_zone(os.environ)
    yield from _keys(settings, home)


def _listeners(settings: Settings, home: Home) -> Iterator[Finding]:
    running = home.running()
    for listener in settings.listen:
        what = f"address {listener.host}:{listener.port}"
        try:
            bind(listener.host, listener.port).close()
        except ServingError as error:
            holder = holder_of(listener.port)
            main = running is not None and running.url.endswith(f":{listener.port}")
            if running is not None and (main or holder.startswith(f"process {running.pid} ")):
                yield Finding(what, "fine", f"in use by the server of this home, {running}")
                continue
            said = error.message.partition(". ")[0]
            yield Finding(what, "wrong", f"{said}, by {holder}" if holder else said, "choose another with --port")
        else:
            yield Finding(what, "fine", "free")


def holder_of(port: int) -> str:
    """`process PID (NAME)` of who listens on a port; empty where that cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for folder in Path("/proc").glob("[0-9]*/fd") if sockets else ():
        try:
            if any(os.readlink(entry) in sockets for entry in folder.iterdir()):
                return f"process {folder.parent.name} ({(folder.parent / 'comm').read_text().strip()})"
        except OSError:
            # It has ended, or belongs to another user.
            continue
    return ""


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]


def _open_files() -> Finding:
    # The server raises its own limit as far as it may.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY:
        return Finding("open files", "fine", "no limit")
    if most < LEAST_FILES:
        return Finding(
            "open files", "lacks", f"{most} at most", "raise it: ulimit -Hn 65536, or LimitNOFILE=65536 in the unit"
        )
    return Finding("open files", "fine", f"{most} at most")


def _ledger(settings: Settings, home: Home) -> Iterator[Finding]:
    url = home.ledger(settings.store)
    path = sqlite_path(url)
    if path is not None:
        size = f"{path}, {amount(path.stat().st_size)}" if path.exists() else f"{path}, not there yet"
        yield Finding("ledger", "fine", size)
        return
    try:
        with closing(connect(url)) as database:
            ((version, now),) = database.query("SELECT version(), extract(epoch FROM now())")
    except ServingError as error:
        yield Finding("ledger", "wrong", error.message, "start the database, or correct the setting store")
        return
    yield Finding("ledger", "fine", " ".join(str(version).split()[:2]))
    skew = float(now) - time.time()
    if abs(skew) > SKEW_SECONDS:
        yield Finding("the database's clock", "wrong", f"{skew:+.0f} s from this machine's", "set both by NTP")


def _clock(home: Home, now: float) -> Finding:
    """A clock that is before what has been written by it has gone back, and would count yesterday's budget again."""
    written = [path.stat().st_mtime for path in (Path(__file__), *home.path.glob("ledger.db*")) if path.exists()]
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if max(written) > now + SKEW_SECONDS:
        return Finding("clock", "wrong", f"{shown}, before files that were written here", "set it by NTP")
    return Finding("clock", "fine", shown)


def _time_zone(environ: Mapping[str, str]) -> Finding:
    name = environ.get("TZ", "").removeprefix(":")
    try:
        if name and not name.startswith("/"):
            zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return Finding(
            "time zone", "lacks", f"TZ={name} is not known here: the log's times are UTC", "correct TZ, or unset it"
        )
    return Finding("time zone", "fine", f"{time.strftime('%Z')} in the log, UTC in budgets and the ledger")


def _keys(settings: Settings, home: Home) -> Iterator[Finding]:
    for reference in settings.keys:
        try:
            read_secret(reference)
        except ServingError as error:
            yield Finding(f"key {reference}", "wrong", error.message, "set it, or take it out of the setting keys")
    try:
        stored = len(KeyStore(home.ledger(settings.store)).read())
    except ServingError:
        # Said of the ledger already.
        return
    count = len(settings.keys) + stored
    public = [f"{one.host}:{one.port}" for one in settings.listen if not is_loopback(one.host)]
    if count:
        yield Finding("keys", "fine", f"{len(settings.keys)} in the settings, {stored} made by command")
    elif public:
        yield Finding(
            "keys", "wrong", f"none, and others reach {', '.join(public)}", "trunkcall keys create admin --role admin"
        )
    else:
        yield Finding("keys", "fine", "none: every user of this machine may ask, nobody else can")
