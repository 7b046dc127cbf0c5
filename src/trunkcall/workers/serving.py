"""How a worker serves the model that it has loaded: on a port of loopback until SIGTERM, then what is running ends."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Any, Final, Protocol

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Api
from trunkcall.net.link import ChildLink
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.relay import Relay

_GRACE_SHARE: Final = 0.8
"""Of the time until our parent kills us, for answers that are on their way."""


class Drains(Api, Protocol):
    """An api that refuses new requests once it is draining."""

    draining: bool


async def serve(api: Drains, relay: Relay, link: ChildLink, grace: float, about: dict[str, Any] | None = None) -> None:
    """Serve, and report where; returns after SIGTERM, when the relay's answers have ended or were cut.

    grace: seconds from SIGTERM until our parent kills us; about: what the report says beside the address.
    """
    listening = Listening(Application((api,)), bind("127.0.0.1", 0))
    await listening.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    gc.freeze()
    link.report(address=listening.url, about=about)
    link.beat()
    await ended.wait()
    api.draining = True
    if not await relay.drained(grace * _GRACE_SHARE):
        relay.cut_all(ServingError("draining", "this replica ended before the answer was complete"))
        await relay.drained(0.1)
