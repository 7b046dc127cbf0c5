"""Who gets which replica: the one writer of replica loads, leases and queues in this process.

Every method runs to its end without awaiting, on the event loop's thread, so that requests,
releases, cancels and the supervisor's news are handled one after the other: a single-writer
loop whose queue is the event loop's own. Effects (starting, stopping) are the supervisor's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from trunkcall.control.policy import Load, free, least_loaded, retry_after
from trunkcall.control.queue import FairQueue, Waiter
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, ModelSettings, ModelView, ReplicaView, Source, State
from trunkcall.core.ports import Backend, Told
from trunkcall.core.text import did_you_mean

SUSPECT_SECONDS: Final = 2.0
"""How long a replica that could not be reached is taken only when there is no other."""

FULL: Final = 0.95
"""Of a replica's memory for requests; beyond it new ones push others out."""
_WITHOUT_HOPE: Final = frozenset({"failed", "draining"})
"""States out of which nobody who waits can be served."""

Outcome = Literal["ok", "unreachable"]


class Replica:
    """One replica as dispatch sees it; written by dispatch and its supervisor's calls only."""

    def __init__(self, id: str, source: Source, slots: int | None) -> None:
        self.id = id
        self.source = source
        self.slots = slots
        self.state: State = "off"
        self.backend: Backend | None = None
        self.in_flight = 0
        self.suspect_until = 0.0
        self.generation = 0
        self.error = ""
        self.restarts = 0
        self.address = ""
        self.pid: int | None = None
        self.log: Callable[[], tuple[str, ...]] = tuple
        self.about: dict[str, Any] = {}
        """What the child told of itself when it was ready."""
        self.spec: LaunchSpec | None = None
        """What is started for it, where we start it."""
        self.managed = False
        """Started by us: lives and dies by the supervisor, not by its reachability."""
        self.pools: list[Pool] = []
        """Whose requests it takes: one model, or the several names of a worker that registered itself."""
        self.refused: Callable[[], None] | None = None
        """Told when the replica could not be reached."""
        self.others = 0.0
        """The load that is not ours, as policy.Load has it."""
        self.roused = asyncio.Event()
        """Set when somebody needs the replica, which sleeps; its watch waits for it."""
        self.turning = asyncio.Lock()
        """Held by whoever puts it to sleep, wakes it or looks whether it sleeps."""

    def load(self, now: float) -> Load:
        """What a policy may look at."""
        return Load(self.state == "ready", now < self.suspect_until, self.in_flight, self.slots, self.others)


class Lease:
    """The right to send one request to one replica of one generation; released once."""

    __slots__ = ("_dispatch", "backend", "generation", "pool", "released", "replica", "why")

    def __init__(self, dispatch: Dispatch, pool: Pool, replica: Replica, why: str = "") -> None:
        assert replica.backend is not None
        self._dispatch = dispatch
        self.pool = pool
        self.replica = replica
        self.backend = replica.backend
        self.generation = replica.generation
        self.why = why
        """Why this replica, for people."""
        self.released = False

    def release(self, outcome: Outcome = "ok") -> None:
        """Give the slot back; `unreachable` makes the replica suspect."""
        if not self.released:
            self.released = True
            self._dispatch.released(self, outcome)


class Pool:
    """One model: its replicas and who waits for them."""

    def __init__(self, settings: ModelSettings, replicas: list[Replica]) -> None:
        self.settings = settings
        self.replicas = replicas
        for replica in replicas:
            replica.pools.append(self)
        self.queue = FairQueue()
        self.created = int(time.time())
        self.draining = False
        self.wanted = asyncio.Event()
        """Set when somebody needs a replica that is not there; the supervisor waits for it."""
        self.mean_seconds = 1.0
        self.adapters: dict[str, Pool] = {}
        """Its replicas as the models that they are by their adapters."""
        self.changing = asyncio.Lock()
        """Held by whoever changes the adapters."""

    def view(self) -> ModelView:
        """A snapshot for people and policies."""
        return ModelView(
            name=self.settings.name,
            sources=tuple(map(str, self.settings.sources or dict.fromkeys(r.source for r in self.replicas))),
            waiting=len(self.queue),
            created=self.created,
            adapters=tuple(self.adapters),
            replicas=tuple(
                ReplicaView(
                    id=r.id,
                    model=self.settings.name,
                    source=str(r.source),
                    state=r.state,
                    in_flight=r.in_flight,
                    slots=r.slots,
                    address=r.address,
                    pid=r.pid,
                    error=r.error,
                    restarts=r.restarts,
                    generation=r.generation,
                    log=r.log(),
                    engine=r.spec.engine if r.spec else "",
                    why=r.spec.why if r.spec else "",
                    faster=r.spec.faster if r.spec else "",
                    memory=r.spec.memory if r.spec else 0,
                )
                for r in self.replicas
            ),
        )


