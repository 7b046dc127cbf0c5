"""Work that outlives the cancellation of who waits for it."""

from __future__ import annotations

import asyncio

import pytest

from trunkcall.backends.owned import owned

pytestmark = pytest.mark.anyio


async def test_gives_and_raises_what_the_work_does() -> None:
    async def gives() -> int:
        return 7

    async def raises() -> None:
        raise ValueError("no")

    assert await owned(gives()) == 7
    with pytest.raises(ValueError, match="no"):
        await owned(raises())


@pytest.mark.parametrize("cancels", [1, 2, 5])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end(cancels: int, fails: bool) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()
    ended = False

    async def work() -> None:
        nonlocal ended
        begun.set()
        await goes_on.wait()
        ended = True
        if fails:
            raise ValueError("nobody hears it")

    caller = asyncio.create_task(owned(work()))
    await begun.wait()
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert not caller.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended


@pytest.mark.parametrize("linger", [0.0, 0.05])
async def test_work_that_takes_too_long_is_cancelled_and_awaited(linger: float) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            ended.append("cleaned up")

    caller = asyncio.create_task(owned(work(), linger))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended == ["cleaned up"]
