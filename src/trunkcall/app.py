"""The composition root: settings become listeners, models and one group of tasks, and all of it ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Final

import msgspec
import uvloop

from trunkcall import __version__, config, logs, plugins
from trunkcall.catalogue import Catalogue
from trunkcall.config import Listener, Loaded, Settings
from trunkcall.control.access import Access, Hosts, allow_workers, guard
from trunkcall.control.admission import Admission
from trunkcall.control.condition import Condition, watch_loop
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.keyring import Keyring
from trunkcall.control.locate import locate
from trunkcall.control.news import News
from trunkcall.control.own_page import Pages
from trunkcall.control.registry import Registry, read_records
from trunkcall.control.services import BuildApi, Operations, Services
from trunkcall.control.stories import Stories
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.meter import Counters
from trunkcall.core.models import ModelSettings, ModelView, convert_options
from trunkcall.core.ports import Api, Exchange, Resident
from trunkcall.home import Home
from trunkcall.home import locate as locate_home
from trunkcall.in_force import Identity, InForce, Parts, Reread
from trunkcall.machine import look
from trunkcall.net.credentials import read_secret
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.notify import Manager
from trunkcall.net.relay import Relay
from trunkcall.net.telemetry import Telemetry
from trunkcall.net.tls import identity
from trunkcall.placement.former import end_left_behind, mark
from trunkcall.store.database import connect
from trunkcall.store.importer import Importer
from trunkcall.store.journal import FileJournal
from trunkcall.store.keys import KeyStore
from trunkcall.store.ledger import Spent, spent
from trunkcall.store.records import Records

MAIN_APIS: Final = ("openai", "tgi_models", "landing", "web", "admin", "metrics")
"""What the main port serves."""
OPEN_FILES: Final = 65536
SWITCH_SECONDS: Final = 0.0002
"""How long a thread that computes (metrics, a settings file, a plan, an export) may keep the event loop waiting each
time. Beside such a thread 32 streams of a chunk every 5 ms were late by 4 ms with this, by 7 with 0.5 or 1 ms and by 18
with Python's own 5 ms (medians); the loop's CPU per chunk was the same.
"""
RESIDENT_GRACE: Final = 6.0
"""Seconds in which an api takes leave of those with whom it registered."""


def run(loaded: Loaded, home: Home, replaces: str = "", reread: Reread | None = None) -> int:
    """Serve until SIGINT or SIGTERM; gives the exit code. SIGHUP reads the settings again.

    replaces: the old command that this process stands for, whose listeners are as open as that one's were; reread:
    None where the settings stand on the command line alone.

    Raises ServingError for what keeps the server from starting, with the remedy.
    """
    logs.start(loaded.settings.log_level, loaded.settings.json_logs, home.server_log)
    _allow_open_files()
    with home.lock():
        left = end_left_behind(home.path)
        if left:
            log.warning("ended what a killed server had left behind: processes %s", ", ".join(map(str, left)))
        os.environ.update(mark(home.path))
        return uvloop.run(_Process(loaded, home, replaces, reread).serve())


class _Process:
    """One serving process."""

    def __init__(self, loaded: Loaded, home: Home, replaces: str, reread: Reread | None) -> None:
        settings = loaded.settings
        self._loaded = loaded
        self._replaces = replaces
        self._home = home
        self._manager = Manager.of_this_process()
        self._url = home.ledger(settings.store)
        self._dispatch = Dispatch()
        self._relay = Relay(settings.stall_timeout)
        self._counters = Counters()
        self._news = News()
        self._dispatch.news = self._news
        self._stories = Stories(self._news)
        secrets = {name: read_secret(name) for name in settings.keys}
        self._keyring = Keyring(KeyStore(self._url), secrets, self._news)
        self._admission = Admission(self._keyring, self._settings_of)
        self._hosts = Hosts(settings.hosts)
        self._pages = Pages(settings.cors)
        self._telemetry = _start_telemetry(settings, self._dispatch)
        self._journal = FileJournal(home.journal)
        self._importer = Importer(home.journal, self._url, settings.retention)
        self._supervisor = Supervisor(
            self._dispatch,
            plugins.find_placements(),
            look,
            plugins.find_engine,
            plugins.find_connect,
            settings.memory,
        )
        self._registry = Registry(
            self._dispatch,
            plugins.find_connect,
            read_records(home.read_workers()),
            lambda records: home.write_workers(msgspec.json.encode(records)),
        )
        self._residents: list[tuple[Resident, str]] = []
        self._in_force = InForce(
            loaded,
            reread,
            Parts(
                supervisor=self._supervisor,
                keyring=self._keyring,
                hosts=self._hosts,
                pages=self._pages,
                relay=self._relay,
                importer=self._importer,
                counters=self._counters,
                news=self._news,
                manager=self._manager,
                log_file=home.server_log,
            ),
        )
        self._on_terminal = os.isatty(0)
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._failure: ServingError | None = None

    @property
    def _settings(self) -> Settings:
        return self._in_force.settings

    async def serve(self) -> int:
        """Start everything, wait for a signal, end everything.

        Raises ServingError when an api could not do what the server is there for.
        """
        access = await self._open_keys()
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
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        async with asyncio.TaskGroup() as tasks:
            importing = tasks.create_task(self._importer.run())
            watching = tasks.create_task(watch_loop(self._counters.lag))
            following = tasks.create_task(self._keyring.live())
            residents = [tasks.create_task(self._registry.live())]
            residents += [tasks.create_task(self._live(api, url)) for api, url in self._residents]
            self._home.write_server(os.getpid(), listening[0].url, self._replaces)
            _settle()
            self._greet(listening)
            self._manager.ready(f"Serving at {listening[0].url}")
            reloads = tasks.create_task(self._in_force.live())
            await self._stopping.wait()
            self._dispatch.ending = True
            self._home.write_ending()
            self._manager.stopping()
            reloads.cancel()
            # First of all nobody is to send new work here.
            for resident in residents:
                resident.cancel()
            await asyncio.wait(residents, timeout=RESIDENT_GRACE)
            await self._be_noticed()
            await self._end(listening)
            importing.cancel()
            watching.cancel()
            following.cancel()
        await asyncio.to_thread(self._last_import)
        if self._failure is not None:
            raise self._failure
        return 0

    async def _open_keys(self) -> Access:
        """Know the keys and what they have spent; raises ServingError where the server would be open to everybody."""
        await self._keyring.load()
        public = [listener for listener in self._settings.listen if not config.is_loopback(listener.host)]
        if public and not self._replaces:
            if self._keyring.empty:
                raise _open_to_all(public[0], self._loaded, self._home)
            self._keyring.require()
        if not self._keyring.empty:
            now = time.time()
            self._admission.reseed(await asyncio.to_thread(self._read_spent, now), now)
        self._keyring.admit_operator(self._home.write_operator_key())
        return Access(self._keyring)

    def _read_spent(self, now: float) -> list[Spent]:
        """With what the journal of an earlier life still holds."""
        self._importer.import_now()
        with closing(connect(self._url)) as database:
            return spent(database, now)

    def _settings_of(self, model: str) -> ModelSettings | None:
        pool = self._dispatch.find(model)
        return None if pool is None else pool.settings

    async def _live(self, api: Resident, url: str) -> None:
        try:
            await api.live(url)
        except ServingError as error:
            self._failure = error
            self._stopping.set()

    def _greet(self, listening: Sequence[Listening]) -> None:
        for listener, opened in zip(self._settings.listen, listening, strict=True):
            if not self._keyring.closed and not listener.allow_from and not config.is_loopback(listener.host):
                print(
                    f"trunkcall: warning: everybody who reaches {opened.url} can use it, as with the old "
                    f"{self._replaces}. To close it: trunkcall as --allow-from CIDR … or --api-keys REF …",
                    file=sys.stderr,
                )
        views, closed = self._dispatch.views(), self._keyring.closed
        print(banner(self._settings.listen[0], listening[0].url, views, closed), flush=True)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._relay.cut_all(ServingError("draining", "the server was told twice to end"))
            self._hurried.set()
        self._stopping.set()

    def _hang_up(self) -> None:
        if self._on_terminal and not os.isatty(0):
            # Our terminal was closed, and with it we are to end.
            self._stop()
        self._in_force.tell()

    async def _listen(self, sockets: Sequence[socket.socket], access: Access) -> list[Listening]:
        serving = Serving(
            self._dispatch,
            self._relay,
            self._journal,
            self._counters,
            self._admission,
            self._stories,
            self._telemetry,
        )
        operations = Operations(
            Catalogue(
                self._dispatch, self._supervisor, self._home, lambda: self._settings.queue, self._in_force.changing
            ),
            self._keyring,
            Records(self._importer, self._url),
            self._news,
            self._in_force.show,
            self._in_force.reload,
            look,
        )
        listening: list[Listening] = []
        identities: list[Identity] = []
        for listener, bound in zip(self._settings.listen, sockets, strict=True):
            apis, application = self._application(listener, access, serving, operations)
            tls = identity(listener.certificate, listener.private_key) if listener.certificate else None
            if tls is not None:
                identities.append((tls, listener))
            opened = Listening(application, bound, tls=tls)
            listening.append(opened)
            self._residents += [(api, opened.url) for api in apis if isinstance(api, Resident)]
        self._in_force.listen(listening, identities)
        await self._registry.revive()
        for opened in listening:
            await opened.start()
        return listening

    def _application(
        self, listener: Listener, access: Access, serving: Serving, operations: Operations
    ) -> tuple[list[Api], Application]:
        """What is served at one listener."""

        async def answer(exchange: Exchange) -> None:
            await application.handle(exchange)

        names = _served(listener)
        services = Services(
            serving,
            self._dispatch,
            self._registry,
            self._counters,
            operations,
            self._condition,
            allow_workers(listener.workers_from, access),
            self._stopping.set,
            answer,
            names,
        )
        apis = [_build_api(name, listener, services) for name in names]
        application = Application(
            apis,
            max_body=self._settings.max_body,
            cors=self._settings.cors,
            guard=guard(
                access,
                listener.allow_from,
                self._hosts if config.is_loopback(listener.host) else None,
                self._pages,
                self._counters.refuse,
            ),
        )
        return apis, application

    def _condition(self) -> Condition:
        return Condition(
            journal=self._journal.health(),
            ledger=self._importer.health(),
            rows_lost=self._journal.lost,
            rows_waiting=self._journal.waiting,
            bytes_waiting=self._importer.waiting,
            traces_lost=0 if self._telemetry is None else self._telemetry.lost,
        )

    async def _be_noticed(self) -> None:
        """Answer as before while balancers learn from /ready that this server ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), self._settings.drain_delay)

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
        await self._in_force.aclose()
        await self._registry.aclose()
        await self._supervisor.aclose()
        await self._journal.aclose()
        if self._telemetry is not None:
            await asyncio.to_thread(self._telemetry.close)

    def _last_import(self) -> None:
        try:
            self._importer.import_now(wait=1.0, upgrade=False)
        except ServingError as error:
            log.warning("the last rows stay in the journal: %s", error.message)


