"""One model and its replicas, as dispatch sees them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from trunkcall.control.breaker import CLOSED, Breaker
from trunkcall.control.choice import Choice
from trunkcall.control.demand import Demand
from trunkcall.control.policy import Load, retry_after
from trunkcall.control.queue import FairQueue
from trunkcall.core.errors import Kind
from trunkcall.core.models import LaunchSpec, ModelSettings, ModelView, ReplicaView, Source, State
from trunkcall.core.ports import Backend


class _Ranked:
    """An attribute of a replica that its rank depends on: pools are told when it changes.

    Without `__get__`, so that reading it costs what any attribute costs.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, replica: Replica, value: Any) -> None:
        replica.__dict__[self._name] = value
        for pool in replica.pools:
            pool.choice.changed(replica)


def _ranked() -> Any:
    return _Ranked()


def _no_lines(number: int) -> tuple[int, tuple[str, ...]]:
    return 0, ()


class Replica:
    """One replica as dispatch sees it; written by dispatch and its supervisor's calls only."""

    state: State = _ranked()
    slots: int | None = _ranked()
    suspect_until: float = _ranked()
    others: float = _ranked()
    """The load that is not ours, as policy.Load has it."""
    breaker: Breaker = _ranked()
    probed: bool = _ranked()
    """A request is on its way that shows whether it works again."""

    def __init__(self, id: str, source: Source, slots: int | None) -> None:
        self.pools: list[Pool] = []
        """Whose requests it takes: one model, or the several names of a worker that registered itself."""
        self.id = id
        self.source = source
        self.slots = slots
        self.state = "off"
        self.backend: Backend | None = None
        self.in_flight = 0
        self.suspect_until = 0.0
        self.breaker = CLOSED
        self.probed = False
        self.generation = 0
        self.error = ""
        self.restarts = 0
        self.address = ""
        self.pid: int | None = None
        self.log: Callable[[], tuple[str, ...]] = tuple
        self.tail: Callable[[int], tuple[int, tuple[str, ...]]] = _no_lines
        """As core.ports.Handle has it; another one for each life."""
        self.about: dict[str, Any] = {}
        """What the child told of itself when it was ready."""
        self.spec: LaunchSpec | None = None
        """What is started for it, where we start it."""
        self.managed = False
        """Started by us: lives and dies by the supervisor, not by its reachability."""
        self.refused: Callable[[], None] | None = None
        """Told when the replica could not be reached."""
        self.others = 0.0
        self.roused = asyncio.Event()
        """Set when somebody needs the replica, which sleeps; its watch waits for it."""
        self.turning = asyncio.Lock()
        """Held by whoever puts it to sleep, wakes it or looks whether it sleeps."""
        self.fault: Kind = "no_capacity"
        """What callers are told when it has failed."""
        self.held = False
        """An operator keeps it from work, until it is loaded again."""
        self.used = 0.0
        """`time.monotonic()` of the last grant or release."""
        self.loaded_at = 0.0
        """Unix seconds since which it has been there, 0 while it is not."""
        self.rss = 0
        """Bytes of memory that its processes were last seen to take."""
        self.loads = 0
        """How often it became ready."""
        self.unloads = 0
        """How often it ended for want of requests."""
        self.evictions = 0
        """How often it ended because others needed its memory."""
        self.progress: Callable[[], str] = str
        """How far its start is, for people."""
        self.start_left: Callable[[], float] = float
        """Seconds that its start will still take, as far as that can be told."""

    @property
    def hopeless(self) -> bool:
        """Nobody who waits for it can be served; one of ours that drains makes room and comes back."""
        return self.held or self.state == "failed" or (self.state == "draining" and not self.managed)

    def load(self, now: float, weight: float) -> Load:
        """What a policy may look at."""
        ready = self.state == "ready" and (self.breaker is CLOSED or not (self.probed or self.breaker.shut(now)))
        return Load(ready, now < self.suspect_until, self.in_flight, self.slots, self.others, weight)

    def takes(self, now: float) -> bool:
        """Whether it can take one more request: `policy.free` without making a Load."""
        if self.state != "ready" or (self.slots is not None and self.in_flight >= self.slots):
            return False
        return self.breaker is CLOSED or not (self.probed or self.breaker.shut(now))

    def works(self, now: float) -> bool:
        """Whether it is worth waiting for, also while another request tries it."""
        return self.state == "ready" and not self.breaker.shut(now)

    def changes_at(self, now: float) -> float:
        """When its load becomes another one by the clock alone."""
        return min((at for at in (self.suspect_until, self.breaker.until) if at > now), default=math.inf)

    def view(self, model: str) -> ReplicaView:
        """A snapshot for people."""
        return ReplicaView(
            id=self.id,
            model=model,
            source=str(self.source),
            state=self.state,
            in_flight=self.in_flight,
            slots=self.slots,
            address=self.address,
            pid=self.pid,
            error=self.error,
            restarts=self.restarts,
            generation=self.generation,
            log=self.log(),
            engine=self.spec.engine if self.spec else "",
            why=self.spec.why if self.spec else "",
            faster=self.spec.faster if self.spec else "",
            memory=self.spec.memory if self.spec else 0,
            gpus=self.spec.gpus if self.spec else 0,
            rss=self.rss,
            loads=self.loads,
            unloads=self.unloads,
            evictions=self.evictions,
            progress=self.progress(),
            loaded_at=self.loaded_at,
            last_used=time.time() - time.monotonic() + self.used if self.used else 0.0,
            breaker=self.breaker.view(time.monotonic()),
        )


class Pool:
    """One model: its replicas and who waits for them."""

    def __init__(self, settings: ModelSettings, replicas: list[Replica]) -> None:
        self.settings = settings
        self.replicas = replicas
        for replica in replicas:
            replica.pools.append(self)
        self.choice = Choice()
        self.queue = FairQueue()
        self.created = int(time.time())
        self.draining = False
        self.wanted = Demand()
        """Set when somebody needs a replica that is not there; the supervisor is told."""
        self.starts = False
        """Some of its replicas are started by us, which the supervisor says."""
        self.mean_seconds = 1.0
        self.adapters: dict[str, Pool] = {}
        """Its replicas as the models that they are by their adapters."""
        self.changing = asyncio.Lock()
        """Held by whoever changes the adapters."""

    def rearrange(self, replicas: Sequence[Replica]) -> None:
        """These take its requests from now on."""
        self.replicas[:] = replicas
        self.choice.rearranged()

    def retry_after(self) -> float:
        """Seconds after which one more request is likely to find a place."""
        slots = sum(replica.slots or 1 for replica in self.replicas)
        left = 0.0
        if not any(replica.backend is not None for replica in self.replicas):
            left = min((replica.start_left() for replica in self.replicas), default=0.0)
        return retry_after(len(self.queue), slots, self.mean_seconds, left)

    def view(self) -> ModelView:
        """A snapshot for people and policies."""
        return ModelView(
            name=self.settings.name,
            sources=tuple(map(str, self.settings.sources or dict.fromkeys(r.source for r in self.replicas))),
            waiting=len(self.queue),
            created=self.created,
            adapters=tuple(self.adapters),
            aliases=self.settings.aliases,
            policy=self.settings.policy,
            fallback=self.settings.fallback,
            replicas=tuple(replica.view(self.settings.name) for replica in self.replicas),
        )
