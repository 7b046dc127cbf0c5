"""FastChat workers by what they tell: which models, how fast, how busy, and when they were last heard of."""

from __future__ import annotations

import random
import time
from math import inf
from typing import Final, Literal

from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.control.policy import Share, lottery, shortest_queue
from trunkcall.control.registry import FORGET_SECONDS, Registry, Worker
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.protocols.fastchat import Status
from trunkcall.protocols.fastchat_control import Beat, Registration, addressed_as, names_of
from trunkcall.protocols.fastchat_words import PROTOCOL

DispatchMethod = Literal["shortest_queue", "lottery"]

FRESH_SECONDS: Final = 1.0
"""So long after a sign of life a worker is taken to be alive."""


class Standing:
    """One worker as it tells of itself; written by `Beats` only."""

    __slots__ = (
        "address",
        "beat_at",
        "checked",
        "given",
        "heard_at",
        "multimodal",
        "queue",
        "speed",
        "told",
        "warned",
        "worker",
    )

    def __init__(self, address: str) -> None:
        self.address = address
        self.worker: Worker | None = None
        """The same in the registry; None while it has no models."""
        self.told: tuple[str, ...] = ()
        """The models that it registered."""
        self.checked = False
        """It sends heart beats, and is gone without."""
        self.multimodal = False
        self.speed: int | float = 1
        self.queue: int | float = 0
        """Its calls as it said last."""
        self.given = 0
        """How often it was chosen since."""
        self.beat_at = self.heard_at = time.monotonic()
        self.warned = False
        """That a worker of other models answers at its address has been said."""

    @property
    def fresh(self) -> bool:
        """It gave a sign of life a moment ago."""
        return time.monotonic() - self.heard_at < FRESH_SECONDS