def _open_to_all(listener: Listener, loaded: Loaded, home: Home) -> ServingError:
    place = loaded.origins["listen"][-1].place
    flags = " --store URL" if loaded.origins["store"][-1].place.startswith("flag") else ""
    flags += "" if home.path == locate_home(None, os.environ) else f" --home {home.path}"
    flags += "" if loaded.file == config.find_file(None, home.path) else f" --config {loaded.file}"
    return ServingError(
        "bad_request",
        f"{place}: {listener.host}:{listener.port} can be reached from other machines and there is no API key. Make "
        f"one with `trunkcall keys create admin --role admin{flags}`, or set one (`keys: [env:NAME]` in "
        "trunkcall.yaml, or TRUNKCALL_KEYS=env:NAME), or listen on 127.0.0.1",
    )


def _start_telemetry(settings: Settings, dispatch: Dispatch) -> Telemetry | None:
    wanted = settings.telemetry
    if wanted is None:
        return None
    headers = {name: read_secret(reference) for name, reference in wanted.headers.items()}
    return Telemetry(wanted.endpoint, headers, wanted.sample, partial(locate, dispatch))


def _served(listener: Listener) -> tuple[str, ...]:
    """The apis of a listener; raises ServingError (bad_request) for options of another one."""
    names = listener.apis or MAIN_APIS
    for name in listener.options:
        if name not in names:
            raise ServingError("bad_request", f"listen: options of {name!r}, which is not among the apis here")
    return names


