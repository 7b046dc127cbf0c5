"""The server itself: how it does, the machine it runs on, its settings, and reading them again."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall import __version__
from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.control.condition import Condition
from trunkcall.control.operations import Reloaded
from trunkcall.control.services import Services
from trunkcall.control.stories import failed
from trunkcall.core.models import Machine

_MEASURED: Final = 100
"""The last requests of a model of which the median time to the first token is taken."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class ModelActivity(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has done since the server started; tokens of requests that run are in it.

    running: requests on a replica; waiting: those in its queue; first_token_ms: median of the last ones.
    """

    name: str
    running: int
    waiting: int
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    first_token_ms: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the server does; started_at: unix seconds; memory: bytes of its own process."""

    version: str
    pid: int
    started_at: float
    uptime_seconds: float
    draining: bool
    memory: int
    condition: Condition
    models: list[ModelActivity]


class ServerOperations:
    """What administration does with the server as a whole."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._operations = services.operations
        self._started_at = time.time()
        self._started = time.monotonic()

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        return (
            operation("GET", "/admin/status", "How the server and its models do", self._status, gives=Status),
            operation("GET", "/admin/machine", "Cores, memory and GPUs of the machine", self._machine, gives=Machine),
            operation(
                "GET",
                "/admin/settings",
                "The settings in force and where each came from; secrets only as references",
                self._settings,
                gives=dict[str, Any],
            ),
            operation(
                "POST",
                "/admin/reload",
                "Read the settings again and apply them; what is not valid changes nothing",
                self._reload,
                gives=Reloaded,
                errors=("conflict", "unsupported"),
            ),
        )

    async def _status(self, ask: Ask[Nothing, Nothing]) -> Status:
        services = self._services
        return Status(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime_seconds=time.monotonic() - self._started,
            draining=services.dispatch.ending,
            memory=_memory(),
            condition=services.condition(),
            models=self._activity(),
        )

    def _activity(self) -> list[ModelActivity]:
        services = self._services
        stories = services.serving.stories
        running: dict[str, int] = defaultdict(int)
        pieces: dict[str, int] = defaultdict(int)
        for meter in stories.running():
            running[meter.served] += meter.granted is not None
            pieces[meter.served] += meter.usage.completion if meter.usage is not None else meter.chunks
        firsts: dict[str, list[float]] = defaultdict(list)
        for meter in stories.over():
            measured = firsts[meter.served]
            if meter.first is not None and len(measured) < _MEASURED:
                measured.append((meter.first - meter.started) * 1000)
        found: list[ModelActivity] = []
        for name, pool in services.dispatch.pools.items():
            counters = services.counters.models.get(name)
            outcomes = counters.outcomes if counters is not None else {}
            found.append(
                ModelActivity(
                    name=name,
                    running=running[name],
                    waiting=len(pool.queue),
                    requests=sum(outcomes.values()),
                    failed=sum(count for (_, outcome), count in outcomes.items() if failed(outcome)),
                    prompt_tokens=counters.prompt_tokens if counters is not None else 0,
                    completion_tokens=(counters.completion_tokens if counters is not None else 0) + pieces[name],
                    first_token_ms=round(statistics.median(firsts[name]), 3) if firsts[name] else None,
                )
            )
        return found

    async def _machine(self, ask: Ask[Nothing, Nothing]) -> Machine:
        return await asyncio.to_thread(self._operations.machine)

    async def _settings(self, ask: Ask[Nothing, Nothing]) -> dict[str, Any]:
        return self._operations.settings()

    async def _reload(self, ask: Ask[Nothing, Nothing]) -> Reloaded:
        return await self._operations.reload()


def _memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
