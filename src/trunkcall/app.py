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
from typing import Any, Final

import msgspec
import uvloop

from trunkcall import __version__, config, plugins
from trunkcall.apis.landing import curl_line
from trunkcall.catalogue import Catalogue
from trunkcall.config import Listener, Settings
from trunkcall.control.access import Access, allow_calls, allow_workers
from trunkcall.control.admission import Admission
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.keyring import Keyring
from trunkcall.control.news import News
from trunkcall.control.operations import Reloaded
from trunkcall.control.registry import Registry, read_records
from trunkcall.control.services import BuildApi, Operations, Services
from trunkcall.control.stories import Stories
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.meter import Counters
from trunkcall.core.models import ModelView, convert_options
from trunkcall.core.ports import Api, Exchange, Resident
from trunkcall.home import Home
from trunkcall.machine import look
from trunkcall.net.credentials import read_secret
from trunkcall.net.listeners import Application, Guard, Listening, bind
from trunkcall.net.relay import Relay
from trunkcall.net.tls import identity
from trunkcall.store.importer import Importer
from trunkcall.store.journal import FileJournal
from trunkcall.store.records import Records

MAIN_APIS: Final = ("openai", "tgi_models", "landing", "admin", "metrics")
"""What the main port serves."""
RESIDENT_GRACE: Final = 6.0
"""Seconds in which an api takes leave of those with whom it registered."""


def run(settings: Settings, home: Home, replaces: str = "") -> int:
    """Serve until SIGINT or SIGTERM; gives the exit code.

    replaces: the old command that this process stands for, whose listeners are as open as that one's were.

    Raises ServingError for what keeps the server from starting, with the remedy.
    """
    _start_logging(settings)
    with home.lock():
        return uvloop.run(_Process(settings, home, replaces).serve())


