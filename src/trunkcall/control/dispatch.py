"""Who gets which replica: the one writer of replica loads, leases and queues in this process.

Every method runs to its end without awaiting, on the event loop's thread, so that requests,
releases, cancels and the supervisor's news are handled one after the other: a single-writer
loop whose queue is the event loop's own. Effects (starting, stopping) are the supervisor's.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Collection
from typing import Final, Literal

from trunkcall.control import breaker
from trunkcall.control.breaker import CLOSED, Verdict
from trunkcall.control.names import chain, check_free
from trunkcall.control.news import News
from trunkcall.control.policy import free, in_vain
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.queue import Affinity, Waiter
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.log import log
from trunkcall.core.models import ModelSettings, ModelView, State
from trunkcall.core.ports import Backend, Told
from trunkcall.core.text import did_you_mean

SUSPECT_SECONDS: Final = 2.0
"""How long a replica that could not be reached is taken only when there is no other."""

FULL: Final = 0.95
"""Of a replica's memory for requests; beyond it new ones push others out."""

PASSED_OVER: Final = 16
"""So many at most who wait for certain replicas hold up nobody who can take any."""

_CUT: Final[frozenset[Kind]] = frozenset({"unreachable", "upstream_error"})
"""How a connection that ends is told."""

Outcome = Literal["ok", "unused", "unreachable", "failed"]
"""unused: it says nothing of the replica."""


class Lease:
    """The right to send one request to one replica of one generation; released once."""

    __slots__ = ("_dispatch", "backend", "generation", "pool", "released", "replica", "why")

    def __init__(self, dispatch: Dispatch, pool: Pool, replica: Replica, why: str) -> None:
        assert replica.backend is not None
        self._dispatch = dispatch
        self.pool = pool
        self.replica = replica
        self.backend = replica.backend
        self.generation = replica.generation
        self.why = why
        """Why this replica, for people."""
        self.released = False

    def speaks(self) -> None:
        """Its answer has begun: others need not wait for its end where it tries whether a replica works again."""
        if not self.released:
            self._dispatch.speaks(self)

    def release(self, outcome: Outcome = "ok", error: ServingError | None = None) -> None:
        """Give the slot back; does nothing the second time.

        error: of what failed; whom it blames, the replica's breaker decides. `unreachable` makes the replica suspect.
        """
        if not self.released:
            self.released = True
            self._dispatch.released(self, outcome, error)


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

    @property
    def loading(self) -> str:
        """How far the start of the model's first replica is, in words; empty when one is there."""
        if any(replica.backend is not None for replica in self._pool.replicas):
            return ""
        return next((said for replica in self._pool.replicas if (said := replica.progress())), "")

    def close(self) -> None:
        """Leave the queue; a lease that was granted but not taken goes back."""
        if self.taken:
            return
        self._pool.queue.remove(self._waiter)
        if not self.future.cancel() and not self.future.cancelled() and self.future.exception() is None:
            self.future.result().release("unused")


