"""The composition root: settings become listeners, models and one group of tasks, and all of it ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from trunkcall import __version__, config, plugins
from trunkcall.apis.landing import curl_line
from trunkcall.config import Settings
from trunkcall.control.access import Access
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.services import BuildApi, Catalogue, Services
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.meter import Counters
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Connect, Engine, Placement
from trunkcall.home import Home
from trunkcall.machine import look
from trunkcall.net.credentials import read_secret
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.relay import Relay
from trunkcall.store import ledger
from trunkcall.store.importer import Importer
from trunkcall.store.journal import FileJournal

MAIN_APIS: Final = ("openai", "landing", "admin", "metrics")
"""What the main port serves."""


def run(settings: Settings, home: Home) -> int:
    """Serve until SIGINT or SIGTERM; gives the exit code.

    Raises ServingError for what keeps the server from starting, with the remedy.
    """
    _start_logging(settings)
    with home.lock():
        return uvloop.run(_Process(settings, home).serve())


class _Process:
    """One serving process."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._url = home.ledger_url if settings.store == "sqlite" else settings.store
        self._dispatch = Dispatch()
        self._relay = Relay(settings.stall_timeout)
        self._counters = Counters()
        self._journal = FileJournal(home.journal)
        self._importer = Importer(home.journal, self._url)
        self._supervisor = Supervisor(self._dispatch, _find_placements(), look(), _find_engine, _find_connect)
        self._stopping = asyncio.Event()

    async def serve(self) -> int:
        """Start everything, wait for a signal, end everything."""
        access = Access({name: read_secret(name) for name in self._settings.keys})
        sockets = [bind(listener.host, listener.port) for listener in self._settings.listen]
        try:
            for settings in self._settings.models.values():
                self._supervisor.add(settings)
            listening = await self._listen(sockets, access)
        except BaseException:
            for bound in sockets:
                bound.close()
            await self._supervisor.aclose()
            await self._journal.aclose()
            raise
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        async with asyncio.TaskGroup() as tasks:
            importing = tasks.create_task(self._importer.run())
            self._home.write_server(os.getpid(), listening[0].url)
            _settle()
            print(banner(listening[0].url, self._dispatch.views()), flush=True)
            await self._stopping.wait()
            await self._end(listening)
            importing.cancel()
        await asyncio.to_thread(self._last_import)
        return 0

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._relay.cut_all(ServingError("draining", "the server was told twice to end"))
        self._stopping.set()

    async def _listen(self, sockets: Sequence[socket.socket], access: Access) -> list[Listening]:
        services = Services(
            Serving(self._dispatch, self._relay, self._journal, self._counters),
            self._dispatch,
            self._counters,
            Catalogue(self._add, self._remove, self._usage),
            lambda: self._journal.lost,
        )
        listening: list[Listening] = []
        for listener, bound in zip(self._settings.listen, sockets, strict=True):
            application = Application(
                [_find_api(name)(services) for name in listener.apis or MAIN_APIS],
                max_body=self._settings.max_body,
                cors=self._settings.cors,
                guard=access.check if self._settings.keys else None,
            )
            opened = Listening(application, bound)
            await opened.start()
            listening.append(opened)
        return listening

    async def _end(self, listening: Sequence[Listening]) -> None:
        """No new requests, running streams finish, children end, the journal is written."""
        self._dispatch.drain()
        if self._relay.live:
            log.info("waiting for %d running answers", self._relay.live)
        for opened in listening:
            opened.stop_accepting()
        if not await self._relay.drained(self._settings.drain_timeout):
            self._relay.cut_all(ServingError("draining", "the server is shutting down", retry_after=5))
        await asyncio.gather(*(opened.aclose() for opened in listening))
        await self._supervisor.aclose()
        await self._journal.aclose()

    def _last_import(self) -> None:
        try:
            self._importer.import_now(wait=1.0)
        except ServingError as error:
            log.warning("the last rows stay in the journal: %s", error.message)

    async def _add(self, name: str, source: str) -> ModelView:
        entry = config.model(name, source, base=Path.cwd(), queue=self._settings.queue)
        for one in entry.sources:
            plugins.check(one)
        pool = self._supervisor.add(entry)
        try:
            self._home.add_model(name, source)
        except ServingError:
            await self._supervisor.remove(name, 0)
            raise
        return pool.view()

    async def _remove(self, name: str) -> None:
        self._dispatch.pool(name)
        self._home.remove_model(name)
        await self._supervisor.remove(name)

    def _usage(self, since: str | None, by: tuple[str, ...]) -> list[dict[str, Any]]:
        self._importer.import_now()
        rows = ledger.usage(self._url, since=ledger.moment(since) if since else None, by=by)
        return [msgspec.to_builtins(row) for row in rows]


def _find_api(name: str) -> BuildApi:
    build: BuildApi = plugins.find("apis", name)
    return build


def _find_placements() -> dict[str, Placement]:
    return {name: plugins.find("placements", name)() for name in plugins.names("placements")}


def _find_engine(scheme: str) -> Engine | None:
    if scheme not in plugins.names("engines"):
        return None
    engine: Engine = plugins.find("engines", scheme)()
    return engine


def _find_connect(scheme: str) -> Connect:
    connect: Connect = plugins.find("backends", scheme)
    return connect


def banner(url: str, views: Sequence[ModelView]) -> str:
    """What `up` prints when it is ready: where to click and what to paste."""
    names = ", ".join(view.name for view in views) or "none yet: trunkcall models add NAME SOURCE"
    lines = [
        f"Trunkcall {__version__} is ready.",
        "",
        f"  Open    {url}",
        f"  Models  {names}",
        "",
    ]
    if views:
        lines += ["  Try", *("    " + line for line in curl_line(url, views[0].name).splitlines()), ""]
    return "\n".join([*lines, "  Ctrl-C ends it.", ""])


def _settle() -> None:
    """Keep the garbage collector off what lives as long as the process: 8 us of CPU per request, measured."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class _JsonLines(logging.Formatter):
    """One JSON object per line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": record.created, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _start_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonLines() if settings.json_logs else plain)
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(settings.log_level.upper())
