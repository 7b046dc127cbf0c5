"""Kuwa's reservations: a slot that is kept between the call that takes it and the call that uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from trunkcall.control.dispatch import Lease
from trunkcall.control.pool import Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange

Id = str | int | None
"""Of a conversation or a user, as a form says it; -1, a number, is nobody."""
Cut = Callable[[Exchange, ServingError], None]


class Reservation:
    """One slot of one conversation; written by its `Reservations` only."""

    __slots__ = ("busy", "ended", "exchange", "expires", "history_id", "lease", "name", "user_id")

    def __init__(self, name: str, history_id: Id, user_id: Id, lease: Lease) -> None:
        self.name = name
        self.history_id = history_id
        self.user_id = user_id
        self.lease = lease
        self.expires: float | None = None
        self.busy = False
        self.exchange: Exchange | None = None
        """The call that uses it."""
        self.ended = asyncio.Event()


class Reservations:
    """All reservations of one kernel.

    cut: ends a running call; seconds: how long one may stay unused.
    """

    def __init__(self, cut: Cut, seconds: float) -> None:
        self._cut = cut
        self._seconds = seconds
        self._all: dict[Reservation, None] = {}
        self._unused: dict[tuple[str | None, Id, Id], list[Reservation]] = {}

    def hold(self, lease: Lease, name: str, history_id: Id, user_id: Id) -> None:
        """Keep a slot for the conversation until it is claimed, or the time is over."""
        reservation = self._keep(lease, name, history_id, user_id)
        reservation.expires = time.monotonic() + self._seconds

    def hold_by_hand(self, lease: Lease, name: str, history_id: Id, user_id: Id, *, busy: bool) -> None:
        """Keep a slot until somebody frees it; busy: it cannot be claimed either."""
        reservation = self._keep(lease, name, history_id, user_id)
        reservation.busy = busy
        if busy:
            self._take(reservation)

    def claim(self, name: str | None, history_id: Id, user_id: Id, exchange: Exchange) -> Reservation | None:
        """The oldest unused reservation of the conversation, now used by this call, which ends it.

        Its lease has been given back when the replica was started anew meanwhile.
        """
        found = self._unused.get((name, history_id, user_id))
        if not found:
            return None
        reservation = found[0]
        self._take(reservation)
        lease = reservation.lease
        if lease.replica.backend is not lease.backend:
            lease.release("unused")
        reservation.busy = True
        reservation.exchange = exchange
        return reservation

    def end(self, reservation: Reservation) -> None:
        """Give the slot back; does nothing when it was given back before."""
        if reservation not in self._all:
            return
        del self._all[reservation]
        self._take(reservation)
        reservation.lease.release("unused")
        reservation.ended.set()

    async def free(self, reservations: Collection[Reservation], cause: ServingError, limit: float) -> None:
        """End these: an unused one at once, a running call by telling it the cause.

        Returns when all slots are free, at the latest after `limit` seconds.
        """
        for reservation in reservations:
            if reservation.exchange is None:
                self.end(reservation)
            else:
                self._cut(reservation.exchange, cause)
        try:
            async with asyncio.timeout(limit):
                for reservation in reservations:
                    await reservation.ended.wait()
        except TimeoutError:
            pass

    def of(self, history_ids: Collection[str], user_id: Id) -> list[Reservation]:
        """Those of one user's conversations, used or not."""
        return [
            reservation
            for reservation in self._all
            if reservation.user_id == user_id and str(reservation.history_id) in history_ids
        ]

    def on(self, replica: Replica) -> list[Reservation]:
        """Those that hold a slot of a replica, in the order in which they were made."""
        return [
            reservation
            for reservation in self._all
            if reservation.lease.replica is replica and not reservation.lease.released
        ]

    def sweep(self) -> list[Reservation]:
        """End and give those that were not used in time, or whose model has gone."""
        now = time.monotonic()
        over = [
            reservation
            for reservation in self._all
            if reservation.exchange is None
            and (reservation.lease.pool.draining or (reservation.expires is not None and reservation.expires < now))
        ]
        for reservation in over:
            self.end(reservation)
        return over

    def _keep(self, lease: Lease, name: str, history_id: Id, user_id: Id) -> Reservation:
        reservation = Reservation(name, history_id, user_id, lease)
        self._all[reservation] = None
        self._unused.setdefault((name, history_id, user_id), []).append(reservation)
        return reservation

    def _take(self, reservation: Reservation) -> None:
        key = (reservation.name, reservation.history_id, reservation.user_id)
        waiting = self._unused.get(key, [])
        if reservation in waiting:
            waiting.remove(reservation)
            if not waiting:
                del self._unused[key]
