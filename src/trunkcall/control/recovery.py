"""An answer whose replica has died goes on from another one, as the same answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

import msgspec

from trunkcall.control.calls import GenerateCall
from trunkcall.control.dispatch import Lease
from trunkcall.control.pool import Replica
from trunkcall.control.recovery_plan import endings, go_on, is_greedy
from trunkcall.control.recovery_rest import Rest
from trunkcall.control.recovery_so_far import SoFar, so_far
from trunkcall.control.telling import Telling
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.models import Resumable
from trunkcall.core.ports import Counts, Generates
from trunkcall.core.requests import Count, Generate, TokenPrompt

MOST_RESUMES: Final = 3
"""A request that ends each replica it comes to must not take them all."""
MOST_TRIES: Final = 8
"""Those among them that could not even be reached: each is a replica whose end was not yet known."""
_CONTINUING: Final = "continue_final_message"


class GivenUp(ServingError):
    """The failure of a replica, and why the answer ends with it."""

    def __init__(self, error: ServingError, reason: str) -> None:
        super().__init__(
            error.kind,
            f"{error.message.rstrip('.')}; the answer could not go on from another replica: {reason}",
            retry_after=error.retry_after,
            upstream=error.upstream,
            detail=error.detail,
        )


Again = Callable[[Collection[str]], Awaitable[Lease]]
"""The next lease of a call, not on these replicas; waits in the model's queue."""


def resumable(lease: Lease) -> bool:
    """Whether an answer that begins here may go on elsewhere: only then what it says is kept."""
    return len(lease.pool.replicas) > 1 and lease.pool.settings.recover != "off"


def resumes(lease: Lease) -> frozenset[Resumable]:
    """For what a continuation by this replica is exact; empty where it takes no begun answers."""
    spec = lease.replica.spec
    return frozenset() if spec is None else spec.resumes


class Recovery:
    """What one call needs to go on: its leases, and whom it has outlived."""

    def __init__(self, call: GenerateCall, meter: Meter, lease: Lease, again: Again) -> None:
        self._call = call
        self._meter = meter
        self._lease = lease
        self._again = again
        self._dead: list[tuple[Replica, int]] = []
        """With the generation that died: a replica that was started again is as good as any."""

    async def go_on(self, telling: Telling, error: ServingError) -> None:
        """Bring the answer to its end; error: of the replica that it was begun on, whose lease ends here.

        Raises ServingError: the one that it could not go on after, with the reason.
        """
        while True:
            self._lease.release("failed", error)
            if telling.kept is None:
                raise error
            told = so_far(telling.kept)
            ends = endings(self._call.read(), told)
            if ends is not None:
                await telling.last(ends)
                break
            self._lease = await self._next(error)
            try:
                await self._rest(telling, told, error)
                self._lease.release("ok")
                break
            except ServingError as failure:
                if isinstance(failure, GivenUp) or not failure.is_of_replica:
                    raise
                error = failure
            finally:
                self._lease.release("unused")
        await telling.end()

    async def _next(self, error: ServingError) -> Lease:
        """A lease on another replica; raises `error` when there is none."""
        lease, meter = self._lease, self._meter
        self._dead.append((lease.replica, lease.generation))
        others = [replica for replica in lease.pool.replicas if replica is not lease.replica]
        tired = meter.resumes >= MOST_RESUMES or len(self._dead) > MOST_TRIES
        if tired or all(replica.hopeless for replica in others):
            raise error
        meter.usage, meter.error = None, ""
        try:
            return await self._again([one.id for one, generation in self._dead if one.generation == generation])
        except ServingError as refusal:
            if refusal.kind in ("cancelled", "deadline"):
                raise
            raise GivenUp(error, refusal.message) from refusal

    async def _rest(self, telling: Telling, told: SoFar, error: ServingError) -> None:
        lease, meter = self._lease, self._meter
        backend = lease.backend
        if not isinstance(backend, Generates):
            raise GivenUp(error, "the other replica only passes answers through")
        request = self._call.read()
        if self._call.prepare is not None:
            request = await self._call.prepare(request, backend)
        going = go_on(request, told, resumes(lease), lease.pool.settings.recover)
        if isinstance(going, str):
            raise GivenUp(error, going)
        if going.how and meter.resumed != "text":
            meter.resumed = going.how
        prompt = await _counted(backend, request) if going.added is None else None
        rest = Rest(going, started=told.started, prompted=told.prompted, prompt=prompt)
        dropped = meter.dropped
        async with backend.open(traced(lease, going.request), meter) as events:
            meter.resumes += 1
            if _CONTINUING in meter.dropped and _CONTINUING not in dropped:
                raise GivenUp(error, "the other replica cannot go on with a text")
            if going.how == "text":
                await telling.remark("trunkcall resumed text")
            await telling.tell(rest.of(events))


def traced(lease: Lease, request: Generate) -> Generate:
    """The request with the wish to be told the answer's tokens, where the rest of it can be exact by them."""
    if not (is_greedy(request.sampling) and "greedy" in resumes(lease) and resumable(lease)):
        return request

    return msgspec.structs.replace(request, reporting=msgspec.structs.replace(request.reporting, traced=True))


async def _counted(backend: Generates, request: Generate) -> int | None:
    """The tokens of the caller's own prompt; None where nobody tells."""
    prompt = request.prompt
    if isinstance(prompt, TokenPrompt):
        return sum(map(len, prompt.prompts))
    if not isinstance(backend, Counts):
        return None
    try:
        return (await backend.count(Count(model=request.model, prompt=prompt))).count
    except ServingError:
        return None
