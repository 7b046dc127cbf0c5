"""Waiting for a server's models: until they can be asked, or one of them cannot be loaded."""

from __future__ import annotations

import asyncio
import logging

import pytest

from trunkcall.control import loading
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings, Source

pytestmark = pytest.mark.anyio


def dispatch_of(*states: str) -> tuple[Dispatch, list[Replica]]:
    """A model for each state."""
    dispatch, replicas = Dispatch(), []
    for number, state in enumerate(states):
        name, source = f"m{number}", Source("debug")
        replica = Replica(f"{name}/0", source, None)
        replica.state = state
        replicas.append(replica)
        dispatch.pools[name] = Pool(ModelSettings(name=name, sources=(source,)), [replica])
    return dispatch, replicas


@pytest.mark.parametrize(
    ("states", "can"),
    [((), True), (("ready",), True), (("asleep",), True), (("ready", "starting"), False), (("off",), False), (("failed",), False)],
)  # fmt: skip
def test_can_be_asked(states: tuple[str, ...], can: bool) -> None:
    assert loading.can_be_asked(dispatch_of(*states)[0]) is can


async def test_it_waits_for_all(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(loading, "LOOK_SECONDS", 0.005)
    dispatch, (_, second) = dispatch_of("ready", "starting")
    with caplog.at_level(logging.INFO, logger="trunkcall"):
        waiting = asyncio.create_task(loading.loaded(dispatch))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        second.state = "ready"
        await asyncio.wait_for(waiting, 30)
    assert [line for line in caplog.messages if "is served by debug" in line] == [
        "m0 is served by debug",
        "m1 is served by debug",
    ]


async def test_a_long_start_is_heard_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(loading, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(loading, "TELL_SECONDS", 0.02)
    dispatch, (replica,) = dispatch_of("starting")
    replica.log = lambda: ("0 %", "40 %")
    with caplog.at_level(logging.INFO, logger="trunkcall"):
        waiting = asyncio.create_task(loading.loaded(dispatch))
        async with asyncio.timeout(30):
            while "m0 is being started: 40 %" not in caplog.messages:
                await asyncio.sleep(0.005)
        replica.state = "ready"
        await asyncio.wait_for(waiting, 30)


async def test_what_cannot_be_loaded_is_told() -> None:
    dispatch, (_, replica) = dispatch_of("ready", "failed")
    replica.error = "no such weights"
    with pytest.raises(ServingError, match="'m1' cannot be served: no such weights") as caught:
        await asyncio.wait_for(loading.loaded(dispatch), 30)
    assert caught.value.kind == "no_capacity"
