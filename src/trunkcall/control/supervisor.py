"""What is wanted is brought about: engines start on first use, make room for each other, change, drain and end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import msgspec

from trunkcall.control import adapters
from trunkcall.control.claims import Claims
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.estimating import Estimate, estimate
from trunkcall.control.keeper import LOOK_SECONDS, Keeper, Means
from trunkcall.control.members import FindConnect, FindEngine, Member, Prepared, joined, make, prepare
from trunkcall.control.names import check_free
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.rooms import Rooms
from trunkcall.control.succession import free_numbers, in_order, kept
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import Machine, ModelSettings, ModelView, Source
from trunkcall.core.ports import Placement
from trunkcall.core.text import did_you_mean

DRAIN_SECONDS: Final = 30.0
"""How long running answers hold up an engine that is to end; then its end cuts them."""
RESTART_SECONDS: Final = 3600.0
"""How long one that is started anew is waited for."""
MEASURE_SECONDS: Final = 10.0
"""Between two looks at the memory that engines take."""

_TOGETHER: Final = 0.005


class Supervisor:
    """Owns the members of each model that is served by settings, and the task that decides about them.

    find_engine gives None for a scheme that is not an engine's; find_connect raises ServingError for one that is not
    a backend's either; memory: bytes of the machine's memory that engines may take together, None for nearly all.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        placements: Mapping[str, Placement],
        look: Callable[[], Machine],
        find_engine: FindEngine,
        find_connect: FindConnect,
        memory: int | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._machine = look()
        self._find_engine = find_engine
        self._find_connect = find_connect
        self._rooms = Rooms(self._machine, memory)
        self._members: dict[str, list[Member]] = {}
        self._given: dict[str, ModelSettings] = {}
        self._checked: dict[str, tuple[ModelSettings, list[Prepared]]] = {}
        self._parting: dict[asyncio.Task[None], Member] = {}
        """Members that their models have no more."""
        self._told: dict[Replica, tuple[object, ...]] = {}
        self._stirred = asyncio.Event()
        self._deciding: asyncio.Task[None] | None = None
        self._measured_at = 0.0
        self._placement = placements["local"]
        self._means = Means(dispatch, self._placement, look, find_connect, Claims(), self._stirred.set)

    # Models

    def models(self) -> dict[str, ModelSettings]:
        """The models that it looks after, as they were given."""
        return dict(self._given)

    async def check(self, settings: ModelSettings, leaving: Collection[str] = ()) -> None:
        """Raise ServingError for what `add` or `change` would refuse; nothing is started or changed.

        leaving: models that will be gone by then, or have given up their names.
        What it found out serves the next `add` or `change` with the same settings, which then reads no files.
        """
        name = settings.name
        if name in self._dispatch.pools and name not in self._members:
            raise ServingError("conflict", f"the name {name!r} is taken by a model that registered itself")
        self._check_others(settings, leaving)
        prepared = await asyncio.to_thread(self._prepare, settings)
        for one in prepared:
            if one.plan is None:
                await self._find_connect(one.source.scheme)(one.source.target, settings, one.source.model).aclose()
        self._checked[name] = settings, prepared

    async def estimate(self, settings: ModelSettings) -> Estimate:
        """What a model of these settings would take here, beside what runs now; nothing is started for it.

        Raises ServingError for what `add` would refuse, but for want of memory.
        """
        look = self._means.look
        machine = self._means.claims.left(await asyncio.to_thread(look))
        left = self._rooms.left(self._everybody())
        return await estimate(settings, machine, left, self._find_engine, self._find_connect, self._placement)

    def add(self, settings: ModelSettings) -> Pool:
        """Make a model callable; engines start on first use, or now with `preload`.

        Raises ServingError when a source cannot work, saying why and what to do; conflict when the name is taken.
        """
        name = settings.name
        self._dispatch.check_free(settings)
        prepared = self._take_checked(settings) or self._prepare(settings)
        replicas = [make(one, settings, number, self._find_connect) for number, one in enumerate(prepared)]
        pool = Pool(settings, replicas)
        adapters.offer(self._dispatch, pool, adapters.by_name(replicas))
        self._dispatch.pools[name] = pool
        self._given[name] = settings
        pool.wanted.told = self._stirred.set
        self._members[name] = [
            joined(self._means, pool, replica, one) for replica, one in zip(replicas, prepared, strict=True)
        ]
        pool.starts = any(one.plan is not None for one in prepared)
        if settings.preload:
            pool.wanted.set()
        if self._deciding is None:
            self._deciding = asyncio.create_task(self._decide_always(), name="supervisor")
        self._tell_model(pool)
        return pool

    async def remove(self, name: str, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Take a model out: no new grants, running requests may end, then its children end.

        Raises ServingError (no_model) for an unknown name.
        """
        self._dispatch.pool(name)
        pool = self._dispatch.remove(name)
        for adapter in tuple(pool.adapters):
            adapters.withdraw(self._dispatch, pool, adapter)
        self._given.pop(name, None)
        parting = [self._part(pool, member, drain_seconds) for member in self._members.pop(name, ())]
        self._tell_model(pool)
        if parting:
            await asyncio.wait(parting)

    async def change(self, settings: ModelSettings) -> bool:
        """Bring a model to other settings; gives whether that changed anything.

        Engines that must be others are started beside the old ones, memory permitting, which go on until then and
        finish what they run. Raises ServingError as `add` does, and changes nothing then; no_model.
        """
        pool, members = self._of(settings.name)
        async with pool.changing:
            given = self._given[settings.name]
            if settings == given:
                return False
            self._check_others(settings)
            prepared = self._take_checked(settings) or []
            if not prepared and kept(given, settings, members)[1]:
                prepared = await asyncio.to_thread(self._prepare, settings)
            if self._members.get(settings.name) is not members:
                raise ServingError("no_model", f"the model {settings.name!r} was removed meanwhile", param="model")
            self._succeed(pool, members, settings, prepared)
        return True

    def _succeed(self, pool: Pool, members: list[Member], settings: ModelSettings, prepared: list[Prepared]) -> None:
        """Put the replicas that other settings need beside those that they leave as they are."""
        given = self._given[settings.name]
        stay, missing = kept(given, settings, members)
        prepared = list(_needed(prepared, missing))
        numbers = free_numbers(members)
        replicas = [make(one, settings, next(numbers), self._find_connect) for one in prepared]
        was_there = pool.wanted.is_set()
        self._change_adapters(pool, settings, replicas, [member.replica for member in stay])
        for member in members:
            member.retiring = member not in stay
        for replica, one in zip(replicas, prepared, strict=True):
            replica.pools.append(pool)
            members.append(joined(self._means, pool, replica, one))
        pool.rearrange(in_order(settings, members))
        pool.starts = any(member.keeper is not None for member in members if not member.retiring)
        self._given[settings.name] = settings
        if was_there or (settings.preload and not given.preload):
            pool.wanted.set()
        self._stirred.set()
        self._tell_model(pool)

    # Engines

    def load(self, name: str) -> ModelView:
        """Want a model's engines now; undoes `drain`. Raises ServingError (no_model)."""
        pool, members = self._of(name)
        for member in members:
            member.replica.held = False
            if member.keeper is not None:
                member.keeper.forgive()
            if member.keeper is None or not member.keeper.leaving:
                self._dispatch.reopen(member.replica)
        pool.wanted.set()
        _wake(pool, members, time.monotonic())
        return pool.view()

    async def unload(self, name: str) -> ModelView:
        """End a model's engines after a drain; the next request starts them again.

        Raises ServingError: no_model, conflict for a model of which nothing runs here.
        """
        pool, members = self._of(name)
        keepers = _keepers(name, members)
        pool.wanted.clear()
        await _ended(keepers)
        return pool.view()

    def drain(self, name: str, replica: str = "") -> ModelView:
        """No new grants for a replica, or for all, until `load`; its engine stays.

        Raises ServingError: no_model, bad_request for an unknown replica.
        """
        pool, members = self._of(name)
        for member in _named(members, replica):
            self._dispatch.hold(member.replica)
        self._stirred.set()
        return pool.view()

    async def restart(self, name: str, replica: str = "") -> ModelView:
        """End a replica, or all one after another, and start it anew; returns when they are back. Undoes `drain`.

        Raises ServingError: no_model, bad_request for an unknown replica, conflict for a model of which nothing runs
        here or that is unloaded or removed meanwhile, no_capacity for one that does not come back.
        """
        pool, members = self._of(name)
        for keeper in _keepers(name, _named(members, replica)):
            if keeper.off:
                continue
            await _ended([keeper])
            keeper.replica.held = False
            keeper.forgive()
            pool.wanted.set()
            await _back(keeper, partial(_is_wanted, pool, members, keeper))
        return pool.view()

    def limit(self, memory: int | None) -> None:
        """From now on engines may take so many bytes together; nothing is ended for it at once."""
        self._rooms.memory = memory
        self._stirred.set()

    async def aclose(self) -> None:
        """End all children and give back all connections."""
        if self._deciding is not None:
            self._deciding.cancel()
            await asyncio.gather(self._deciding, return_exceptions=True)
        members = [member for members in self._members.values() for member in members]
        parting = dict(self._parting)
        for task in parting:
            task.cancel()
        await asyncio.gather(*parting, return_exceptions=True)
        await asyncio.gather(*(member.aclose() for member in (*members, *parting.values())))
        for name in self._members:
            self._dispatch.pools.pop(name, None)
        self._members.clear()
        self._given.clear()

    # Deciding

    async def _decide_always(self) -> None:
        """Level-triggered: whatever happened before, each look compares what is wanted with what is there."""
        while True:
            self._stirred.clear()
            try:
                again = self._decide(time.monotonic())
                await self._measure()
            except Exception:  # noqa: BLE001
                # Without this task no engine would ever start again.
                log.exception("a look at what is wanted has failed")
                again = 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await self._stirred.wait()
                    # Whoever joins a queue stirs; one look does for many.
                    await asyncio.sleep(_TOGETHER)

    def _decide(self, now: float) -> float | None:
        """Bring about what can be now; gives the seconds until the next look, None when news will tell."""
        times: list[float] = []
        for name, members in self._members.items():
            pool = self._dispatch.pools[name]
            # Most of a thousand models rest.
            if pool.wanted.is_set() or not all(member.rests for member in members):
                times += _wake(pool, members, now)
                self._retire(pool, members)
        active = [member for member in self._everybody() if member.keeper is not None and not member.keeper.off]
        times += self._rooms.share(active, self._members, now)
        self._tell_states()
        if any(member.keeper and member.keeper.handle for member in active):
            times.append(self._measured_at + MEASURE_SECONDS)
        return max(0.0, min(times) - now) if times else None

    def _retire(self, pool: Pool, members: list[Member]) -> None:
        """Let the old ones of a changed model go once the new ones are there, or when they are of no use."""
        retiring = [member for member in members if member.retiring]
        if not retiring:
            return
        replaced = all(member.there or member.replica.held for member in members if not member.retiring)
        for member in retiring:
            useless = member.keeper is not None and not member.keeper.ready and not member.keeper.leaving
            if replaced or useless or not pool.wanted.is_set():
                members.remove(member)
                self._part(pool, member, None)

    def _part(self, pool: Pool, member: Member, seconds: float | None) -> asyncio.Task[None]:
        """End a member that its model has no more."""

        async def part() -> None:
            await member.leave(self._means, seconds)
            for one in tuple(member.replica.pools):
                self._dispatch.leave(one, member.replica)
            self._told.pop(member.replica, None)

        self._dispatch.close(member.replica)
        parting = asyncio.create_task(part(), name=f"part {member.replica.id}")
        self._parting[parting] = member
        parting.add_done_callback(self._parted)
        return parting

    def _parted(self, parting: asyncio.Task[None]) -> None:
        self._parting.pop(parting, None)
        self._stirred.set()

    async def _measure(self) -> None:
        """See what memory engines take."""
        running = [
            (member.replica, member.keeper.handle)
            for member in self._everybody()
            if member.keeper is not None and member.keeper.handle is not None
        ]
        if not running or time.monotonic() < self._measured_at + MEASURE_SECONDS:
            return
        self._measured_at = time.monotonic()
        sizes = await asyncio.to_thread(self._placement.memory, [handle for _, handle in running])
        for (replica, _), size in zip(running, sizes, strict=True):
            replica.rss = size

    # News

    def _tell_model(self, pool: Pool) -> None:
        news = self._dispatch.news
        if news is not None and news.wanted:
            news.tell("model", pool.view())

    def _tell_states(self) -> None:
        """Tell of replicas that are not as they were."""
        if self._dispatch.news is None or not self._dispatch.news.wanted:
            return
        for member in self._everybody():
            replica = member.replica
            state = (replica.state, replica.generation, replica.pid, replica.error)
            if self._told.get(replica) != state:
                self._told[replica] = state
                self._dispatch.tell(replica)

    # Finding

    def _prepare(self, settings: ModelSettings) -> list[Prepared]:
        # What others take of the GPUs now, they may have given back when it starts.
        roomy = msgspec.structs.replace(self._machine, gpu_free=self._machine.gpu_memory)
        return prepare(settings, settings.sources, roomy, self._find_engine, self._find_connect)

    def _check_others(self, settings: ModelSettings, leaving: Collection[str] = ()) -> None:
        """Raise ServingError (conflict) when another model has one of the names."""
        gone = {settings.name, *leaving}
        others = (pool.settings for name, pool in self._dispatch.pools.items() if name not in gone)
        check_free(settings, others)

    def _take_checked(self, settings: ModelSettings) -> list[Prepared] | None:
        checked, prepared = self._checked.pop(settings.name, (None, None))
        return prepared if checked == settings else None

    def _everybody(self) -> list[Member]:
        return [*(member for members in self._members.values() for member in members), *self._parting.values()]

    def _of(self, name: str) -> tuple[Pool, list[Member]]:
        """A model's pool and members, for an adapter those of its base.

        Raises ServingError: no_model, conflict for one that registered itself.
        """
        found = self._dispatch.pool(name)
        for base, members in self._members.items():
            pool = self._dispatch.pools[base]
            if found is pool or found in pool.adapters.values():
                return pool, members
        raise ServingError("conflict", f"{name!r} registered itself here; what runs of it is up to its own server")

    def _change_adapters(
        self, pool: Pool, settings: ModelSettings, replicas: list[Replica], kept: list[Replica]
    ) -> None:
        """Adapters that were loaded as it ran stay; those that its settings named are now as these say.

        Raises ServingError (conflict) when a model has one of the names; then nothing is changed.
        """
        loaded = adapters.loaded_meanwhile(self._given[settings.name], pool.settings)
        if replicas:
            named = adapters.by_name(replicas)
            new = {name: found for name, found in named.items() if name not in pool.adapters}
            adapters.offer(self._dispatch, pool, new)
            for name in tuple(pool.adapters):
                if name not in named and name not in loaded and not any(name in adapters.planned(one) for one in kept):
                    adapters.withdraw(self._dispatch, pool, name)
        pool.settings = adapters.remembering(settings, loaded)


def _wake(pool: Pool, members: Iterable[Member], now: float) -> list[float]:
    """Begin the lives that are wanted; gives when to look again."""
    keepers = [member.keeper for member in members if member.keeper is not None and not member.retiring]
    times: list[float] = []
    for keeper in keepers:
        if not keeper.off:
            continue
        if now < keeper.retry_at:
            times.append(keeper.retry_at)
        elif pool.wanted.is_set() and not keeper.replica.held and not keeper.tired:
            keeper.begin()
        elif keeper.replica.state != "off":
            # Callers were told why; the next one makes a new try.
            keeper.replica.state = "off"
    given_up = bool(keepers) and all(keeper.off and keeper.tired and now >= keeper.retry_at for keeper in keepers)
    if given_up and not any(member.retiring for member in members):
        pool.wanted.clear()
    return times


def _needed(prepared: Iterable[Prepared], missing: Counter[Source]) -> Iterator[Prepared]:
    """Of all that settings name, those of which so many are missing."""
    left = missing.copy()
    for one in prepared:
        if left[one.source]:
            left[one.source] -= 1
            yield one


def _named(members: list[Member], replica: str) -> list[Member]:
    found = [member for member in members if not replica or member.replica.id == replica]
    if not found:
        names = [member.replica.id for member in members]
        raise ServingError(
            "bad_request", f"there is no replica {replica!r}. {did_you_mean(replica, names)}", param="replica"
        )
    return found


def _keepers(name: str, members: list[Member]) -> list[Keeper]:
    found = [member.keeper for member in members if member.keeper is not None]
    if not found:
        raise ServingError("conflict", f"nothing of {name!r} runs here: it is served by somebody else's server")
    return found


async def _ended(keepers: list[Keeper]) -> None:
    ending = [task for keeper in keepers if (task := keeper.leave(DRAIN_SECONDS)) is not None]
    if ending:
        await asyncio.wait(ending)


def _is_wanted(pool: Pool, members: list[Member], keeper: Keeper) -> bool:
    """Whether a model, if it is there still, is to start a replica of its."""
    return pool.wanted.is_set() and not pool.draining and any(member.keeper is keeper for member in members)


async def _back(keeper: Keeper, wanted: Callable[[], bool]) -> None:
    """Wait until a replica is there again, as long as it is wanted."""
    loop = asyncio.get_running_loop()
    end = loop.time() + RESTART_SECONDS
    while not keeper.ready:
        if keeper.replica.state == "failed" or loop.time() > end:
            raise ServingError("no_capacity", f"{keeper.replica.id} does not come back: {keeper.replica.error}")
        if keeper.off and not wanted():
            raise ServingError("conflict", f"{keeper.replica.id} was unloaded or removed before it came back")
        await asyncio.sleep(LOOK_SECONDS)