def _build_api(name: str, listener: Listener, services: Services) -> Api:
    build: BuildApi = plugins.find("apis", name)
    shape: type[msgspec.Struct] | None = getattr(build, "Options", None)
    given = listener.options.get(name, {})
    if shape is not None:
        return build(services, convert_options(given, shape, f"listener api {name!r}"))
    if given:
        raise ServingError("bad_request", f"the api {name!r} has no options")
    return build(services)


def banner(listener: Listener, url: str, views: Sequence[ModelView], closed: bool = False) -> str:
    """What is printed when the server is ready: where to click and what to paste, where there is such.

    closed: callers need a key.
    """
    if listener.apis and "web" not in listener.apis:
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
        lines += ["  Try", *("    " + line for line in _curl(url, views[0].name, closed).splitlines()), ""]
    return "\n".join([*lines, "  Ctrl-C ends it.", ""])


def _curl(url: str, model: str, closed: bool) -> str:
    """A command to paste that asks a model something; closed: with a place for the key."""
    messages = '[{"role": "user", "content": "Who are you?"}]'
    key = " -H 'authorization: Bearer KEY'" if closed else ""
    body = f'{{"model": "{model}", "stream": true, "messages": {messages}}}'
    return f"curl -N {url}/v1/chat/completions -H 'content-type: application/json'{key} \\\n  -d '{body}'"


def _allow_open_files() -> None:
    """Each client takes one, and its call to an engine another; shells allow 1024 unless asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        # What macOS refuses is over a limit of the kernel's that it does not tell.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _settle() -> None:
    """Let nothing hold up the event loop: other threads take turns, and the garbage collector keeps off what lives as
    long as the process (8 us of CPU per request, measured).
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