class Beats:
    """The one writer of standings; which workers there are, and whether they answer, is the registry's.

    expiration: seconds without a heart beat after which a worker that sends them is gone.
    """

    def __init__(self, dispatch: Dispatch, registry: Registry, method: DispatchMethod, expiration: float) -> None:
        self._dispatch = dispatch
        self._registry = registry
        self._method: DispatchMethod = method
        self._expiration = expiration
        self._standings: dict[str, Standing] = {}

    def find(self, address: str) -> Standing | None:
        """The worker at an address; also one without models, and one that was kept over a restart and has answered."""
        worker = self._registry.find(PROTOCOL, address)
        found = self._standings.get(address)
        if found is not None and (found.worker is None or found.worker is worker):
            return found
        if found is not None:
            # The registry has forgotten it, after a long silence.
            del self._standings[address]
        return self._adopt(worker) if worker is not None and worker.here else None

    def all(self) -> list[Standing]:
        """Those that are known."""
        known = dict.fromkeys((*self._standings, *(worker.address for worker in self._registry.workers(PROTOCOL))))
        return [standing for address in known if (standing := self.find(address)) is not None]

    def register(self, told: Registration) -> bool:
        """A worker is there, maybe started anew; without a status its models are told by `learn`.

        Gives whether it took requests for the same models already.
        """
        standing = self.find(told.address)
        if standing is None:
            standing = self._standings[told.address] = Standing(told.address)
        again = standing.worker is not None and told.status is not None and standing.told == told.status.names
        standing.beat_at = standing.heard_at = time.monotonic()
        standing.checked, standing.multimodal, standing.warned = told.checked, told.multimodal, False
        if standing.worker is not None:
            self._registry.come_again(standing.worker)
        if told.status is not None:
            standing.told, standing.speed = told.status.names, told.status.speed
            self.measure(standing, told.status.queue_length)
            self._offer(standing, told.status.names)
        self._keep(standing)
        return again

    def beat(self, told: Beat) -> Standing | None:
        """A worker is still there, and so busy; None when it is not known and has to register."""
        standing = self.find(told.address)
        if standing is not None:
            standing.beat_at = standing.heard_at = time.monotonic()
            self.measure(standing, told.queue_length)
        return standing

    def measure(self, standing: Standing, queue: int | float) -> None:
        """A worker has said how many calls it has."""
        standing.queue, standing.given = queue, 0

    async def learn(self, address: str, told: Status | ServingError) -> Status | None:
        """A worker was asked for its status; one that cannot be reached the registry looks at, too."""
        standing = self.find(address)
        if isinstance(told, ServingError):
            if told.kind == "unreachable" and standing is not None and standing.worker is not None:
                worker = standing.worker
                if not await self._registry.probe(worker):
                    self._registry.miss(worker)
            return None
        if standing is None:
            return told
        standing.heard_at = time.monotonic()
        standing.speed = told.speed
        names = names_of(standing.told, told.names)
        if not standing.warned and not set(standing.told) <= set(names):
            standing.warned = True
            log.warning(
                "the FastChat worker %s registered %s, but one that serves %s answers there: two workers seem to have "
                "one address; give each its own --worker-address",
                address,
                ", ".join(standing.told),
                ", ".join(told.names),
            )
        if names:
            self._offer(standing, names)
            self._keep(standing)
        if standing.worker is not None and standing.worker.failures:
            # It did not listen yet when it was looked at before.
            await self._registry.probe(standing.worker)
        return told

    def drop(self, standing: Standing) -> None:
        """A worker is gone, with all its models."""
        self._offer(standing, ())
        self._standings.pop(standing.address, None)

    def expire(self) -> list[Standing]:
        """Drop those whose heart beats have ended, and those that have never told a model; gives them."""
        now = time.monotonic()
        gone = [
            standing
            for standing in self.all()
            if (standing.checked and now - standing.beat_at > self._expiration)
            or (standing.worker is None and now - standing.heard_at > FORGET_SECONDS)
        ]
        for standing in gone:
            self.drop(standing)
        return gone

    def serves(self, model: str) -> bool:
        """Whether a worker that registered takes a model's requests."""
        pool = self._dispatch.pools.get(model)
        return pool is not None and any(
            replica.source.scheme == PROTOCOL and self.find(replica.address) is not None for replica in pool.replicas
        )

    def names(self, multimodal: bool | None = None) -> dict[str, None]:
        """The models of those that take requests; of those that take images, or do not, where that is asked."""
        return dict.fromkeys(
            name
            for worker in self._registry.workers(PROTOCOL)
            if worker.here and multimodal in (None, bool(worker.about.get("multimodal", False)))
            for name in worker.names
        )

    def choose(self, model: str) -> Standing | None:
        """Who takes the next request by the dispatch method; those that just failed come last."""
        standings, shares = self._rivals(model)
        index = shortest_queue(shares) if self._method == "shortest_queue" else lottery(shares, random.random())
        return None if index is None else standings[index]

    def give(self, standing: Standing) -> None:
        """A worker was chosen: until it says how many calls it has, it has one more."""
        standing.given += 1

    def doubt(self, standing: Standing) -> None:
        """A worker has failed somebody: it is asked before it is chosen again."""
        standing.heard_at = -inf

    def lease(self, model: str, standing: Standing) -> Lease | None:
        """The right to pass one request on to a worker; None when it takes none."""
        pool = self._dispatch.pools.get(model)
        if pool is None or pool.draining or self._dispatch.draining or standing.worker is None:
            return None
        return self._dispatch.lease_on(pool, standing.worker.replica)

    def _rivals(self, model: str) -> tuple[list[Standing], list[Share]]:
        """A model's workers, and what policies look at of each."""
        standings: list[Standing] = []
        shares: list[Share] = []
        pool = self._dispatch.pools.get(model)
        if pool is None:
            return standings, shares
        known = self._standings
        now = time.monotonic()
        for replica in pool.replicas:
            if replica.source.scheme != PROTOCOL or replica.state != "ready":
                continue
            standing = known.get(replica.address) or self.find(replica.address)
            if standing is not None:
                queue = max(standing.queue + standing.given, replica.in_flight)
                standings.append(standing)
                shares.append((now < replica.suspect_until or now < replica.breaker.until, standing.speed, queue))
        return standings, shares

    def _offer(self, standing: Standing, names: tuple[str, ...]) -> None:
        """These are the worker's models from now on."""
        for name in names:
            try:
                self._registry.join(name, PROTOCOL, standing.address, None)
            except ServingError as error:
                log.warning("the FastChat worker %s cannot offer %r: %s", standing.address, name, error.message)
        worker = standing.worker = self._registry.find(PROTOCOL, standing.address)
        for name in tuple(worker.names) if worker is not None else ():
            if worker is not None and name not in names:
                self._registry.leave(name, worker)
        if not names:
            standing.worker = None

    def _keep(self, standing: Standing) -> None:
        """What has to be known of it after a restart."""
        if standing.worker is not None:
            about = {"checked": standing.checked, "multimodal": standing.multimodal, "speed": standing.speed}
            self._registry.note(standing.worker, about)

    def _adopt(self, worker: Worker) -> Standing:
        standing = self._standings[worker.address] = Standing(worker.address)
        standing.worker = worker
        standing.told = tuple(worker.names)
        standing.checked = bool(worker.about.get("checked", False))
        standing.multimodal = bool(worker.about.get("multimodal", False))
        standing.speed = worker.about.get("speed", 1)
        return standing


def why_unreachable(address: str, client: str) -> str:
    """Why nobody may find a worker at the address that it registered from `client`; empty when it is well."""
    told = addressed_as(address)
    if told == "unspecified":
        return "that is no address to call"
    if told == "loopback" and client not in ("", "::1") and not client.startswith("127."):
        return f"at {client} that is another machine than here"
    return ""
