"""The settings in force: read again while the server runs, and given to its parts without dropping a stream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trunkcall import config, logs, reload
from trunkcall.config import Listener, Loaded, Settings
from trunkcall.control.access import Hosts
from trunkcall.control.keyring import Keyring
from trunkcall.control.news import News
from trunkcall.control.operations import Reloaded
from trunkcall.control.own_page import Pages
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.meter import Counters
from trunkcall.net import access_log
from trunkcall.net.credentials import read_secret
from trunkcall.net.listeners import Listening
from trunkcall.net.notify import Manager
from trunkcall.net.relay import Relay
from trunkcall.net.tls import identity, renew
from trunkcall.store.importer import Importer

Reread = Callable[[], Loaded]
"""Reads the settings again, from where they were read at the start; raises ServingError for what is wrong in them."""
Identity = tuple[ssl.SSLContext, Listener]
"""Who an encrypted listener says it is, and its settings."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a process that are told of other settings; log_file: where its log may be kept."""

    supervisor: Supervisor
    keyring: Keyring
    hosts: Hosts
    pages: Pages
    relay: Relay
    importer: Importer
    counters: Counters
    news: News
    manager: Manager
    log_file: Path


class InForce:
    """One process's settings; `reread` is None where they stand on a command line alone."""

    def __init__(self, loaded: Loaded, reread: Reread | None, parts: Parts) -> None:
        self.settings = loaded.settings
        self.changing = asyncio.Lock()
        """Held by whoever changes models."""
        self._loaded = loaded
        self._stamp = _stamp(loaded.file)
        self._reread = reread
        self._parts = parts
        self._listening: Sequence[Listening] = ()
        self._identities: Sequence[Identity] = ()
        self._leaving: set[asyncio.Task[None]] = set()
        """Models that were removed, whose streams go on."""
        self._told = asyncio.Event()

    def listen(self, listening: Sequence[Listening], identities: Sequence[Identity]) -> None:
        """Look after these listeners from now on."""
        self._listening, self._identities = listening, identities
        self._tell_listeners()

    def show(self) -> dict[str, Any]:
        """For people: the file, whether it was changed since it was read, the settings with the models that are served
        now, and who set each; reloads: whether they can be read again."""
        return {
            "file": str(self._loaded.file or ""),
            "changed": _stamp(self._loaded.file) != self._stamp,
            "reloads": self._reread is not None,
            "settings": config.show(self._served()),
            "origins": msgspec.to_builtins(self._loaded.origins),
        }

    def tell(self) -> None:
        """Have `live` read the settings again."""
        self._told.set()

    async def live(self) -> None:
        """Reload whenever told to; what is wrong goes to the log."""
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self.reload()
            except ServingError as error:
                log.error("the settings stay as they are: %s", error.message)

    async def reload(self) -> Reloaded:
        """Read the settings again and apply them; raises ServingError for what is not valid, which changes nothing."""
        if self._reread is None:
            raise ServingError("unsupported", "this server's settings are its command line: restart it with another")
        parts = self._parts
        async with self.changing:
            parts.manager.reloading()
            try:
                reloaded = await self._reload(self._reread)
            except ServingError:
                parts.counters.reloads["refused"] += 1
                raise
            finally:
                parts.manager.ready(f"Serving at {self._listening[0].url}")
        parts.counters.reloads["applied"] += 1
        parts.news.tell("settings", reloaded)
        log.info("the settings were read again; changed: %s", ", ".join(reloaded.changed) or "nothing")
        if reloaded.restart:
            log.warning("these changes wait for a restart: %s", ", ".join(reloaded.restart))
        return reloaded

    async def aclose(self) -> None:
        """Wait no longer for the streams of removed models."""
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _served(self) -> Settings:
        return msgspec.structs.replace(self.settings, models=self._parts.supervisor.models())

    async def _reload(self, reread: Reread) -> Reloaded:
        """Look at all that may be wrong first; the changes after that cannot fail."""
        before = self._loaded.file
        stamp = _stamp(before)
        loaded = await asyncio.to_thread(reread)
        plan = reload.plan(self._served(), loaded.settings)
        secrets = {name: read_secret(name) for name in plan.settings.keys}
        for _, listener in self._identities:
            identity(listener.certificate, listener.private_key)
        leaving = {*plan.removed, *(found.name for found in plan.changed)}
        for found in (*plan.changed, *plan.added):
            await self._parts.supervisor.check(found, leaving)
        self._loaded = loaded
        self._stamp = stamp if loaded.file == before else _stamp(loaded.file)
        self._apply(plan.settings, secrets)
        await self._change_models(plan)
        models = dict.fromkeys((*plan.removed, *(found.name for found in (*plan.changed, *plan.added))))
        return Reloaded((*plan.live, *(f"models.{name}" for name in models)), plan.restart)

    def _apply(self, settings: Settings, secrets: Mapping[str, str]) -> None:
        self.settings = settings
        parts = self._parts
        logs.start(settings.log_level, settings.json_logs, parts.log_file)
        self._tell_listeners()
        parts.relay.allow_stalls(settings.stall_timeout)
        parts.importer.keep(settings.retention)
        parts.supervisor.limit(settings.memory)
        parts.keyring.configure(secrets)
        parts.hosts.allow(settings.hosts)
        parts.pages.allow(settings.cors)
        for context, listener in self._identities:
            renew(context, listener.certificate, listener.private_key)

    def _tell_listeners(self) -> None:
        settings = self.settings
        ended = access_log.note if settings.access_log else None
        for opened in self._listening:
            opened.change(max_body=settings.max_body, cors=settings.cors, ended=ended)

    async def _change_models(self, plan: reload.Plan) -> None:
        supervisor = self._parts.supervisor
        for name in plan.removed:
            removing = asyncio.create_task(supervisor.remove(name, float("inf")), name=f"remove {name}")
            self._leaving.add(removing)
            removing.add_done_callback(self._leaving.discard)
        # They have begun before others may take their names.
        await asyncio.sleep(0)
        for found in plan.changed:
            await supervisor.change(found)
            # Hundreds in one go would hold up streams.
            await asyncio.sleep(0)
        for found in plan.added:
            supervisor.add(found)
            await asyncio.sleep(0)


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """What differs when a file was written anew; None for none."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
