"""Work that is done to its end though its caller is cancelled, even twice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def owned(work: Coroutine[Any, Any, T], linger: float | None = None) -> T:
    """Await the work in a task of its own, which outlives a cancellation of the caller.

    linger: seconds that it has from then on, None for as many as it takes. The cancellation is raised when the work
    has ended; its result is lost then, so that it has to keep what matters itself.
    Raises what the work raises.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    until: float | None = None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=None if until is None else max(0.0, until - loop.time()))
        except asyncio.CancelledError as error:
            if cancelled is None:
                cancelled = error
                until = None if linger is None else loop.time() + linger
        else:
            if until is not None and not task.done():
                task.cancel()
                until = None
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        # Looked at, or asyncio complains that nobody did.
        task.exception()
    raise cancelled
