"""An answer of administration that goes on: server-sent events, until the client leaves or the server ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange
from trunkcall.protocols.frames import LIVE_HEAD, comment

HEARTBEAT_SECONDS: Final = 15.0
"""Between two comments in a stream that has nothing to tell, so that proxies keep it and the client knows."""
STALL_SECONDS: Final = 60.0
"""How long a client may not read."""


async def stream(
    exchange: Exchange,
    take: Callable[[], bytes],
    woken: asyncio.Event,
    *,
    ended: Callable[[], bool],
    look_seconds: float,
) -> None:
    """Send what `take` gives, whenever `woken` is set and every `look_seconds`.

    ended: whether the server ends. Raises ServingError (cancelled) when the client left or does not read.
    """
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = True
        woken.set()

    watch = exchange.when_gone(leave)
    try:
        await exchange.begin(200, LIVE_HEAD)
        await exchange.write(comment("live"))
        spoke = time.monotonic()
        while not gone and not ended():
            woken.clear()
            piece = take()
            if not piece and time.monotonic() - spoke >= HEARTBEAT_SECONDS:
                piece = comment("still live")
            if piece:
                async with asyncio.timeout(STALL_SECONDS):
                    await exchange.write(piece)
                spoke = time.monotonic()
                continue
            try:
                async with asyncio.timeout(look_seconds):
                    await woken.wait()
            except TimeoutError:
                continue
        await exchange.finish()
    except TimeoutError:
        raise ServingError("cancelled", f"the client did not read for {STALL_SECONDS:g} seconds") from None
    finally:
        watch.close()
