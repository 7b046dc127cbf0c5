"""What happens, as it happens: news of models, replicas, requests, keys and settings as server-sent events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from trunkcall.apis.admin_models import without_logs
from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.apis.admin_stream import stream
from trunkcall.control.news import Kind
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView, ReplicaView
from trunkcall.core.text import did_you_mean
from trunkcall.protocols.frames import event

BACKLOG: Final = 1000
"""Most pieces of news that wait for a slow listener."""
LOOK_SECONDS: Final = 1.0
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """kinds: between commas, of model, replica, request, key and settings; empty for all."""

    kinds: str = ""


class Missed(msgspec.Struct, frozen=True):
    """How many events a listener was too slow for, since the last one that it got."""

    count: int


class EventOperations:
    """What administration hears."""

    def __init__(self, services: Services) -> None:
        self._news = services.operations.news
        self._dispatch = services.dispatch

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        return (
            operation(
                "GET",
                "/admin/events",
                "What happens from now on",
                self._events,
                query=EventsQuery,
                gives=None,
                streams="`model`, `replica`, `request`, `key`, `settings`, and `missed` where the client is too slow",
            ),
        )

    async def _events(self, ask: Ask[EventsQuery, Nothing]) -> None:
        backlog = Backlog(_kinds(ask.query.kinds))
        leave = self._news.listen(backlog.put)
        try:
            await stream(
                ask.exchange,
                backlog.take,
                backlog.there,
                ended=lambda: self._dispatch.draining,
                look_seconds=LOOK_SECONDS,
            )
        finally:
            leave()


class Backlog:
    """News that waits for one listener; what it is too slow for is counted and not kept."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._waiting: deque[tuple[str, Any]] = deque()
        self._missed = 0
        self.there = asyncio.Event()
        """Set when there is something to take."""

    def put(self, kind: Kind, about: Any) -> None:
        """Keep a piece of news, if it is wanted and there is room."""
        if kind not in self._kinds:
            return
        if len(self._waiting) < BACKLOG:
            self._waiting.append((kind, about))
        else:
            self._missed += 1
        self.there.set()

    def take(self) -> bytes:
        """All that waits, as events."""
        told = b"".join(event(kind, brief(about)) for kind, about in self._waiting)
        if self._missed:
            told += event("missed", Missed(self._missed))
        self._waiting.clear()
        self._missed = 0
        return told


def brief(about: Any) -> Any:
    """A piece of news without the lines that replicas wrote."""
    match about:
        case ModelView():
            return without_logs(about)
        case ReplicaView():
            return msgspec.structs.replace(about, log=())
        case _:
            return about


def _kinds(words: str) -> frozenset[str]:
    found = frozenset(word.strip() for word in words.split(",") if word.strip())
    for word in found:
        if word not in KINDS:
            raise ServingError("bad_request", f"kinds: {word!r} is none. {did_you_mean(word, KINDS)}", param="kinds")
    return found or frozenset(KINDS)
