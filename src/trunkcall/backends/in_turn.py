"""One answer that is made of several calls, one after the other, for protocols whose calls have one answer each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

from trunkcall.core.events import Event, Start, Usage

Ask = Callable[[AsyncExitStack, int], Awaitable[AsyncGenerator[Event]]]
"""Makes the call of this index and gives its events; leaving the stack stops its work."""


async def in_turn(start: Start, calls: int, ask: Ask) -> AsyncGenerator[Event]:
    """The events of all calls behind one start; what they used is summed up at the end. Raises what they raise."""
    yield start
    usage: Usage | None = None
    for index in range(calls):
        async with AsyncExitStack() as stack:
            told = await stack.enter_async_context(aclosing(await ask(stack, index)))
            async for event in told:
                if isinstance(event, Usage):
                    before = usage or Usage(0, 0)
                    usage = Usage(before.prompt + event.prompt, before.completion + event.completion)
                else:
                    yield event
    if usage is not None:
        yield usage