class Dispatch:
    """Grants leases. Names are resolved here, and overload is refused here."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self.ending = False
        """The process was told to end, as health checks say; requests are taken until `drain`."""
        self.draining = False
        self.news: News | None = None
        self._aliases: dict[str, Pool] = {}
        """Those that were asked for, as they were found; looked through again when they are no longer right."""

    def pool(self, model: str) -> Pool:
        """The pool of a model as asked for, by its name or an alias.

        Raises ServingError: no_model naming the nearest, bad_request without a name.
        """
        found = self.pools.get(model) or self.find(model)
        if found is not None:
            return found
        raise ServingError(
            "no_model", f"the model {model!r} does not exist. {did_you_mean(model, self.names())}", param="model"
        )

    def find(self, model: str) -> Pool | None:
        """The pool of a model as asked for, None when there is none."""
        found = self.pools.get(model)
        if found is not None:
            return found
        found = self._aliases.get(model)
        if found is None or model not in found.settings.aliases or self.pools.get(found.settings.name) is not found:
            self._aliases.pop(model, None)
            found = next((pool for pool in self.pools.values() if model in pool.settings.aliases), None)
            if found is not None:
                self._aliases[model] = found
        return found

    def names(self) -> list[str]:
        """What can be asked for: models and their aliases."""
        return [*self.pools, *(alias for pool in self.pools.values() for alias in pool.settings.aliases)]

    def check_free(self, settings: ModelSettings) -> None:
        """Raises ServingError (conflict) when a model has a new one's name or one of its aliases."""
        check_free(settings, (pool.settings for pool in self.pools.values()))

    def fallbacks(self, model: str) -> tuple[str, ...]:
        """The models that are asked in turn when this one cannot answer, without those that are not there."""
        return tuple(name for name in chain(model, self._fallbacks) if self.find(name) is not None)

    def _fallbacks(self, model: str) -> tuple[str, ...]:
        pool = self.find(model)
        return pool.settings.fallback if pool is not None else ()

    def another(self, model: str, failed: Collection[str]) -> bool:
        """Whether a model has a replica that works, other than those that failed."""
        pool = self.find(model)
        now = time.monotonic()
        return pool is not None and any(r.id not in failed and r.works(now) for r in pool.replicas)

    def lease(
        self,
        model: str,
        *,
        key: str = "",
        avoid: Collection[str] = (),
        priority: int = 0,
        deadline: float | None = None,
        affinity: Affinity | None = None,
    ) -> Lease | Wait:
        """A lease now, or a place in the queue.

        avoid: ids of the replicas that failed this request before; priority: higher first; deadline:
        `time.monotonic()` seconds after which nobody wants the lease.
        Raises ServingError: no_model, overloaded (with retry_after), draining, no_capacity
        when no replica can be had (with the reason that the engine gave).
        """
        pool = self.pools.get(model) or self.pool(model)
        if self.draining or pool.draining:
            raise ServingError("draining", "the server is shutting down; try again soon", retry_after=5)
        now = time.monotonic()
        if not len(pool.queue):
            chosen = pool.choice.choose(pool.settings, pool.replicas, now, avoid, affinity)
            if chosen is not None:
                if pool.starts and not pool.wanted.is_set():
                    # Upstreams answer until the engines beside them are there.
                    pool.wanted.set()
                return self._grant(pool, pool.replicas[chosen[0]], chosen[1], now)
        states = [replica.state for replica in pool.replicas]
        if all(replica.hopeless for replica in pool.replicas):
            if any(replica.held for replica in pool.replicas):
                raise _drained(model)
            reasons = "; ".join(dict.fromkeys(r.error for r in pool.replicas if r.error)) or "no replica is running"
            kind = pool.replicas[0].fault if pool.replicas else "no_capacity"
            raise ServingError(kind, f"{model!r} cannot be served: {reasons}", retry_after=5)
        broken = _broken(pool, now)
        if broken is not None:
            raise broken
        slots = sum(replica.slots or 1 for replica in pool.replicas)
        if deadline is not None and in_vain(len(pool.queue), slots, pool.mean_seconds, deadline - now):
            raise ServingError(
                "overloaded",
                f"{model!r} has {len(pool.queue)} requests waiting, too many for the {max(0.0, deadline - now):.1f} s"
                " that this one has; give it more time, or come again",
                retry_after=pool.retry_after(),
            )
        if len(pool.queue) >= pool.settings.queue:
            raise ServingError(
                "overloaded",
                f"{model!r} has {len(pool.queue)} requests waiting, which is its limit",
                retry_after=pool.retry_after(),
            )
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        waiter = Waiter(key, future, priority=priority, deadline=deadline, avoid=avoid, affinity=affinity)
        pool.queue.push(waiter)
        if "off" in states or "draining" in states:
            pool.wanted.set()
        if "asleep" in states:
            for replica in pool.replicas:
                if replica.state == "asleep":
                    replica.roused.set()
        before = pool.queue.first()
        if before is waiter or (before is not None and before.avoid):
            # Those before may wait for certain replicas.
            self._pump(pool)
        return Wait(pool, waiter, future)

    def lease_on(self, pool: Pool, replica: Replica) -> Lease | None:
        """A lease on one certain replica, past the queue; None while it has no free slot."""
        now = time.monotonic()
        return self._grant(pool, replica, "as its caller chose", now) if free(replica.load(now, 1.0)) else None

    def released(self, lease: Lease, outcome: Outcome, error: ServingError | None) -> None:
        """A lease has come back."""
        replica = lease.replica
        replica.in_flight -= 1
        if replica.probed:
            replica.probed = False
        now = replica.used = time.monotonic()
        if outcome != "unused" and lease.generation == replica.generation:
            if outcome == "unreachable" or (error is not None and error.kind == "unreachable"):
                self._unreachable(replica, now)
            if error is not None:
                self._judge(replica, breaker.judge(error), error, now)
            elif outcome == "ok" and replica.breaker is not CLOSED:
                self._judge(replica, "well", None, now)
        for pool in replica.pools:
            pool.choice.gave_back(replica, now)
            if len(pool.queue):
                self._pump(pool)

    def speaks(self, lease: Lease) -> None:
        """The answer of a lease has begun."""
        replica = lease.replica
        if replica.probed and lease.generation == replica.generation:
            replica.probed = False
            self._judge(replica, "well", None, time.monotonic())
            self._pump_all(replica)

    def _unreachable(self, replica: Replica, now: float) -> None:
        if replica.managed and replica.state == "ready":
            # Its exit will be noticed within milliseconds; until then nobody else should run into it.
            replica.state = "starting"
            loop = asyncio.get_running_loop()
            loop.call_later(SUSPECT_SECONDS, self._trust_again, replica, replica.generation)
        else:
            replica.suspect_until = now + SUSPECT_SECONDS
        if replica.refused is not None:
            replica.refused()

    def _judge(self, replica: Replica, verdict: Verdict, error: ServingError | None, now: float) -> None:
        """What an answer says of its replica; whoever waits for one that is left alone now is told."""
        if replica.managed and error is not None and error.upstream is None and error.kind in _CUT:
            # The end of a child is its supervisor's to see, and one end breaks off all of its answers.
            return
        before = replica.breaker
        why = "" if error is None else error.message
        seconds = 0.0 if error is None else error.retry_after or 0.0
        now_is = breaker.after(before, verdict, now, why, seconds, random.random())
        if now_is is before:
            return
        replica.breaker = now_is
        if now_is.until == before.until:
            return
        self.tell(replica)
        if not now_is.shut(now):
            log.info("replica %s works again", replica.id)
            return
        log.warning("replica %s is left alone for %.1f s: %s", replica.id, now_is.until - now, why)
        asyncio.get_running_loop().call_later(now_is.until - now + 0.001, self._try_again, replica)
        for pool in replica.pools:
            broken = _broken(pool, now) if len(pool.queue) else None
            if broken is not None:
                for waiter in pool.queue.drain():
                    waiter.future.set_exception(broken)

    def _try_again(self, replica: Replica) -> None:
        if replica.breaker.probing and not replica.breaker.shut(time.monotonic()):
            self.tell(replica)
            self._pump_all(replica)

    def tell(self, replica: Replica) -> None:
        """Tell whoever listens how a replica stands."""
        if self.news is not None and self.news.wanted:
            for pool in replica.pools:
                self.news.tell("replica", replica.view(pool.settings.name))

    def ready(self, replica: Replica, backend: Backend, slots: int | None) -> None:
        """The supervisor has a replica that answers."""
        replica.backend = backend
        replica.slots = slots
        replica.state = "draining" if replica.held else "ready"
        replica.loads += 1
        replica.error = ""
        replica.others = 0.0
        replica.breaker = CLOSED
        replica.roused.clear()
        replica.generation += 1
        self._pump_all(replica)

    def close(self, replica: Replica) -> None:
        """No more grants for a replica that is there; what it has begun goes on."""
        if replica.state in ("ready", "asleep"):
            replica.state = "draining"

    def reopen(self, replica: Replica) -> None:
        """A replica that was closed takes requests again."""
        if replica.state == "draining" and replica.backend is not None:
            replica.state = "ready"
            self._pump_all(replica)

    def hold(self, replica: Replica) -> None:
        """An operator keeps a replica from work; those who wait for nothing else are told."""
        replica.held = True
        self.close(replica)
        for pool in replica.pools:
            if all(r.hopeless for r in pool.replicas):
                for waiter in pool.queue.drain():
                    waiter.future.set_exception(_drained(pool.settings.name))

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
            if all(r.hopeless or r.state == "asleep" for r in pool.replicas):
                self._disappoint(pool, f"it sleeps and could not be woken: {reason}")

    def lost(self, replica: Replica, state: State, reason: str, kind: Kind = "no_capacity") -> None:
        """The supervisor has lost a replica; callers that can only be disappointed are told at once, by this kind."""
        replica.state = state
        replica.fault = kind
        replica.backend = None
        replica.error = reason
        replica.generation += 1
        # Those who wait for its next life are not to hear of this one's failures.
        replica.breaker = CLOSED
        for pool in replica.pools:
            if all(r.hopeless for r in pool.replicas):
                self._disappoint(pool, reason, kind)

    def join(self, pool: Pool, replica: Replica) -> None:
        """A replica begins to take a model's requests, beside those of its other models."""
        pool.rearrange([*pool.replicas, replica])
        replica.pools.append(pool)
        self._pump(pool)

    def leave(self, pool: Pool, replica: Replica) -> None:
        """A replica takes no more of a model's requests; what it has begun goes on."""
        pool.rearrange([one for one in pool.replicas if one is not replica])
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
        self.ending = self.draining = True
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

    def _disappoint(self, pool: Pool, reason: str, kind: Kind = "no_capacity") -> None:
        for waiter in pool.queue.drain():
            waiter.future.set_exception(
                ServingError(kind, f"{pool.settings.name!r} cannot be served: {reason}", retry_after=5)
            )

    def _grant(self, pool: Pool, replica: Replica, why: str, now: float) -> Lease:
        replica.in_flight += 1
        replica.used = now
        if replica.breaker is not CLOSED:
            replica.probed = replica.breaker.probing
        for other in replica.pools:
            other.choice.took(replica, now)
        return Lease(self, pool, replica, why)

    def _pump_all(self, replica: Replica) -> None:
        for pool in replica.pools:
            if len(pool.queue):
                self._pump(pool)

    def _pump(self, pool: Pool) -> None:
        now = time.monotonic()
        passed = 0
        while (waiter := pool.queue.first(passed)) is not None:
            chosen = pool.choice.choose(pool.settings, pool.replicas, now, waiter.avoid, waiter.affinity)
            if chosen is None:
                if not waiter.avoid or passed == PASSED_OVER:
                    return
                passed += 1
                continue
            pool.queue.pop(passed)
            waiter.future.set_result(self._grant(pool, pool.replicas[chosen[0]], chosen[1], now))


def _broken(pool: Pool, now: float) -> ServingError | None:
    """Why nothing can be had now, when each replica that could be there is left alone for its failures."""
    if not all(r.hopeless or r.breaker.shut(now) for r in pool.replicas):
        return None
    shut = [replica for replica in pool.replicas if not replica.hopeless]
    if not shut:
        return None
    name = pool.settings.name
    seconds = max(0.0, min(replica.breaker.until for replica in shut) - now)
    reasons = "; ".join(dict.fromkeys(f"{replica.id}: {replica.breaker.why}" for replica in shut))
    if any(replica.breaker.busy for replica in shut):
        return ServingError(
            "overloaded", f"{name!r} is busy and said when to come back ({reasons})", retry_after=seconds
        )
    return ServingError(
        "no_capacity",
        f"{name!r} cannot be served: its replicas fail and are left alone for {seconds:.1f} s ({reasons})",
        retry_after=seconds,
    )


def _drained(model: str) -> ServingError:
    return ServingError(
        "draining",
        f"{model!r} takes no requests, since an operator drains it; `trunkcall models load {model}` ends that",
        retry_after=5,
    )
