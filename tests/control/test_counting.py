"""Counting asks a ready replica and takes no slot; who cannot count has it estimated."""

from __future__ import annotations

import asyncio

import pytest
from apis.fastchat_workers import Wordy
from apis.kuwa_executors import Counting, Script

from trunkcall.control.counting import count, estimate
from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.readiness import ready_backend
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.ports import Backend
from trunkcall.core.requests import Count, Message, MessagesPrompt, TextPart, TextPrompt, TokenPrompt, Tokens

pytestmark = pytest.mark.anyio

TWO = Count(model="m", prompt=TextPrompt(("two words",)))


def dispatch_of(backend: Backend | None) -> tuple[Dispatch, Pool]:
    dispatch = Dispatch()
    replica = Replica("m/0", Source("x"), 1)
    replica.backend, replica.state = backend, "off" if backend is None else "ready"
    pool = dispatch.pools["m"] = Pool(ModelSettings(name="m", sources=(Source("x"),)), [replica])
    return dispatch, pool


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (Wordy(context=9), Tokens(2, (0, 1), 9)),
        (Script(), Tokens(3)),
        (Counting(failure=ServingError("unsupported", "no")), Tokens(3)),
    ],
)
async def test_count(backend: Backend, expected: Tokens) -> None:
    dispatch, pool = dispatch_of(backend)
    lease = dispatch.lease("m")
    assert isinstance(lease, Lease)
    assert await count(dispatch, TWO) == expected
    assert pool.replicas[0].in_flight == 1


async def test_other_failures_are_told() -> None:
    dispatch, _ = dispatch_of(Counting(failure=ServingError("upstream_timeout", "slow")))
    with pytest.raises(ServingError, match="slow"):
        await count(dispatch, TWO)
    with pytest.raises(ServingError, match="does not exist"):
        await count(dispatch, Count(model="x", prompt=TextPrompt(("a",))))


async def test_a_model_that_is_not_there_is_started() -> None:
    dispatch, pool = dispatch_of(None)
    counting = asyncio.create_task(count(dispatch, TWO))
    async with asyncio.timeout(30):
        await pool.wanted.wait()
    dispatch.ready(pool.replicas[0], Wordy(), 1)
    assert (await counting).count == 2
    assert pool.replicas[0].in_flight == 0


async def test_waiting_has_an_end() -> None:
    dispatch, pool = dispatch_of(None)
    with pytest.raises(ServingError, match="was not ready") as caught:
        await ready_backend(dispatch, "m", 0.01)
    assert caught.value.kind == "loading"
    assert len(pool.queue) == 0


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        (TextPrompt(("",)), 0),
        (TextPrompt(("a",)), 1),
        (TextPrompt(("abcd", "e")), 2),
        (TextPrompt(("üüü",)), 2),
        (MessagesPrompt((Message("user", (TextPart("abcd"),)), Message("assistant", (TextPart("efgh"),)))), 2),
        (TokenPrompt(((1, 2), (3,))), 3),
    ],
)
def test_estimate(prompt: TextPrompt | MessagesPrompt | TokenPrompt, tokens: int) -> None:
    assert estimate(prompt) == tokens
