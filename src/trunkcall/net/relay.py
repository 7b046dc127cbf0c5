"""The only way a generation leaves: bytes out, back-pressure kept, work cancelled when either side ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Header, Response

SWEEP_SECONDS: Final = 1.0

Work = Callable[["Reply"], Awaitable[None]]


class Reply:
    """One answer on its way to a client; `left` is set when the client has gone.

    What is sent goes to its exchange: a layer between would cost at each chunk.
    """

    __slots__ = (
        "answering",
        "cause",
        "deadline",
        "exchange",
        "left",
        "stalled_sweeps",
        "unread",
    )

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.left = False
        self.answering = False
        """Whether something of the answer itself has been sent; a head with queue comments is not."""
        self.cause: ServingError | None = None
        self.deadline: float | None = None
        self.unread = 0
        """Bytes that the client had not taken at the last sweep."""
        self.stalled_sweeps = 0

    @property
    def started(self) -> bool:
        """Whether the head has been sent, so that an error can only be told in the stream."""
        return self.exchange.started

    async def whole(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send an answer of one piece; content-length is added. Raises ServingError: cancelled when the client left."""
        exchange = self.exchange
        await exchange.respond(Response(status, body, tuple(headers)))
        if not exchange.complete:
            # The news that it left, and the cancel that it causes, may still be on their way.
            await asyncio.sleep(0)
            raise ServingError("cancelled", "the client left before its answer was complete")

    def leave(self) -> None:
        """The client has gone: stop the work."""
        self.left = True
        self.exchange.cancel()

    def expire(self) -> None:
        """The deadline has passed."""
        self.cut(ServingError("deadline", "the deadline passed before the answer was complete"))

    def cut(self, cause: ServingError) -> None:
        """Stop the work for a reason of ours."""
        if self.cause is None and not self.left:
            self.cause = cause
            self.exchange.cancel()


class Relay:
    """All answers of this process on their way; one sweep looks after stalled readers.

    stall_timeout: seconds that a client may not read before its work is stopped.
    """

    def __init__(self, stall_timeout: float = 60.0) -> None:
        self.allow_stalls(stall_timeout)
        self._live: set[Reply] = set()
        self._timer: asyncio.TimerHandle | None = None

    def allow_stalls(self, seconds: float) -> None:
        """From now on a client may not read for so long."""
        self._stall_sweeps = max(1, round(seconds / SWEEP_SECONDS))
        self._stall_timeout = seconds

    @property
    def live(self) -> int:
        """How many answers are on their way."""
        return len(self._live)

    async def run(self, exchange: Exchange, work: Work, deadline: float | None = None) -> bool:
        """Do the work in the caller's task until it ends or the client leaves.

        deadline: `loop.time()` seconds. Gives False when the client left.
        Raises what the work raises; ServingError (deadline, draining) when cut.
        """
        reply = Reply(exchange)
        reply.deadline = deadline
        self._live.add(reply)
        # Asked for only where it is needed: in Python 3.11 each question is a system call, of 1 us and more.
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        end = None if deadline is None else asyncio.get_running_loop().call_at(deadline, reply.expire)
        watch = exchange.when_gone(reply.leave)
        try:
            await work(reply)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not (reply.left or reply.cause):
                raise
            task.uncancel()
            if reply.cause is not None:
                raise reply.cause from None
            return False
        finally:
            self._live.discard(reply)
            watch.close()
            if end is not None:
                end.cancel()
        return not reply.left

    def cut(self, exchange: Exchange, cause: ServingError) -> None:
        """Stop the work for one exchange; does nothing when it has ended."""
        for reply in tuple(self._live):
            if reply.exchange is exchange:
                reply.cut(cause)

    def cut_all(self, cause: ServingError) -> None:
        """Stop all work, as when draining has taken too long."""
        for reply in tuple(self._live):
            reply.cut(cause)

    async def drained(self, seconds: float) -> bool:
        """Wait until nothing is on its way, at most so long; gives whether that was reached."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._live and loop.time() < end:
            await asyncio.sleep(0.02)
        return not self._live

    def _sweep(self) -> None:
        for reply in tuple(self._live):
            unread = reply.exchange.unread
            reply.stalled_sweeps = reply.stalled_sweeps + 1 if unread and unread == reply.unread else 0
            reply.unread = unread
            if reply.stalled_sweeps >= self._stall_sweeps:
                reply.cut(ServingError("cancelled", f"the client did not read for {self._stall_timeout:g} seconds"))
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep) if self._live else None
