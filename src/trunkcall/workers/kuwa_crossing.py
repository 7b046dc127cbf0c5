"""An answer on its way from user code, in one thread, to the server, in another."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

ROOM: Final = 64
"""Pieces that user code may be ahead of a slow reader."""

_log: Final = logging.getLogger("kuwa.executor")


class Crossing:
    """One answer; made in the server's loop, whose task iterates over its pieces.

    answer: called in the user's thread; gives an asynchronous iterator of text, or awaits to one.
    """

    def __init__(self, users: asyncio.AbstractEventLoop, answer: Callable[[], Any]) -> None:
        self._users = users
        self._here = asyncio.get_running_loop()
        self._answer = answer
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(ROOM)
        self._task: asyncio.Task[None] | None = None
        self.left = False
        """The server no longer wants it."""
        self.failed = False
        """User code did not reach its end."""
        self.exit: SystemExit | None = None
        """User code asked to end the process."""
        self.ended: asyncio.Future[None] = self._here.create_future()
        """User code is done with it; in the server's loop."""
        tell(users, self._start)

    def leave(self) -> None:
        """Stop user code at its next await, or after its next piece."""
        if not self.left:
            self.left = True
            tell(self._users, self._stop)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            tell(self._users, self._room.release)
            yield piece

    # In the user's thread

    def _start(self) -> None:
        self._task = self._users.create_task(self._carry())

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _carry(self) -> None:
        self.failed = True
        try:
            given = self._answer()
            if inspect.isawaitable(given):
                given = await given
            if isinstance(given, str):
                await self._put(given)
            else:
                await self._put_all(given)
            self.failed = False
        except SystemExit as end:
            # Let through, it would end the loop under the other answers.
            self.exit = end
            _log.error("user code called sys.exit(%r); this process ends", end.code)
        except Exception:  # noqa: BLE001 - user code may raise anything; the log has the traceback
            _log.exception("user code failed")
        finally:
            tell(self._here, self._end)

    async def _put_all(self, given: AsyncIterator[object]) -> None:
        try:
            async for piece in given:
                await self._put(str(piece))
        finally:
            close = getattr(given, "aclose", None)
            if close is not None:
                await close()

    async def _put(self, piece: str) -> None:
        await self._room.acquire()
        tell(self._here, self._pieces.put_nowait, piece.encode(errors="replace"))
        # A generator that never awaits would keep out abort() and the news that the client left.
        await asyncio.sleep(0)
        if self.left:
            raise asyncio.CancelledError

    def _end(self) -> None:
        self._pieces.put_nowait(None)
        if not self.ended.done():
            self.ended.set_result(None)


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    """Have a loop of another thread call this; nothing happens when that loop has been closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)
