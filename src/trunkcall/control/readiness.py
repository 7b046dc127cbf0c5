"""Waiting until a model has a replica that answers."""

from __future__ import annotations

import asyncio

from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend


async def ready_backend(dispatch: Dispatch, model: str, seconds: float) -> Backend:
    """The backend of a replica that is ready, which takes none of its slots; one is started when none is.

    Raises ServingError: loading when there is none after so many seconds, and as Dispatch.lease does.
    """
    for replica in dispatch.pool(model).replicas:
        if replica.state == "ready" and replica.backend is not None:
            return replica.backend
    granted = dispatch.lease(model)
    if isinstance(granted, Lease):
        granted.release()
        return granted.backend
    try:
        done, _ = await asyncio.wait({granted.future}, timeout=seconds)
        if not done:
            raise ServingError(
                "loading", f"the model {model!r} was not ready after {seconds:g} seconds; try again soon"
            )
        return granted.future.result().backend
    finally:
        granted.close()
