"""Waiting until what a server is there for is loaded, for servers that answer nothing before."""

from __future__ import annotations

import asyncio
from typing import Final

from trunkcall.control.dispatch import Dispatch
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import ReplicaView

LOOK_SECONDS: Final = 0.1
TELL_SECONDS: Final = 10.0
"""How often a start that takes long is heard of."""


async def loaded(dispatch: Dispatch) -> None:
    """Wait until each model can be asked, and log how it goes and by what each is served.

    Raises ServingError (no_capacity) when one cannot be loaded, saying why.
    """
    since_told = 0.0
    while not can_be_asked(dispatch):
        for replica in _replicas(dispatch):
            if replica.error and replica.state in ("failed", "off"):
                raise ServingError("no_capacity", f"{replica.model!r} cannot be served: {replica.error}")
        await asyncio.sleep(LOOK_SECONDS)
        since_told += LOOK_SECONDS
        if since_told >= TELL_SECONDS:
            since_told = 0.0
            for replica in _replicas(dispatch):
                log.info("%s is being started: %s", replica.model, replica.log[-1] if replica.log else "")
    for replica in _replicas(dispatch):
        by = f"{replica.engine} ({replica.why})" if replica.why else replica.engine or replica.source
        log.info("%s is served by %s", replica.model, by)


def can_be_asked(dispatch: Dispatch) -> bool:
    """Whether each model has a replica that answers."""
    return all(any(replica.state in ("ready", "asleep") for replica in view.replicas) for view in dispatch.views())


def _replicas(dispatch: Dispatch) -> list[ReplicaView]:
    return [replica for view in dispatch.views() for replica in view.replicas]
