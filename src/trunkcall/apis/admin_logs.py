"""The last lines that a model's replicas or the server itself wrote, and those that they write from now on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec

from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.apis.admin_stream import stream
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Replica
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.log_lines import OWN_LINES
from trunkcall.protocols.frames import event

LOOK_SECONDS: Final = 0.25

Tail = Callable[[int], tuple[int, tuple[str, ...]]]


class LogQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """lines: most of each replica; follow: as server-sent events, and those that come."""

    lines: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 200
    follow: bool = False


class ReplicaLog(msgspec.Struct, frozen=True):
    """The last lines of one replica's process, or of its last one; replica: empty for the server itself."""

    replica: str
    lines: tuple[str, ...]


class Logs(msgspec.Struct, frozen=True):
    """Of each replica that was asked for; those that nobody starts here have none."""

    logs: list[ReplicaLog]


class LogLine(msgspec.Struct, frozen=True):
    """A line as an event tells it; replica: empty for the server itself."""

    replica: str
    line: str


class LogOperations:
    """What administration reads of logs."""

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        return (
            operation(
                "GET",
                "/admin/logs",
                "The last lines of the server's own log",
                self._own_log,
                query=LogQuery,
                gives=Logs,
                streams="`line`: a LogLine, for each line that comes",
            ),
            operation(
                "GET",
                "/admin/logs/{name*}",
                "The last lines of a model's replicas, or of one replica by its id",
                self._logs,
                query=LogQuery,
                gives=Logs,
                streams="`line`: a LogLine, for each line that comes",
                errors=("no_model",),
            ),
        )

    async def _own_log(self, ask: Ask[LogQuery, Nothing]) -> Logs | None:
        query = ask.query
        told, lines = OWN_LINES.tail()
        if not query.follow:
            return Logs([ReplicaLog("", _last(lines, query.lines))])
        waiting = _last(lines, query.lines)

        def take() -> bytes:
            nonlocal told, waiting
            found, waiting = waiting, ()
            told, new = OWN_LINES.tail(told)
            return b"".join(event("line", LogLine("", line)) for line in (*found, *new))

        await stream(
            ask.exchange, take, asyncio.Event(), ended=lambda: self._dispatch.draining, look_seconds=LOOK_SECONDS
        )
        return None

    async def _logs(self, ask: Ask[LogQuery, Nothing]) -> Logs | None:
        name, query = ask.name, ask.query
        found = replicas(self._dispatch, name)
        if not query.follow:
            return Logs([ReplicaLog(one.id, _last(one.log(), query.lines)) for one in found])
        tails = Tails(query.lines)

        def take() -> bytes:
            return b"".join(event("line", line) for one in self._there(name) for line in tails.new(one))

        await stream(
            ask.exchange, take, asyncio.Event(), ended=lambda: self._dispatch.draining, look_seconds=LOOK_SECONDS
        )
        return None

    def _there(self, name: str) -> Sequence[Replica]:
        try:
            return replicas(self._dispatch, name)
        except ServingError:
            # The model was taken out; one of its name may come back.
            return ()


def replicas(dispatch: Dispatch, name: str) -> Sequence[Replica]:
    """All of a model, or the one of this id; raises ServingError (no_model)."""
    pool = dispatch.find(name)
    if pool is not None:
        return tuple(pool.replicas)
    model, slash, _ = name.rpartition("/")
    owner = dispatch.find(model) if slash else None
    if owner is None:
        return tuple(dispatch.pool(name).replicas)
    for replica in owner.replicas:
        if replica.id == name:
            return (replica,)
    ids = ", ".join(replica.id for replica in owner.replicas)
    raise ServingError("no_model", f"the model {model!r} has no replica {name!r}; it has {ids or 'none'}", param="name")


class Tails:
    """How far the logs of replicas have been told; of what is there at the first look the last `lines` are new."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._told: dict[str, tuple[Tail, int]] = {}

    def new(self, replica: Replica) -> list[LogLine]:
        """The lines that have become whole since the last look."""
        tail = replica.tail
        known = self._told.get(replica.id)
        # Another process counts from the start.
        next_number, lines = tail(known[1] if known is not None and known[0] == tail else 0)
        self._told[replica.id] = (tail, next_number)
        return [LogLine(replica.id, line) for line in (lines if known is not None else _last(lines, self._lines))]


def _last(lines: tuple[str, ...], count: int) -> tuple[str, ...]:
    return lines[max(0, len(lines) - count) :]
