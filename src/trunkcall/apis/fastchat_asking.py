"""Questions to FastChat workers about their status: after they register, when told to, and when they were silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols.fastchat import Status, read_status
from trunkcall.protocols.fastchat_words import STATUS

PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each question to one that has just registered, which may be before it listens."""
WAIT_SECONDS: Final = 0.25
"""So long a caller waits for the answer of a worker that is about to be chosen."""

_AT_ONCE: Final = 64
_TIMEOUTS: Final = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, whole=5.0)
_LIMIT: Final = 1 << 20

T = TypeVar("T")

Learn = Callable[[str, Status | ServingError], Awaitable[Status | None]]
"""Told the status of an address, or why there is none; gives the status."""


class Asking:
    """Owns all questions, one at a time for each worker; what comes of each is handed to `learn`."""

    def __init__(self, learn: Learn) -> None:
        self._learn = learn
        self._asked: dict[str, asyncio.Task[Status | None]] = {}
        self._began: dict[str, float] = {}
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._closed = False

    async def ask(self, address: str) -> Status | None:
        """The status of a worker now, None when it does not tell; a caller that leaves does not end the question."""
        return (await self.ask_all((address,)))[address]

    async def ask_all(self, addresses: Iterable[str]) -> dict[str, Status | None]:
        """The same of many at once."""
        asked = {address: self._question(address) for address in addresses}
        if asked:
            await asyncio.wait(asked.values())
        return {address: None if task.cancelled() else task.result() for address, task in asked.items()}

    async def touch(self, address: str) -> bool:
        """Whether a worker answers at once; one that is slow is not waited for."""
        task = self._question(address)
        left = self._began[address] + WAIT_SECONDS - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.wait({task}, timeout=left)
        return task.done() and not task.cancelled() and task.result() is not None

    def follow(self, address: str) -> None:
        """Ask one that has registered until it has told its models."""
        self.leave(address)
        if not self._closed:
            _own(self._follow(address), self._followed, address)

    def leave(self, address: str) -> None:
        """No longer follow one."""
        if address in self._followed:
            self._followed[address].cancel()

    async def aclose(self) -> None:
        """End all questions."""
        self._closed = True
        tasks = [*self._followed.values(), *self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _question(self, address: str) -> asyncio.Task[Status | None]:
        found = self._asked.get(address)
        if found is not None:
            return found
        if self._closed:
            raise ServingError("draining", "the server is shutting down; try again soon", retry_after=5)
        self._began[address] = asyncio.get_running_loop().time()
        return _own(self._ask(address), self._asked, address)

    async def _ask(self, address: str) -> Status | None:
        async with self._limit:
            try:
                told: Status | ServingError = await ask_status(address)
            except ServingError as error:
                log.debug("the FastChat worker %s tells no status: %s", address, error.message)
                told = error
        return await self._learn(address, told)

    async def _follow(self, address: str) -> None:
        for pause in PAUSES:
            await asyncio.sleep(pause)
            status = await self.ask(address)
            if status is not None and status.names:
                return


def _own(work: Coroutine[Any, Any, T], table: dict[str, asyncio.Task[T]], address: str) -> asyncio.Task[T]:
    """The work as a task that is in the table while it runs."""
    task = table[address] = asyncio.create_task(work)

    def ended(task: asyncio.Task[T]) -> None:
        if table.get(address) is task:
            del table[address]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("asking %s failed", address, exc_info=error)

    task.add_done_callback(ended)
    return task


async def ask_status(address: str) -> Status:
    """What the worker at a URL says of itself within 5 seconds.

    Raises ServingError: bad_request, unreachable, upstream_timeout, upstream_error.
    """
    parts = urlsplit(address)
    client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=_TIMEOUTS)
    try:
        async with client.request(b"POST", f"{parts.path}/{STATUS}".encode(), b"") as answer:
            body = await answer.read(_LIMIT)
        if answer.status != 200:
            raise ServingError(
                "upstream_error", f"{address} answers /{STATUS} with {answer.status}; is it a FastChat worker?"
            )
        return read_status(body)
    finally:
        await client.aclose()
