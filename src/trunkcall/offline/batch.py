"""Many requests at once, as many as the model's replicas take, with the answers in the order of the requests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.control.pool import Pool
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Fault
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Embeds, Generates
from trunkcall.core.requests import Embed, Generate, TextPrompt, TokenPrompt, Vectors
from trunkcall.offline.outputs import Collected, RequestOutput

_LOOK_SECONDS: Final = 0.5
UPSTREAM_REQUESTS: Final = 16
"""At once, to an upstream whose limit nobody told."""
_ATTEMPTS: Final = 2
_OURS: Final = "return_token_ids"
"""Asked for always, so that it is no loss to the caller when an engine cannot."""

Request = TypeVar("Request", Generate, Embed)
Answered = TypeVar("Answered")


async def ready(dispatch: Dispatch, pool: Pool, told: Callable[[str], None]) -> None:
    """Wait until the model can be asked; told: called with the last line that its engine wrote, now and then.

    Raises ServingError when it cannot be started.
    """
    starting = asyncio.create_task(granted(dispatch, pool.settings.name))
    try:
        while not (await asyncio.wait({starting}, timeout=_LOOK_SECONDS))[0]:
            told(next((line for replica in pool.replicas for line in replica.log()[-1:]), ""))
        starting.result().release()
    finally:
        starting.cancel()


async def generate_all(
    dispatch: Dispatch, pool: Pool, requests: Sequence[Generate], told: Callable[[RequestOutput], None]
) -> list[RequestOutput]:
    """The answers; told: called with each as soon as it is there.

    Raises the first ServingError of any of them, after the others have been stopped.
    """
    return await _all(dispatch, pool, requests, _generate, told)


async def embed_all(
    dispatch: Dispatch, pool: Pool, requests: Sequence[Embed], told: Callable[[Vectors], None]
) -> list[Vectors]:
    """The vectors; like `generate_all`."""
    return await _all(dispatch, pool, requests, _embed, told)


async def _all(
    dispatch: Dispatch,
    pool: Pool,
    requests: Sequence[Request],
    answer: Callable[[Lease, Request], Awaitable[Answered]],
    told: Callable[[Answered], None],
) -> list[Answered]:
    answers: dict[int, Answered] = {}
    waiting = iter(enumerate(requests))

    async def work() -> None:
        for number, request in waiting:
            answers[number] = await _one(dispatch, request, answer)
            told(answers[number])

    width = sum(replica.slots or UPSTREAM_REQUESTS for replica in pool.replicas)
    workers = [asyncio.create_task(work()) for _ in range(min(width, len(requests)))]
    try:
        for worker in asyncio.as_completed(workers):
            await worker
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [answers[number] for number in range(len(requests))]


async def _one(
    dispatch: Dispatch, request: Request, answer: Callable[[Lease, Request], Awaitable[Answered]]
) -> Answered:
    avoid: list[str] = []
    attempts = 0
    while True:
        attempts += 1
        lease = await granted(dispatch, request.model, avoid)
        try:
            return await answer(lease, request)
        except ServingError as error:
            if error.kind != "unreachable" or attempts >= _ATTEMPTS:
                raise
            lease.release("failed", error)
            avoid.append(lease.replica.id)
        finally:
            lease.release()


async def granted(dispatch: Dispatch, model: str, avoid: Collection[str] = ()) -> Lease:
    """The right to ask a model, when it is this request's turn; avoid and errors: as in Dispatch.lease."""
    given = dispatch.lease(model, avoid=avoid)
    if isinstance(given, Lease):
        return given
    try:
        # A start and an answer each have a limit of their own, so this has one.
        lease = await given.future
        given.taken = True
        return lease
    finally:
        given.close()


async def _generate(lease: Lease, request: Generate) -> RequestOutput:
    backend = lease.backend
    if not isinstance(backend, Generates):
        raise ServingError("unsupported", f"{request.model!r} does not generate text", param="model")
    collected = Collected()
    meter = Meter(uuid.uuid4().hex, model=request.model, protocol="python", stream=False)
    async with backend.open(request, meter) as events:
        async for event in events:
            if isinstance(event, Fault):
                raise event.error
            collected.feed(event)
    return RequestOutput(
        request_id=meter.id,
        prompt=request.prompt.texts[0] if isinstance(request.prompt, TextPrompt) else None,
        prompt_token_ids=request.prompt.prompts[0] if isinstance(request.prompt, TokenPrompt) else collected.prompt_ids,
        outputs=collected.outputs(),
        usage=collected.usage,
        dropped=tuple(name for name in meter.dropped if name != _OURS),
    )


async def _embed(lease: Lease, request: Embed) -> Vectors:
    if not isinstance(lease.backend, Embeds):
        raise ServingError("unsupported", f"{request.model!r} does not give embeddings", param="model")
    meter = Meter(uuid.uuid4().hex, model=request.model, protocol="python", stream=False)
    return await lease.backend.embed(request, meter)
