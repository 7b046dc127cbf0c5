"""Which engines start, and which end to make room or because nobody needs them: a pure decision over a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

LEAST_STAY: Final = 3.0
"""Seconds that even an idle engine stays before it is ended for another one."""
LONGEST_STAY: Final = 30.0
"""Of one that is busy; in between a busy one stays as long as its start took, so that starts take half the time."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One replica that we start, as the decision sees it. Times are seconds of one monotonic clock.

    need: bytes; asks: it is to start and waits for room; extra: its model is served without it too, so that only free
    room is for it; short: by the estimate there is room, and a closer look has found that there is not; there: it
    takes memory, of which it is loading until it is ready, and leaving from its last grant on; busy: it has requests,
    or some wait for it; retiring: another replica of its model takes its place; since: when it was asked for or became
    ready; used: its last request; stay: how long it stays when it is busy; expires: when it ends for want of requests.
    """

    id: str
    model: str
    need: int
    asks: bool = False
    extra: bool = False
    short: bool = False
    there: bool = False
    loading: bool = False
    leaving: bool = False
    busy: bool = False
    pinned: bool = False
    retiring: bool = False
    since: float = 0.0
    used: float = 0.0
    stay: float = LEAST_STAY
    expires: float | None = None


class Moves(msgspec.Struct, frozen=True):
    """What is to be done, by ids. again: when to look again though nothing happens, None for never.

    leave: no new grants, and its end once it has no requests; refuse: there can be no room for these.
    """

    start: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    again: float | None = None


def decide(tenants: Sequence[Tenant], budget: int, now: float) -> Moves:
    """What to do with those that share so many bytes.

    Who asked first is served first. Room comes from the least recently used that are idle, then from the busy that
    were there longest; never from pinned ones, and not before they have stayed their time. So models that are asked
    in turn are each served a batch of requests per stay.
    """
    there = [tenant for tenant in tenants if tenant.there]
    staying = [tenant for tenant in there if not tenant.leaving]
    times = [tenant.expires for tenant in staying if tenant.expires is not None and tenant.expires > now]
    leave = [t for t in staying if t.expires is not None and t.expires <= now and not t.loading]
    free = budget - sum(tenant.need for tenant in there)
    # What those that leave give back, less what waiting ones will take of it.
    coming = sum(tenant.need for tenant in there if tenant.leaving or tenant in leave)
    if free + coming < 0:
        # Some turned out larger than was known when they started.
        gone = _overdrawn([t for t in staying if t not in leave], -free - coming, now)
        leave += gone
        coming += sum(tenant.need for tenant in gone)
    start: list[str] = []
    refuse: list[str] = []
    for asking in sorted((t for t in tenants if t.asks), key=lambda t: (t.extra, t.since, t.id)):
        if not asking.short and (not asking.need or asking.need <= min(free, free + coming)):
            start.append(asking.id)
            free -= asking.need
            continue
        unsettled = bool(leave) or any(t.leaving or t.loading for t in there)
        lack = asking.need - free - coming
        if (asking.short and unsettled) or (not asking.short and lack <= 0):
            coming -= asking.need
            continue
        others = [t for t in staying if t not in leave and _may_go(t, asking)]
        if asking.extra:
            others = [] if any(t.model == asking.model and (t.leaving or t.loading) for t in there) else others
        elif _in_vain(asking, staying, budget) or (asking.short and not (others or start)):
            refuse.append(asking.id)
            continue
        chosen, again = _victims(others, asking, lack, now)
        leave += chosen
        coming += sum(t.need for t in chosen) - asking.need
        if not chosen and again is not None:
            times.append(again)
        if not chosen and not asking.extra:
            # Who asked later must not take what this one will have in a moment.
            break
    return Moves(tuple(start), tuple(t.id for t in leave), tuple(refuse), min(times, default=None))


def _may_go(tenant: Tenant, asking: Tenant) -> bool:
    """Whether one could ever make room for another."""
    if tenant.model == asking.model:
        return tenant.retiring
    return not tenant.pinned and not asking.extra


def _in_vain(asking: Tenant, staying: Sequence[Tenant], budget: int) -> bool:
    """Whether there would be no room for one though all went that may."""
    return asking.need + sum(t.need for t in staying if not _may_go(t, asking)) > budget


def _victims(others: Sequence[Tenant], asking: Tenant, lack: int, now: float) -> tuple[list[Tenant], float | None]:
    """Those that make room, as few as can be; else when there may be some, None where that cannot be told."""
    settled = [t for t in others if not t.loading]
    free_to_go = [t for t in settled if _stays_until(t) <= now and (t.need or asking.short)]
    free_to_go.sort(key=lambda t: (not t.retiring, t.busy, t.since if t.busy else t.used))
    if asking.short:
        chosen = free_to_go[:1]
    else:
        chosen = _enough(free_to_go, lack)
    if chosen:
        return chosen, None
    return [], min((at for t in settled if (at := _stays_until(t)) > now), default=None)


def _enough(ordered: Sequence[Tenant], lack: int) -> list[Tenant]:
    """The first ones that give so many bytes together, without those that are not needed; none when all are too few."""
    chosen: list[Tenant] = []
    for tenant in ordered:
        if lack <= 0:
            break
        chosen.append(tenant)
        lack -= tenant.need
    if lack > 0:
        return []
    for tenant in reversed(chosen[:-1]):
        if lack + tenant.need <= 0:
            chosen.remove(tenant)
            lack += tenant.need
    return chosen


def _overdrawn(staying: Sequence[Tenant], lack: int, now: float) -> list[Tenant]:
    """Idle ones, but for the one that was used last."""
    idle = sorted((t for t in staying if not (t.busy or t.pinned or t.loading)), key=lambda t: t.used)
    last = max((t.used for t in staying), default=0.0)
    going: list[Tenant] = []
    for tenant in idle:
        if lack > 0 and tenant.used < last and _stays_until(tenant) <= now:
            going.append(tenant)
            lack -= tenant.need
    return going


def _stays_until(tenant: Tenant) -> float:
    if tenant.retiring:
        return tenant.since
    return tenant.since + (tenant.stay if tenant.busy else LEAST_STAY)
