"""The memory that engines share, the machine's own and that of its GPUs: who may take it, and who leaves for others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from trunkcall.control.keeper import Keeper
from trunkcall.control.members import Member
from trunkcall.control.pool import Pool
from trunkcall.control.swap import Tenant, decide
from trunkcall.core.log import log
from trunkcall.core.models import Machine
from trunkcall.protocols.fetching import amount

PAUSE_SECONDS: Final = 0.1
"""Between two looks at who has become idle, while somebody waits for room."""

Members = Mapping[str, Sequence[Member]]
"""Of each model."""


class Rooms:
    """Carries out what control.swap decides.

    memory: bytes of the machine's memory that engines may take together, None for nearly all.
    """

    def __init__(self, machine: Machine, memory: int | None) -> None:
        self.memory = memory
        self._machine = machine

    def share(self, active: Sequence[Member], members: Members, now: float) -> list[float]:
        """Let those start for which there is room, and those go that must; gives when to look again.

        active: those that we start and that are not off, also of models that are no more.
        """
        times: list[float] = []
        for on_gpus in (False, True):
            sharing = [member for member in active if member.keeper and bool(member.keeper.gpus) == on_gpus]
            if sharing:
                times += self._share(sharing, on_gpus, members, now)
        return times

    @property
    def budget(self) -> int:
        """Bytes of the machine's memory that engines may take together."""
        return _most(self._machine) if self.memory is None else self.memory

    def left(self, active: Iterable[Member]) -> int:
        """Bytes of the machine's memory that engines may still take, fewer than none when too many are taken."""
        tenants = [
            one.keeper.tenant(None, False, one.retiring, None) for one in active if one.keeper and not one.keeper.gpus
        ]
        return self.budget - sum(tenant.need for tenant in tenants if tenant.there)

    def _share(self, sharing: Sequence[Member], on_gpus: bool, members: Members, now: float) -> list[float]:
        if on_gpus:
            budget = limit = sum(self._machine.gpu_memory)
        else:
            budget = self.budget
            # Who was told to try nonetheless may try alone.
            limit = budget if self.memory is None else None
        keepers: dict[str, Keeper] = {}
        tenants: list[Tenant] = []
        for member in sharing:
            keeper = member.keeper
            assert keeper is not None
            others = [o for o in members.get(keeper.pool.settings.name, ()) if o is not member and not o.retiring]
            extra = any(other.there or (other.keeper and other.keeper.loading) for other in others)
            tenant = keeper.tenant(limit, extra, member.retiring, _expires(keeper.pool, now))
            if tenant.id in keepers:
                # One of a model that was removed and added again.
                tenant = msgspec.structs.replace(tenant, id=f"{tenant.id} {id(keeper)}")
            keepers[tenant.id] = keeper
            tenants.append(tenant)
        moves = decide(tenants, budget, now)
        for one in moves.start:
            keepers[one].give_room()
        times = [] if moves.again is None else [moves.again]
        for one in moves.refuse:
            look_at = keepers[one].look_again_at(now)
            if look_at is None:
                keepers[one].refuse_room(self._no_room(keepers[one], budget))
            elif look_at <= now:
                keepers[one].give_room()
            else:
                times.append(look_at)
        idle = {tenant.id for tenant in tenants if tenant.expires is not None and tenant.expires <= now}
        for one in moves.leave:
            log.info("replica %s ends: %s", one, "nobody needs it" if one in idle else "others need its memory")
            if one in idle:
                keepers[one].replica.unloads += 1
            else:
                keepers[one].replica.evictions += 1
            keepers[one].leave(None)
        retiring = {tenant.id for tenant in tenants if tenant.retiring}
        for pool in {keepers[one].pool for one in moves.leave if one not in retiring}:
            _let_go(pool, members.get(pool.settings.name, ()))
        if len(moves.start) + len(moves.refuse) < sum(tenant.asks for tenant in tenants):
            times.append(now + PAUSE_SECONDS)
        return times

    def _no_room(self, keeper: Keeper, budget: int) -> str:
        said = "the setting `memory`" if self.memory is not None else "what this machine has"
        return (
            f"it needs {amount(keeper.need)}, and there can be no room for it: engines may take {amount(budget)} "
            f"({said}), less what pinned models take. Unpin or remove one, raise `memory`, or take a smaller model, "
            "fewer slots or a shorter context"
        )


def _let_go(pool: Pool, members: Sequence[Member]) -> None:
    """A model of which all leaves is wanted no more, but by those who wait already."""
    keepers = [m.keeper for m in members if m.keeper and not m.retiring]
    if all(keeper.off or keeper.leaving or keeper.asking for keeper in keepers):
        pool.wanted.clear()
        if any(keeper.waited_for for keeper in keepers):
            pool.wanted.set()
        else:
            for keeper in keepers:
                keeper.leave(None)


def _expires(pool: Pool, now: float) -> float | None:
    """When a model's engines end for want of requests at the earliest, as `time.monotonic()` has it."""
    if pool.settings.ttl is None:
        return None
    busy = any(replica.in_flight or any(len(one.queue) for one in replica.pools) for replica in pool.replicas)
    last = now if busy else max((replica.used for replica in pool.replicas), default=0.0)
    return last + pool.settings.ttl


def _most(machine: Machine) -> int:
    """Bytes of a machine's memory that engines may take, the rest being for what else runs there."""
    return machine.memory - max(machine.memory // 10, min(2**30, machine.memory // 4))
