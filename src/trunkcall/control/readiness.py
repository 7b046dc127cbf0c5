"""Waiting until a model has a replica that answers."""

from __future__ import annotations

import asyncio
import time

from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend


async def ready_backend(dispatch: Dispatch, model: str, seconds: float) -> Backend:
    """The backend of a replica that is ready, which takes none of its slots; one is started when none is.

    Raises ServingError: loading when there is none after so many seconds, and as Dispatch.lease does.
    """
    for replica in dispatch.pool(model).replicas:
        shut = replica.breaker.shut(time.monotonic())
        if replica.state == "ready" and replica.backend is not None and not shut:
            return replica.backend
    granted = dispatch.lease(model)
    if isinstance(granted, Lease):
        granted.release("unused")
        return granted.backend
    try:
        done, _ = await asyncio.wait({granted.future}, timeout=seconds)
        if not done:
            raise ServingError(
                "loading",
                f"the model {model!r} was not ready after {seconds:g} seconds"
                f"{f' ({granted.loading})' if granted.loading else ''}; try again soon",
                retry_after=dispatch.pool(model).retry_after(),
            )
        return granted.future.result().backend
    finally:
        granted.close()
