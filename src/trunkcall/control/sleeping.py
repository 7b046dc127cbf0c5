"""Looks at replicas from time to time, so that busy ones are spared and sleeping ones are woken by who needs them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Controlled, Controls

LOOK_SECONDS: Final = 2.0
"""Between two looks; vLLM took 10 ms of its own for one."""
RARELY_SECONDS: Final = 300.0
"""The same for a replica that told nothing; another program may stand at its address later."""
DRAIN_SECONDS: Final = 30.0
"""How long running answers hold up a replica that is to sleep."""


async def watch(dispatch: Dispatch, replica: Replica, controls: Controls) -> None:
    """Look at a replica and wake it when somebody needs it, until cancelled."""
    pause = LOOK_SECONDS
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await replica.roused.wait()
        async with replica.turning:
            pause = await _turn(dispatch, replica, controls)


async def _turn(dispatch: Dispatch, replica: Replica, controls: Controls) -> float:
    """One look; gives the seconds until the next."""
    if replica.roused.is_set():
        try:
            log.info("replica %s is woken", replica.id)
            await controls.wake()
        except ServingError as error:
            log.warning("replica %s could not be woken: %s", replica.id, error.message)
            dispatch.sleeps_on(replica, error.message)
            return LOOK_SECONDS
        dispatch.woken(replica)
    try:
        told = await controls.look()
    except ServingError:
        return LOOK_SECONDS
    dispatch.told(replica, told)
    return LOOK_SECONDS if told else RARELY_SECONDS


async def sleep(dispatch: Dispatch, name: str, drain_seconds: float = DRAIN_SECONDS) -> ModelView:
    """Put a model's replicas to sleep; the next call wakes one.

    Raises ServingError: no_model, unsupported with the remedy, conflict when it does not run or answers still run
    after `drain_seconds`.
    """
    pool = dispatch.pool(name)
    for replica in _there(dispatch, name):
        async with replica.turning:
            if replica.state != "ready":
                continue
            dispatch.rest(replica)
            try:
                await _idle(replica, drain_seconds)
                await _controls(name, replica).sleep()
            except BaseException:
                dispatch.woken(replica)
                raise
            log.info("replica %s sleeps", replica.id)
    return pool.view()


async def wake(dispatch: Dispatch, name: str) -> ModelView:
    """Wake a model's replicas; returns when they can work.

    Raises ServingError: no_model, conflict when it does not run, and what the replica says against it.
    """
    pool = dispatch.pool(name)
    for replica in _there(dispatch, name):
        async with replica.turning:
            if replica.state == "asleep":
                await _controls(name, replica).wake()
                dispatch.woken(replica)
    return pool.view()


async def _idle(replica: Replica, limit: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    while replica.in_flight:
        if loop.time() >= end:
            raise ServingError(
                "conflict", f"{replica.id} still gives {replica.in_flight} answers; try again when they have ended"
            )
        await asyncio.sleep(0.02)


def _there(dispatch: Dispatch, name: str) -> list[Replica]:
    found = [replica for replica in dispatch.pool(name).replicas if replica.state in ("ready", "asleep")]
    if not found:
        raise ServingError("conflict", f"{name!r} does not run, so that it can neither sleep nor be woken")
    return found


def _controls(name: str, replica: Replica) -> Controls:
    if not isinstance(replica.backend, Controlled):
        raise ServingError("unsupported", f"{name!r} is served by something that cannot sleep; remove it instead")
    return replica.backend.controls