class _Process:
    """One serving process."""

    def __init__(self, settings: Settings, home: Home, replaces: str) -> None:
        self._settings = settings
        self._replaces = replaces
        self._home = home
        self._url = home.ledger_url if settings.store == "sqlite" else settings.store
        self._dispatch = Dispatch()
        self._relay = Relay(settings.stall_timeout)
        self._counters = Counters()
        self._admission = Admission()
        self._stories = Stories()
        self._news = News()
        self._keyring = Keyring()
        self._journal = FileJournal(home.journal)
        self._importer = Importer(home.journal, self._url)
        self._supervisor = Supervisor(
            self._dispatch, plugins.find_placements(), look, plugins.find_engine, plugins.find_connect
        )
        self._registry = Registry(
            self._dispatch,
            plugins.find_connect,
            read_records(home.read_workers()),
            lambda records: home.write_workers(msgspec.json.encode(records)),
        )
        self._residents: list[tuple[Resident, str]] = []
        self._stopping = asyncio.Event()
        self._failure: ServingError | None = None

    async def serve(self) -> int:
        """Start everything, wait for a signal, end everything.

        Raises ServingError when an api could not do what the server is there for.
        """
        access = Access({name: read_secret(name) for name in self._settings.keys})
        sockets = [bind(listener.host, listener.port) for listener in self._settings.listen]
        try:
            for settings in self._settings.models.values():
                self._supervisor.add(settings)
            listening = await self._listen(sockets, access)
        except BaseException:
            for bound in sockets:
                bound.close()
            await self._registry.aclose()
            await self._supervisor.aclose()
            await self._journal.aclose()
            raise
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        async with asyncio.TaskGroup() as tasks:
            importing = tasks.create_task(self._importer.run())
            residents = [tasks.create_task(self._registry.live())]
            residents += [tasks.create_task(self._live(api, url)) for api, url in self._residents]
            self._home.write_server(os.getpid(), listening[0].url, self._replaces)
            _settle()
            self._greet(listening)
            await self._stopping.wait()
            # First of all nobody is to send new work here.
            for resident in residents:
                resident.cancel()
            await asyncio.wait(residents, timeout=RESIDENT_GRACE)
            await self._end(listening)
            importing.cancel()
        await asyncio.to_thread(self._last_import)
        if self._failure is not None:
            raise self._failure
        return 0

    async def _live(self, api: Resident, url: str) -> None:
        try:
            await api.live(url)
        except ServingError as error:
            self._failure = error
            self._stopping.set()

    def _greet(self, listening: Sequence[Listening]) -> None:
        for listener, opened in zip(self._settings.listen, listening, strict=True):
            if not self._settings.keys and not listener.allow_from and not config.is_loopback(listener.host):
                print(
                    f"trunkcall: warning: everybody who reaches {opened.url} can use it, as with the old "
                    f"{self._replaces}. To close it: trunkcall as --allow-from CIDR … or --api-keys REF …",
                    file=sys.stderr,
                )
        print(banner(self._settings.listen[0], listening[0].url, self._dispatch.views()), flush=True)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._relay.cut_all(ServingError("draining", "the server was told twice to end"))
        self._stopping.set()

    async def _listen(self, sockets: Sequence[socket.socket], access: Access) -> list[Listening]:
        serving = Serving(self._dispatch, self._relay, self._journal, self._counters, self._admission, self._stories)
        operations = Operations(
            Catalogue(self._dispatch, self._supervisor, self._home, self._settings.queue),
            self._keyring,
            Records(self._importer, self._url),
            self._news,
            self._show_settings,
            self._reload,
        )
        listening: list[Listening] = []
        for listener, bound in zip(self._settings.listen, sockets, strict=True):
            services = Services(
                serving,
                self._dispatch,
                self._registry,
                self._counters,
                operations,
                lambda: self._journal.lost,
                allow_workers(listener.workers_from),
                self._stopping.set,
            )
            apis = [_build_api(name, listener, services) for name in listener.apis or MAIN_APIS]
            application = Application(
                apis,
                max_body=self._settings.max_body,
                cors=self._settings.cors,
                guard=self._guard(access, listener),
            )
            tls = identity(listener.certificate, listener.private_key) if listener.certificate else None
            opened = Listening(application, bound, tls=tls)
            listening.append(opened)
            self._residents += [(api, opened.url) for api in apis if isinstance(api, Resident)]
        await self._registry.revive()
        for opened in listening:
            await opened.start()
        return listening

    def _show_settings(self) -> dict[str, Any]:
        return config.show(self._settings)

    async def _reload(self) -> Reloaded:
        return Reloaded()

    def _guard(self, access: Access, listener: Listener) -> Guard | None:
        if not listener.allow_from:
            return access.check if self._settings.keys else None
        check_network = allow_calls(listener.allow_from)

        def check(exchange: Exchange, api: Api) -> None:
            check_network(exchange)
            access.check(exchange, api)

        return check

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
        await self._registry.aclose()
        await self._supervisor.aclose()
        await self._journal.aclose()

    def _last_import(self) -> None:
        try:
            self._importer.import_now(wait=1.0, upgrade=False)
        except ServingError as error:
            log.warning("the last rows stay in the journal: %s", error.message)


def _build_api(name: str, listener: Listener, services: Services) -> Api:
    build: BuildApi = plugins.find("apis", name)
    shape: type[msgspec.Struct] | None = getattr(build, "Options", None)
    given = listener.options.get(name, {})
    if shape is not None:
        return build(services, convert_options(given, shape, f"listener api {name!r}"))
    if given:
        raise ServingError("bad_request", f"the api {name!r} has no options")
    return build(services)


def banner(listener: Listener, url: str, views: Sequence[ModelView]) -> str:
    """What is printed when the server is ready: where to click and what to paste, where there is such."""
    if listener.apis and "landing" not in listener.apis:
        return f"Trunkcall {__version__} is ready at {url} ({', '.join(listener.apis)}). Ctrl-C ends it."
    names = [view.name for view in views]
    followed = [options["controller"] for options in listener.options.values() if options.get("controller")]
    names += [f"those of the controller at {controller}" for controller in followed]
    lines = [
        f"Trunkcall {__version__} is ready.",
        "",
        f"  Open    {url}",
        f"  Models  {', '.join(names) or 'none yet: trunkcall models add NAME SOURCE'}",
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