class Wait:
    """A request that waits in a queue; await `granted` with a limit of your own, then `close`."""

    __slots__ = ("_pool", "_waiter", "future", "taken")

    def __init__(self, pool: Pool, waiter: Waiter, future: asyncio.Future[Lease]) -> None:
        self._pool = pool
        self._waiter = waiter
        self.future = future
        self.taken = False
        """The lease is in somebody's hands, who releases it."""

    @property
    def position(self) -> int:
        """How many are in front."""
        return self._pool.queue.position(self._waiter)

    def close(self) -> None:
        """Leave the queue; a lease that was granted but not taken goes back."""
        if self.taken:
            return
        self._pool.queue.remove(self._waiter)
        if not self.future.cancel() and not self.future.cancelled() and self.future.exception() is None:
            self.future.result().release()


class Dispatch:
    """Grants leases. Names are resolved here, and overload is refused here."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self.draining = False

    def pool(self, model: str) -> Pool:
        """The pool of a model as asked for.

        Raises ServingError: no_model naming the nearest, bad_request without a name.
        """
        found = self.pools.get(model)
        if found is not None:
            return found
        raise ServingError(
            "no_model", f"the model {model!r} does not exist. {did_you_mean(model, self.pools)}", param="model"
        )

    def find(self, model: str) -> Pool | None:
        """The pool of a model as asked for, None when there is none."""
        return self.pools.get(model)

    def lease(self, model: str, *, key: str = "", avoid: str | None = None) -> Lease | Wait:
        """A lease now, or a place in the queue.

        avoid: id of the replica that failed this request before.
        Raises ServingError: no_model, overloaded (with retry_after), draining, no_capacity
        when no replica can be had (with the reason that the engine gave).
        """
        pool = self.pool(model)
        if self.draining or pool.draining:
            raise ServingError("draining", "the server is shutting down; try again soon", retry_after=5)
        if not len(pool.queue):
            replica = self._choose(pool, avoid)
            if replica is not None:
                return self._grant(pool, replica)
        states = [replica.state for replica in pool.replicas]
        if _WITHOUT_HOPE.issuperset(states):
            reasons = "; ".join(dict.fromkeys(r.error for r in pool.replicas if r.error)) or "no replica is running"
            raise ServingError("no_capacity", f"{model!r} cannot be served: {reasons}", retry_after=5)
        if len(pool.queue) >= pool.settings.queue:
            slots = sum(replica.slots or 1 for replica in pool.replicas)
            raise ServingError(
                "overloaded",
                f"{model!r} has {len(pool.queue)} requests waiting, which is its limit",
                retry_after=retry_after(len(pool.queue), slots, pool.mean_seconds),
            )
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        waiter = Waiter(key, future)
        pool.queue.push(waiter)
        if "off" in states:
            pool.wanted.set()
        if "asleep" in states:
            for replica in pool.replicas:
                if replica.state == "asleep":
                    replica.roused.set()
        return Wait(pool, waiter, future)

    def lease_on(self, pool: Pool, replica: Replica) -> Lease | None:
        """A lease on one certain replica, past the queue; None while it has no free slot."""
        return self._grant(pool, replica) if free(replica.load(time.monotonic())) else None

    def released(self, lease: Lease, outcome: Outcome) -> None:
        """A lease has come back."""
        replica = lease.replica
        replica.in_flight -= 1
        if outcome == "unreachable" and lease.generation == replica.generation:
            if replica.managed and replica.state == "ready":
                # Its exit will be noticed within milliseconds; until then nobody else should run into it.
                replica.state = "starting"
                loop = asyncio.get_running_loop()
                loop.call_later(SUSPECT_SECONDS, self._trust_again, replica, replica.generation)
            else:
                replica.suspect_until = time.monotonic() + SUSPECT_SECONDS
            if replica.refused is not None:
                replica.refused()
        for pool in replica.pools:
            if len(pool.queue):
                self._pump(pool)

    def ready(self, replica: Replica, backend: Backend, slots: int | None) -> None:
        """The supervisor has a replica that answers."""
        replica.backend = backend
        replica.slots = slots
        replica.state = "ready"
        replica.error = ""
        replica.others = 0.0
        replica.roused.clear()
        replica.generation += 1
        self._pump_all(replica)

    def told(self, replica: Replica, told: Told | None) -> None:
        """A look at a replica has ended with this; None when it told nothing."""
        told = told or Told()
        strangers = max(0, told.running + told.waiting - replica.in_flight)
        replica.others = math.inf if told.full > FULL else float(strangers)
        if not told.asleep:
            self.woken(replica)
        elif replica.state in ("ready", "asleep"):
            self.rest(replica)
            if replica.in_flight:
                # It was put to sleep behind our back: what it has begun would hang.
                replica.roused.set()

    def rest(self, replica: Replica) -> None:
        """No more grants for a replica that sleeps or is going to; those who wait already will wake it."""
        replica.state = "asleep"
        if any(len(pool.queue) for pool in replica.pools):
            replica.roused.set()

    def woken(self, replica: Replica) -> None:
        """A replica that slept can work again; does nothing for one that did not sleep."""
        if replica.state == "asleep":
            replica.state = "ready"
            replica.error = ""
            replica.roused.clear()
            self._pump_all(replica)

    def sleeps_on(self, replica: Replica, reason: str) -> None:
        """A replica could not be woken; callers who wait for nothing else are told."""
        replica.error = reason
        replica.roused.clear()
        for pool in replica.pools:
            if all(r.state in _WITHOUT_HOPE or r.state == "asleep" for r in pool.replicas):
                self._disappoint(pool, f"it sleeps and could not be woken: {reason}")

    def lost(self, replica: Replica, state: State, reason: str) -> None:
        """The supervisor has lost a replica; callers that can only be disappointed are told at once."""
        replica.state = state
        replica.backend = None
        replica.error = reason
        replica.generation += 1
        for pool in replica.pools:
            if all(r.state in _WITHOUT_HOPE for r in pool.replicas):
                self._disappoint(pool, reason)

    def join(self, pool: Pool, replica: Replica) -> None:
        """A replica begins to take a model's requests, beside those of its other models."""
        pool.replicas.append(replica)
        replica.pools.append(pool)
        self._pump(pool)

    def leave(self, pool: Pool, replica: Replica) -> None:
        """A replica takes no more of a model's requests; what it has begun goes on."""
        pool.replicas.remove(replica)
        replica.pools.remove(pool)

    def remove(self, name: str, reason: ServingError | None = None) -> Pool:
        """Take a model out; waiting callers are told the reason, or that it was removed."""
        pool = self.pools.pop(name)
        pool.draining = True
        told = reason or ServingError("no_model", f"the model {name!r} was removed", param="model")
        for waiter in pool.queue.drain():
            waiter.future.set_exception(told)
        return pool

    def drain(self) -> None:
        """No new grants; waiting callers are told."""
        self.draining = True
        for pool in self.pools.values():
            for waiter in pool.queue.drain():
                waiter.future.set_exception(
                    ServingError("draining", "the server is shutting down; try again soon", retry_after=5)
                )

    def views(self) -> tuple[ModelView, ...]:
        """A snapshot of all models."""
        return tuple(pool.view() for pool in self.pools.values())

    def _trust_again(self, replica: Replica, generation: int) -> None:
        if replica.generation == generation and replica.state == "starting" and replica.backend is not None:
            replica.state = "ready"
            self._pump_all(replica)

    def _disappoint(self, pool: Pool, reason: str) -> None:
        for waiter in pool.queue.drain():
            waiter.future.set_exception(
                ServingError("no_capacity", f"{pool.settings.name!r} cannot be served: {reason}", retry_after=5)
            )

    def _choose(self, pool: Pool, avoid: str | None) -> Replica | None:
        now = time.monotonic()
        replicas = pool.replicas
        if len(replicas) == 1:
            return replicas[0] if free(replicas[0].load(now)) else None
        shunned = next((i for i, r in enumerate(replicas) if r.id == avoid), None) if avoid else None
        index = least_loaded([replica.load(now) for replica in replicas], shunned)
        return None if index is None else replicas[index]

    def _grant(self, pool: Pool, replica: Replica) -> Lease:
        replica.in_flight += 1
        return Lease(self, pool, replica)

    def _pump_all(self, replica: Replica) -> None:
        for pool in replica.pools:
            if len(pool.queue):
                self._pump(pool)

    def _pump(self, pool: Pool) -> None:
        while len(pool.queue):
            replica = self._choose(pool, None)
            if replica is None:
                return
            waiter = pool.queue.pop()
            if waiter is None:
                return
            waiter.future.set_result(self._grant(pool, replica))
