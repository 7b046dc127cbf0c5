"""Kuwa's records: who serves which name and for whom, as the kernel shows it and lets an administrator write it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from trunkcall.apis.kuwa_reservations import Id, Reservation, Reservations
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Replica
from trunkcall.control.registry import Registry, Worker
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log

SCHEME: Final = "kuwa"
CUT_SECONDS: Final = 10.0
"""How long a call that was ended may take to give its slot back."""
_NOBODY: Final = -1
_AT_ONCE: Final = 32


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A slot as Kuwa writes it. READY with ids is reserved; an idle one has the number -1 for both."""

    endpoint: str
    state: Literal["READY", "BUSY"] = "READY"
    history_id: Id = _NOBODY
    user_id: Id = _NOBODY

    @property
    def idle(self) -> bool:
        """Nobody has it."""
        return self == Record(self.endpoint)


State = dict[str, list[Record]]
"""Name -> its records, in the order in which they came."""

_state: Final = msgspec.json.Decoder(State)


def read_state(text: str, field: str) -> State:
    """The state in a form's field; raises ServingError (bad_request) unless it is such JSON."""
    try:
        return _state.decode(text)
    except msgspec.DecodeError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    shape = '{"NAME": [["http://HOST:PORT/chat", "READY", -1, -1]]}'
    raise ServingError("bad_request", f"{field}: {reason}; send JSON of the form {shape}", param=field)


