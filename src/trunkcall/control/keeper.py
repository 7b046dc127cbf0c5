"""One replica that we start, through its lives: planned, given room, started, watched, ended."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import msgspec

from trunkcall.control import adapters
from trunkcall.control.claims import Claims
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.sleeping import watch
from trunkcall.control.swap import LEAST_STAY, LONGEST_STAY, Tenant
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.log import log
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, State
from trunkcall.core.ports import Connect, Controlled, Exited, Handle, Placement, Ready
from trunkcall.protocols.fetching import amount

FIRST_BACKOFF: Final = 0.1
LONGEST_BACKOFF: Final = 30.0
STEADY_SECONDS: Final = 10.0
"""A replica that ran so long has its failures forgotten."""
START_FAILURES: Final = 2
"""After so many failed starts in a row callers are told, and the next start waits for a caller."""
FETCH_SECONDS: Final = 24 * 3600.0
"""A download may take so long."""
UNKNOWN_SECONDS: Final = 5.0
"""What a first start is taken to last."""
GIVE_BACK_SECONDS: Final = 2.0
"""How long after a process's end a GPU may still count its memory as taken."""
LOOK_SECONDS: Final = 0.02
"""Between two looks whether a replica that leaves has done what it had begun."""

Plan = Callable[[ModelSettings, Machine], LaunchSpec]
"""Made anew before each start: files come, and what is free on a GPU changes."""


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait before start number `failures` + 1; jitter in 0..1 spreads it by a quarter."""
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** max(0, failures - 1)) * (1 + jitter / 4)


class Means(msgspec.Struct, frozen=True):
    """What all keepers of a process share; stir: something has changed that the supervisor decides by."""

    dispatch: Dispatch
    placement: Placement
    look: Callable[[], Machine]
    find_connect: Callable[[str], Connect]
    claims: Claims
    stir: Callable[[], None]


class Keeper:
    """Owns the task of one life at a time, and the one that ends it; the supervisor says when."""

    def __init__(self, means: Means, pool: Pool, replica: Replica, plan: Plan) -> None:
        self.pool = pool
        self.replica = replica
        self.handle: Handle | None = None
        self.retry_at = 0.0
        """`time.monotonic()` seconds before which no new start is tried."""
        self._means = means
        self._plan = plan
        self._life: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None
        self._drain_until = 0.0
        self._room: asyncio.Future[None] | None = None
        """Waited for by a life that has not got the memory yet."""
        self._need = 0
        self._gpus = 0
        self._short: ServingError | None = None
        """Why there was no room at a closer look, after so many settled claims."""
        self._settled = 0
        self._looked_at = 0.0
        self._there = False
        self._failures = 0
        self._gave_up: int | None = None
        """The demand's calls when it was given up."""
        self._began = 0.0
        self._since = 0.0
        self._took = 0.0
        """Seconds of its last start."""
        self._fetching = False
        replica.managed = True
        replica.progress = self.progress
        replica.start_left = self.start_left

    # What the supervisor decides by

    @property
    def off(self) -> bool:
        """Nothing of it runs or is on its way."""
        return self._life is None and self._end is None

    @property
    def leaving(self) -> bool:
        """It gets no more requests and ends when it has none."""
        return self._end is not None

    @property
    def ready(self) -> bool:
        """It answers."""
        return self._life is not None and self.replica.backend is not None and not self.leaving

    @property
    def asking(self) -> bool:
        """It waits for room."""
        return self._room is not None and not self._room.done() and not self.leaving

    @property
    def loading(self) -> bool:
        """It has its memory and does not answer yet."""
        return self._there and self.replica.backend is None

    @property
    def waited_for(self) -> bool:
        """Some wait for its model."""
        return any(len(pool.queue) for pool in self.replica.pools)

    @property
    def need(self) -> int:
        """Bytes that it takes or will take; where that was not known before, as last seen."""
        return self._need or self.replica.rss

    @property
    def gpus(self) -> int:
        """How many GPUs its memory is spread over, 0 for the machine's own memory."""
        return self._gpus

    @property
    def tired(self) -> bool:
        """Whether its next start waits for somebody who asks for it."""
        return self._gave_up is not None and self._gave_up == self.pool.wanted.calls

    def tenant(self, limit: int | None, extra: bool, retiring: bool, expires: float | None) -> Tenant:
        """What the decision sees of it; limit: what it can need at most."""
        need = self.need
        busy = self.replica.in_flight > 0 or self.waited_for
        return Tenant(
            id=self.replica.id,
            model=self.pool.settings.name,
            need=need if limit is None else min(need, limit),
            asks=self.asking,
            extra=extra,
            short=self._short is not None and self._settled == self._means.claims.settled,
            there=self._there,
            loading=self.loading,
            leaving=self.leaving,
            busy=busy,
            pinned=self.pool.settings.pinned,
            retiring=retiring,
            since=self._since if self._there else self.pool.wanted.since,
            used=self.replica.used,
            stay=min(LONGEST_STAY, max(LEAST_STAY, self._took)),
            expires=expires,
        )

    def look_again_at(self, now: float) -> float | None:
        """When a closer look may find more room though nothing else happens; None for never."""
        if self._short is None or now > self._means.claims.settled_at + GIVE_BACK_SECONDS:
            return None
        return self._looked_at + GIVE_BACK_SECONDS / 4

    def progress(self) -> str:
        """How far its start is, for people."""
        if self._life is None or self.replica.backend is not None:
            return ""
        if self._room is not None:
            return f"waits for {amount(self._need)} of memory" if self._need else "waits for memory"
        if self._fetching:
            said = next((line for line in reversed(self.replica.log()) if line.strip()), "")
            return f"downloading {said}".strip()
        if not self._there:
            return "is being planned"
        of = f" of about {self._took:.0f}" if self._took >= 1 else ""
        return f"loading for {time.monotonic() - self._began:.0f}{of} s"

    def start_left(self) -> float:
        """Seconds that its start will still take, by what the last one took."""
        took = self._took or UNKNOWN_SECONDS
        return took if not self._there else max(0.0, took - (time.monotonic() - self._began))

    # What it does

    def begin(self) -> None:
        """Start it, as soon as there is room."""
        self._gave_up = None
        self.replica.state = "starting"
        self._life = asyncio.create_task(self._live(), name=f"keep {self.replica.id}")

    def give_room(self) -> None:
        """It may take its memory now."""
        self._there = True
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def refuse_room(self, reason: str) -> None:
        """There can be no room for it."""
        if self._room is not None and not self._room.done():
            self._room.set_exception(self._short or ServingError("out_of_memory", reason))

    def leave(self, seconds: float | None) -> asyncio.Task[None] | None:
        """No more grants, and its end once it has no requests, after so many seconds anyway; None when it is off.

        The task is the keeper's own: look at it, and do not cancel it.
        """
        if self._life is None:
            return self._end
        self._means.dispatch.close(self.replica)
        limit = float("inf") if seconds is None else time.monotonic() + seconds
        if self._end is None:
            self._drain_until = limit
            self._end = asyncio.create_task(self._leave(self._life), name=f"end {self.replica.id}")
        else:
            self._drain_until = min(self._drain_until, limit)
        return self._end

    def forgive(self) -> None:
        """Forget its failures: somebody wants it tried again now."""
        self._failures = 0
        self._gave_up = None
        self.retry_at = 0.0

    async def aclose(self) -> None:
        """End it now, whatever it does."""
        ending = self.leave(0.0)
        if ending is not None:
            await asyncio.wait((ending,))

    async def _leave(self, life: asyncio.Task[None]) -> None:
        while self.replica.in_flight and time.monotonic() < self._drain_until and not life.done():
            await asyncio.sleep(LOOK_SECONDS)
        life.cancel()
        await asyncio.wait((life,))
        await self._lost("off", "")
        log.info("replica %s has ended", self.replica.id)
        self._life = self._end = None
        if self.waited_for:
            self.pool.wanted.set()
        self._means.stir()

    async def _live(self) -> None:
        """One life, from the plan to the end that it finds by itself."""
        self._began = time.monotonic()
        kind: Kind = "no_capacity"
        try:
            end = await self._plan_and_live()
        except ServingError as error:
            kind = "out_of_memory" if error.kind == "out_of_memory" else kind
            end = Exited(1, error.message)
        except Exception as error:  # noqa: BLE001
            # A plugin's bug; the model's callers are to hear of it.
            log.exception("replica %s could not be kept", self.replica.id)
            end = Exited(1, f"{type(error).__name__}: {error}")
        finally:
            self._means.claims.settle(self.replica.id)
            self._room = self._short = None
            self._there = self._fetching = False
        replica = self.replica
        was_there = replica.backend is not None
        steady = was_there and time.monotonic() - self._began > STEADY_SECONDS
        self._failures = 1 if steady else self._failures + 1
        log.warning("replica %s ended: %s", replica.id, end.reason)
        replica.restarts += 1
        # A child that told its own error will tell it again; one that was killed may do better.
        gave_up = not was_there and (end.code > 0 or self._failures >= START_FAILURES)
        self._gave_up = self.pool.wanted.calls if gave_up else None
        if kind == "out_of_memory":
            # Room comes and goes with the others.
            self._failures = 0
        await self._lost("failed" if gave_up else "starting", end.reason, kind)
        self.retry_at = time.monotonic() + backoff(self._failures, random.random())
        if self._end is None:
            self._life = None
        self._means.stir()

    async def _lost(self, state: State, reason: str, kind: Kind = "no_capacity") -> None:
        replica = self.replica
        backend = replica.backend
        replica.loaded_at = 0.0
        self._means.dispatch.lost(replica, state, reason, kind)
        if backend is not None:
            await backend.aclose()

    async def _plan_and_live(self) -> Exited:
        spec = await self._planned()
        if spec.fetch:
            self._fetching = True
            fetching = msgspec.structs.replace(spec, command=spec.fetch, start_timeout=FETCH_SECONDS)
            end = await self._run(fetching)
            self._fetching = False
            if end.code:
                return end
            spec = await self._planned()
            if spec.fetch:
                return Exited(1, "what was fetched is not what the model needs")
        spec = await self._placed(spec)
        self._began = time.monotonic()
        return await self._run(spec)

    async def _planned(self) -> LaunchSpec:
        """The plan as if all the GPUs' memory were free. Raises ServingError when it cannot work even so."""
        machine = await asyncio.to_thread(self._means.look)
        roomy = msgspec.structs.replace(machine, gpu_free=machine.gpu_memory)
        spec = await asyncio.to_thread(self._plan, self.pool.settings, roomy)
        self.replica.spec = spec
        self._need, self._gpus = spec.memory, spec.gpus
        return spec

    async def _placed(self, spec: LaunchSpec) -> LaunchSpec:
        """Wait for room; on GPUs the plan is made anew with what is free by then.

        Raises ServingError (out_of_memory, or what the plan says) when there can be no room.
        """
        while True:
            await self._given_room()
            if not spec.gpus:
                return spec
            claims = self._means.claims
            async with claims.turn:
                left = claims.left(await asyncio.to_thread(self._means.look))
                try:
                    spec = await asyncio.to_thread(self._plan, self.pool.settings, left)
                except ServingError as error:
                    log.info("replica %s waits for room: %s", self.replica.id, error.message)
                    self._there = False
                    self._short, self._settled, self._looked_at = error, claims.settled, time.monotonic()
                    continue
                claims.claim(self.replica.id, spec.memory)
                self.replica.spec = spec
                self._short = None
                return spec

    async def _given_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        self._means.stir()
        try:
            await self._room
        finally:
            self._room = None

    async def _run(self, spec: LaunchSpec) -> Exited:
        """One child, from start to exit."""
        placement, replica = self._means.placement, self.replica
        try:
            handle = await placement.start(spec)
        except OSError as error:
            return Exited(127, f"{spec.command[0]} cannot be started: {error.strerror or error}")
        self.handle = handle
        replica.pid = handle.pid
        replica.log = handle.log
        replica.tail = handle.tail
        try:
            return await self._watch(spec, handle)
        finally:
            await placement.stop(handle, spec.grace)
            self.handle = None
            replica.pid = None
            replica.address = ""

    async def _watch(self, spec: LaunchSpec, handle: Handle) -> Exited:
        looking: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(spec.start_timeout) as limit:
                async for event in self._means.placement.watch(handle):
                    match event:
                        case Ready():
                            limit.reschedule(None)
                            looking = await self._ready(spec, event)
                        case Exited():
                            return event
        except TimeoutError:
            return Exited(1, f"it was not ready after {spec.start_timeout:g} seconds")
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        raise AssertionError("a placement's watch ends with Exited")

    async def _ready(self, spec: LaunchSpec, event: Ready) -> asyncio.Task[None] | None:
        """The child answers; gives the task that looks after it from now on, where it can be looked at."""
        replica, dispatch = self.replica, self._means.dispatch
        self._means.claims.settle(replica.id)
        replica.address = event.address
        replica.about = event.about
        connect = self._means.find_connect(spec.protocol)
        # The options are the engine's, and the key is not for our own child.
        about = msgspec.structs.replace(self.pool.settings, options={}, key="")
        backend = connect(event.address, about, spec.model)
        looking: asyncio.Task[None] | None = None
        if isinstance(backend, Controlled):
            await adapters.settle(dispatch, self.pool, replica, backend.controls, spec.adapters)
            looking = asyncio.create_task(watch(dispatch, replica, backend.controls), name=f"watch {replica.id}")
        now = time.monotonic()
        self._since, self._took = now, now - self._began
        replica.used = now
        replica.loaded_at = time.time()
        dispatch.ready(replica, backend, spec.slots)
        if self.leaving:
            dispatch.close(replica)
        log.info("replica %s is ready at %s", replica.id, event.address)
        self._means.stir()
        return looking
