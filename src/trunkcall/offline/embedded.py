"""One model with its replicas inside a user's program: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import uvloop

from trunkcall import plugins
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool
from trunkcall.control.supervisor import Supervisor
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings
from trunkcall.machine import look

_END_SECONDS: Final = 30.0
"""More than the children are given to end."""
_CANCEL_SECONDS: Final = 5.0

T = TypeVar("T")


class Embedded:
    """Children are started for the model; `close`, the end of this object or of the process ends them.

    Raises ServingError for a source or options that cannot work.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._loop = uvloop.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="trunkcall", daemon=True)
        thread.start()
        self.dispatch = Dispatch()
        supervisor = Supervisor(
            self.dispatch, plugins.find_placements(), look, plugins.find_engine, plugins.find_connect
        )
        self._finish = weakref.finalize(self, _end, self._loop, thread, supervisor)
        try:
            self.pool = self.run(_add(supervisor, settings))
        except BaseException:
            self.close()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work on the loop and wait for it; an interrupt stops the work.

        Raises what the work raises; ServingError (bad_request) after `close`.
        """
        ended = threading.Event()
        try:
            future = self.start(_until_ended(work, ended))
        except ServingError:
            # Not begun, the outer one has not taken the inner one over.
            work.close()
            raise
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait(_CANCEL_SECONDS)
            raise

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin some work on the loop without waiting for it; raises ServingError (bad_request) after `close`."""
        if not self._finish.alive:
            work.close()
            raise ServingError("bad_request", "this LLM was closed; make a new one")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End the children and the thread; once is enough."""
        self._finish()


async def _add(supervisor: Supervisor, settings: ModelSettings) -> Pool:
    return supervisor.add(settings)


async def _until_ended(work: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await work
    finally:
        ended.set()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, supervisor: Supervisor) -> None:
    asyncio.run_coroutine_threadsafe(supervisor.aclose(), loop).result(_END_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_END_SECONDS)
    if not thread.is_alive():
        loop.close()
