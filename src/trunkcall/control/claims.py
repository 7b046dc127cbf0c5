"""What replicas that are loading will take of the GPUs, which does not show there yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import msgspec

from trunkcall.core.models import Machine


class Claims:
    """Bytes by replica, from the plan for a start until it is ready or has failed."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        """Plans for GPUs are made one at a time."""
        self.settled = 0
        """How often one was given back or has ended, after which a closer look may find something else."""
        self.settled_at = 0.0
        """`time.monotonic()` of the last such change."""
        self._bytes: dict[str, int] = {}

    def claim(self, replica: str, size: int) -> None:
        """One begins to load."""
        self._bytes[replica] = size

    def settle(self, replica: str) -> None:
        """What it takes shows by now, or it takes nothing."""
        self._bytes.pop(replica, None)
        self.settled += 1
        self.settled_at = time.monotonic()

    def left(self, machine: Machine) -> Machine:
        """The machine as those that are loading will leave it."""
        return after(machine, self._bytes.values())


def after(machine: Machine, claims: Iterable[int]) -> Machine:
    """The machine once so many bytes each are taken of its GPUs, of the roomiest first."""
    free = list(machine.gpu_free)
    for claim in claims:
        rest = claim
        for number in sorted(range(len(free)), key=lambda number: -free[number]):
            taken = min(rest, free[number])
            free[number] -= taken
            rest -= taken
    return msgspec.structs.replace(machine, gpu_free=tuple(free))
