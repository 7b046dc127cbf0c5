"""How the process itself does, beside its models: the journal, the ledger, and what it had to leave out."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from trunkcall.core.meter import Histogram
from trunkcall.core.models import Health

EVERY: Final = 0.5
"""Seconds between two looks at the event loop."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot.

    journal: whether requests can be noted; ledger: whether the database takes them; rows_lost: requests that a full
    disk has cost; rows_waiting: those that wait for the disk; bytes_waiting: size of the journal's files, which go
    when the ledger has them; traces_lost: requests whose trace the collector did not get.
    """

    journal: Health = Health(True)
    ledger: Health = Health(True)
    rows_lost: int = 0
    rows_waiting: int = 0
    bytes_waiting: int = 0
    traces_lost: int = 0


async def watch_loop(lag: Histogram) -> None:
    """Observe how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY
        await asyncio.sleep(EVERY)
        lag.observe(max(0.0, loop.time() - due))
