"""One answer piece by piece, out of the loop's thread into the caller's."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Generator
from typing import Final

from trunkcall.control.dispatch import Dispatch
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Fault, Text
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Generates
from trunkcall.core.requests import Generate
from trunkcall.offline.batch import granted
from trunkcall.offline.embedded import Embedded

_CANCEL_SECONDS: Final = 5.0


def pieces(embedded: Embedded, request: Generate) -> Generator[str]:
    """The text of an answer as it comes; closing the iterator stops the work.

    Raises ServingError, also for a failure after the first piece.
    """
    passed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    work = embedded.start(_pump(embedded.dispatch, request, passed))
    try:
        while (piece := passed.get()) is not None:
            yield piece
        work.result()
    finally:
        if work.cancel():
            # _pump says so when it has ended.
            while passed.get(timeout=_CANCEL_SECONDS) is not None:
                pass


async def _pump(dispatch: Dispatch, request: Generate, passed: queue.SimpleQueue[str | None]) -> None:
    try:
        lease = await granted(dispatch, request.model)
        try:
            if not isinstance(lease.backend, Generates):
                raise ServingError("unsupported", f"{request.model!r} does not generate text", param="model")
            meter = Meter(uuid.uuid4().hex, model=request.model, protocol="python", stream=True)
            async with lease.backend.open(request, meter) as events:
                async for event in events:
                    if isinstance(event, Fault):
                        raise event.error
                    if isinstance(event, Text):
                        passed.put(event.text)
        finally:
            lease.release()
    finally:
        passed.put(None)