def origin_of(url: str) -> tuple[str, str]:
    """Scheme and authority of an executor's URL; raises ServingError (bad_request) where none can be."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ServingError("bad_request", f"{url!r} is no executor's address; it looks like http://HOST:PORT/chat")
    return parts.scheme, parts.netloc


def is_endpoint(url: str) -> bool:
    """Whether an executor can be there; without a path it would be another kernel."""
    try:
        return url.removeprefix("://".join(origin_of(url))) not in ("", "/")
    except ServingError:
        return False


def check_endpoint(url: str) -> None:
    """Raises ServingError (bad_request) for what is no endpoint."""
    if not is_endpoint(url):
        raise ServingError("bad_request", f"{url!r} is no executor's endpoint; one looks like http://HOST:PORT/chat")


def changes(seen: Iterable[Record], wanted: Iterable[Record]) -> tuple[Counter[Record], Counter[Record]]:
    """What was there and is not wanted, and what is wanted and was not there; of equal ones each counts."""
    before, after = Counter(seen), Counter(wanted)
    return before - after, after - before


class Records:
    """The records of all models: executors that registered, and those of the settings with their source as endpoint."""

    def __init__(self, dispatch: Dispatch, registry: Registry, reservations: Reservations) -> None:
        self._dispatch = dispatch
        self._registry = registry
        self._reservations = reservations

    def state(self) -> State:
        """All records now."""
        return {
            name: [record for replica in pool.replicas for record in self._records(replica)]
            for name, pool in self._dispatch.pools.items()
        }

    def executor(self, name: str, endpoint: str) -> Worker | None:
        """The executor that registered this endpoint under this name and answers."""
        workers = self._registry.models(SCHEME).get(name, ())
        return next((worker for worker in workers if worker.address == endpoint), None)

    async def replace(self, wanted: State, seen: State | None = None) -> None:
        """Make the names in `wanted` have these records; of their endpoints only those count that answer.

        seen: the records that the administrator looked at; what has changed since is left
        alone. Records of the settings' models can be freed and taken, not added or removed.
        """
        before = self.state() if seen is None else seen
        answering = await self._answering(
            {record.endpoint for name, records in wanted.items() if not self._is_ours(name) for record in records}
        )
        taken: list[tuple[str, Record]] = []
        freed: list[tuple[str, Record]] = []
        for name, records in wanted.items():
            looked_at = before.get(name, ())
            if name and not self._is_ours(name):
                kept = [record.endpoint for record in records if record.endpoint in answering]
                self._offer(name, kept, dropped={record.endpoint for record in looked_at} - set(kept))
            gone, new = changes(looked_at, records)
            freed += [(name, record) for record in gone]
            taken += [(name, record) for record in new.elements()]
        await self._free(freed)
        for name, record in taken:
            self._take(name, record)

    async def update(self, name: str, old: Record, new_name: str, new: Record) -> None:
        """Put one record in the place of another.

        Raises ServingError: no_route when there is no such record, conflict when a model of the settings
        would move, bad_request for an endpoint that cannot be.
        """
        if old not in self.state().get(name, ()):
            raise ServingError("no_route", "Record not found")
        moving: Worker | None = None
        if (name, old.endpoint) != (new_name, new.endpoint):
            moving = self.executor(name, old.endpoint)
            if moving is None:
                raise ServingError("conflict", "a model of the settings can be freed or taken; change its name there")
            check_endpoint(new.endpoint)
            self._registry.join(new_name, SCHEME, new.endpoint)
        changed = msgspec.structs.replace(new, endpoint=old.endpoint) != old
        if changed:
            await self._free([(name, old)])
        if moving is not None:
            self._registry.leave(name, moving)
        if changed:
            self._take(new_name, new)

    def _is_ours(self, name: str) -> bool:
        return name in self._dispatch.pools and name not in self._registry.models(SCHEME)

    def _records(self, replica: Replica) -> list[Record]:
        if replica.state in ("failed", "draining"):
            return []
        endpoint = self._endpoint(replica)
        held = self._reservations.on(replica)
        records = [_record_of(endpoint, reservation) for reservation in held]
        if replica.slots is None or replica.in_flight < replica.slots:
            records.append(Record(endpoint))
        elif not records:
            # Somebody has it who came by another protocol.
            records.append(Record(endpoint, "BUSY"))
        return records

    def _endpoint(self, replica: Replica) -> str:
        worker = self._registry.find(SCHEME, replica.source.target)
        return worker.address if worker is not None and worker.replica is replica else str(replica.source)

    async def _answering(self, endpoints: set[str]) -> set[str]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def ask(endpoint: str) -> bool:
            async with limit:
                return is_endpoint(endpoint) and await self._registry.answers(SCHEME, endpoint)

        asked = list(endpoints)
        return {endpoint for endpoint, well in zip(asked, await asyncio.gather(*map(ask, asked)), strict=True) if well}

    def _offer(self, name: str, kept: list[str], dropped: set[str]) -> None:
        for endpoint in kept:
            self._registry.join(name, SCHEME, endpoint)
        for endpoint in dropped:
            worker = self.executor(name, endpoint)
            if worker is not None:
                self._registry.leave(name, worker)

    async def _free(self, gone: Iterable[tuple[str, Record]]) -> None:
        held = [
            reservation
            for name, record in gone
            for replica in self._replicas(name)
            for reservation in self._reservations.on(replica)
            if _record_of(self._endpoint(replica), reservation) == record
        ]
        await self._reservations.free(held, ServingError("cancelled", "an administrator ended the call"), CUT_SECONDS)

    def _take(self, name: str, record: Record) -> None:
        """Reserve by hand what a record says is taken."""
        replica = next((found for found in self._replicas(name) if self._endpoint(found) == record.endpoint), None)
        if replica is None or record.idle:
            return
        lease = self._dispatch.lease_on(self._dispatch.pool(name), replica)
        if lease is None:
            log.warning("%s of %r is busy and cannot be reserved by hand", record.endpoint, name)
            return
        busy = record.state == "BUSY"
        self._reservations.hold_by_hand(lease, name, record.history_id, record.user_id, busy=busy)

    def _replicas(self, name: str) -> list[Replica]:
        pool = self._dispatch.pools.get(name)
        return [] if pool is None else list(pool.replicas)


def _record_of(endpoint: str, reservation: Reservation) -> Record:
    return Record(endpoint, "BUSY" if reservation.busy else "READY", reservation.history_id, reservation.user_id)
