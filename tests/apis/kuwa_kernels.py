"""A kernel of ours on a listener of its own, with models beside it, and clients that speak Kuwa to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from apis.kuwa_executors import FORM, Journal, Reply, Script, ask
from backends.kuwa_peers import Executor

from trunkcall.apis.kuwa_kernel import KuwaKernel
from trunkcall.backends import kuwa
from trunkcall.control.admission import Admission
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.keyring import Keyring
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.registry import Record, Registry
from trunkcall.control.services import Services
from trunkcall.core.meter import Counters
from trunkcall.core.models import ModelSettings, Source, State
from trunkcall.core.ports import Exchange
from trunkcall.net.client import Client
from trunkcall.net.listeners import Application, Guard, Listening, bind
from trunkcall.net.relay import Relay
from trunkcall.protocols.forms import emit_form
from trunkcall.protocols.kuwa import write_history

IDLE = ["READY", -1, -1]


class Kernel:
    """A running kernel."""

    def __init__(self, url: str, api: KuwaKernel, dispatch: Dispatch, registry: Registry, journal: Journal) -> None:
        self.url = url
        self.api = api
        self.dispatch = dispatch
        self.registry = registry
        self.journal = journal

    def own(self, name: str, backend: Any, *, slots: int | None = 1, state: State = "ready", replicas: int = 1) -> Pool:
        """A model of the settings."""
        made: list[Replica] = []
        for number in range(replicas):
            replica = Replica(f"{name}/{number}", Source("test", str(number)), slots)
            replica.backend, replica.state = backend, state
            made.append(replica)
        pool = Pool(ModelSettings(name=name, sources=()), made)
        self.dispatch.pools[name] = pool
        return pool

    async def post(self, path: str, headers: bytes = b"", **fields: str) -> Reply:
        return await ask(self.url, "POST", f"/v1.0/{path}", emit_form(fields), FORM + headers)

    async def word(self, path: str, **fields: str) -> str:
        reply = await self.post(path, **fields)
        assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/html; charset=utf-8")
        return reply.text

    async def register(self, name: str, endpoint: str) -> str:
        return await self.word("worker/register", name=name, endpoint=endpoint)

    async def schedule(self, name: str, history_id: str = "1", user_id: str = "7") -> str:
        return await self.word("worker/schedule", name=name, history_id=history_id, user_id=user_id)

    async def complete(self, name: str, said: str = "hello", history_id: str = "1", **more: str) -> Reply:
        history = write_history([{"role": "user", "content": said}])
        fields = {"name": name, "history_id": history_id, "user_id": "7", "input": history, **more}
        return await self.post("chat/completions", **fields)

    async def abort(self, ids: str, user_id: str = "7") -> str:
        return await self.word("chat/abort", history_id=ids, user_id=user_id)

    async def state(self) -> dict[str, list[list[Any]]]:
        return msgspec.json.decode((await ask(self.url, "GET", "/v1.0/worker/read")).body)

    async def records(self, name: str) -> list[list[Any]]:
        """State and ids of a name's records."""
        return [record[1:] for record in (await self.state())[name]]

    async def write(self, data: Any, **more: str) -> Reply:
        return await self.post("worker/debug", data=msgspec.json.encode(data).decode(), **more)

    def keep_unused(self, seconds: float) -> None:
        """From now on a reservation may stay unused for so long."""
        self.api._reservations._seconds = seconds  # pyright: ignore[reportPrivateUsage]

    async def command(self, path: str, command: Any) -> tuple[int, dict[str, str]]:
        body = command if isinstance(command, bytes) else msgspec.json.encode(command)
        reply = await ask(self.url, "POST", f"/v1.0/worker/{path}", body, b"content-type: application/json\r\n")
        return reply.status, msgspec.json.decode(reply.body)


@asynccontextmanager
async def kernel(
    *,
    seconds: float = 60.0,
    kept: tuple[Record, ...] = (),
    allow: Callable[[Exchange], None] = lambda exchange: None,
    guard: Guard | None = None,
    keyring: Keyring | None = None,
    port: int = 0,
) -> AsyncIterator[Kernel]:
    dispatch = Dispatch()
    registry = Registry(dispatch, lambda scheme: kuwa.connect, kept)
    journal, counters = Journal(), Counters()

    serving = Serving(dispatch, Relay(), journal, counters, Admission(keyring))
    services = Services(
        serving, dispatch, registry, counters, cast(Any, None), Condition, allow, lambda: None, cast(Any, None)
    )
    api = KuwaKernel(services, KuwaKernel.Options(reservation_seconds=seconds))
    listening = Listening(Application([api], guard=guard), bind("127.0.0.1", port))
    await listening.start()
    tasks = [asyncio.create_task(api.live(listening.url)), asyncio.create_task(registry.live())]
    try:
        yield Kernel(listening.url, api, dispatch, registry, journal)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await listening.aclose()
        await registry.aclose()


class Stream:
    """A completion under way; `body` grows."""

    def __init__(self, url: str, **fields: str) -> None:
        self.body = b""
        self.pieces = 0
        self.complete = False
        self._client = Client(url)
        self._fields = emit_form({"user_id": "7", **fields})
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with self._client.request(b"POST", b"/v1.0/chat/completions", FORM, self._fields) as answer:
            async for piece in answer:
                self.body += piece
                self.pieces += 1
            self.complete = True

    async def end(self) -> str:
        """Wait for the end of the answer."""
        try:
            async with asyncio.timeout(30):
                await self._task
        finally:
            await self.leave()
        return self.body.decode()

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._client.aclose()


__all__ = ["FORM", "IDLE", "Executor", "Kernel", "Reply", "Script", "Stream", "ask", "kernel"]
