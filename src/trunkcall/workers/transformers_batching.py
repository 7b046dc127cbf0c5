"""Continuous batching: one thread owns the model and takes every running request a step further, again and again.

New requests join at the next step and ended ones leave; nobody waits for another's answer to end.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import torch

from trunkcall.core.errors import ServingError
from trunkcall.workers.transformers_guides import Guide
from trunkcall.workers.transformers_layout import Piece, pieces_of
from trunkcall.workers.transformers_passes import Passes, short_of_memory
from trunkcall.workers.transformers_sampling import Picker, choose
from trunkcall.workers.transformers_wanted import Reason, Said, Wanted


class _Row:
    """One answer in the batch; only the batch's thread touches it."""

    __slots__ = ("count", "done", "generation", "index", "picker", "slot", "tokens", "wanted")

    def __init__(self, generation: Generation, index: int, wanted: Wanted, guide: Guide | None) -> None:
        self.generation = generation
        self.index = index
        self.wanted = wanted
        self.picker = Picker(wanted.rules, wanted.prompt, wanted.seed, guide)
        self.tokens = list(wanted.prompt)
        """What the model has still to read."""
        self.done = 0
        """Tokens that it has read."""
        self.count = 0
        """Tokens of the answer."""
        self.slot = -1

    @property
    def gone(self) -> bool:
        return self.generation.left or self.index in self.generation.stopped


class Generation:
    """The answers to one request while they come, as seen from the event loop; made by Batch.start.

    An asynchronous iterator over what steps gave, all that came since the last look at once; it
    raises the ServingError of a failure.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inbox: list[Said] = []
        self._failure: ServingError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.left = False
        """Nobody wants the answers any more."""
        self.stopped: frozenset[int] = frozenset()
        """Answers that are complete for a reason that the batch does not know."""

    def stop(self, index: int) -> None:
        """This answer is complete: no further token of it is wanted."""
        self.stopped |= {index}

    def leave(self) -> None:
        """No further token is wanted."""
        self.left = True

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> list[Said]:
        while not self._inbox:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            await self._waiter
        said, self._inbox = self._inbox, []
        return said

    def deliver(self, said: Said | ServingError) -> None:
        """For the batch, in the loop's thread."""
        if isinstance(said, ServingError):
            self._failure = said
        else:
            self._inbox.append(said)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


_Delivery = tuple[Generation, Said | ServingError]


class Batch:
    """The thread that owns the model; made inside a running loop, started with `start_thread`.

    slots: answers at a time; budget: prompt tokens per step, so that a long prompt does not keep
    the others waiting; when_broken: called in the batch's thread when the device fails for good.
    """

    def __init__(self, passes: Passes, slots: int, budget: int, when_broken: Callable[[BaseException], None]) -> None:
        self._passes = passes
        # One token of a prompt alone is not read, see pieces_of.
        self._budget = max(2, budget)
        self._when_broken = when_broken
        self._loop = asyncio.get_running_loop()
        self._asked: SimpleQueue[_Row | Callable[[], None]] = SimpleQueue()
        self._waiting: deque[_Row] = deque()
        self._running: list[_Row] = []
        self._free = list(range(slots))
        self.slots = slots

    @property
    def busy(self) -> int:
        """Slots at work."""
        return len(self._running)

    def start_thread(self) -> None:
        """Begin; the thread ends with the process."""
        threading.Thread(target=self._run, name="batch", daemon=True).start()

    def start(self, wanted: Sequence[Wanted], guides: Sequence[Guide] = ()) -> Generation:
        """Ask for answers; they are numbered as they stand in `wanted`. guides: what each is held to, none for none."""
        generation = Generation(self._loop)
        for index, one in enumerate(wanted):
            self._asked.put(_Row(generation, index, one, guides[index] if guides else None))
        return generation

    async def call(self, work: Callable[[], Any]) -> Any:
        """Do other work with the model in its thread, between two steps; raises what it raises.

        Raises ServingError (out_of_memory) when there is not enough for it.
        """
        future: asyncio.Future[Any] = self._loop.create_future()

        def answer(value: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def run() -> None:
            if future.cancelled():
                return
            try:
                value = work()
            except Exception as error:  # noqa: BLE001
                # Raised on by the task that waits; this thread has others to serve.
                self._loop.call_soon_threadsafe(answer, None, _told(error))
            else:
                self._loop.call_soon_threadsafe(answer, value, None)

        self._asked.put(run)
        return await future

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while True:
                    self._take_in()
                    self._clear()
                    self._admit()
                    if self._running:
                        self._step()
        except BaseException as error:
            self._when_broken(error)
            raise

    def _take_in(self) -> None:
        idle = not (self._running or self._waiting)
        try:
            while True:
                asked = self._asked.get(block=idle)
                idle = False
                if not isinstance(asked, _Row):
                    # One at a time, so that answers are not kept waiting by them.
                    asked()
                    return
                self._waiting.append(asked)
        except Empty:
            pass

    def _clear(self) -> None:
        """Forget answers that nobody wants."""
        for row in [row for row in self._running if row.gone]:
            self._end(row)
        if any(row.gone for row in self._waiting):
            self._waiting = deque(row for row in self._waiting if not row.gone)

    def _admit(self) -> None:
        while self._free and self._waiting:
            row = self._waiting.popleft()
            # The lowest, so that those at work are neighbours and can be read in one go.
            row.slot = min(self._free)
            self._free.remove(row.slot)
            self._running.append(row)
        self._running.sort(key=_slot)

    def _end(self, row: _Row) -> None:
        self._running.remove(row)
        self._free.append(row.slot)
        self._passes.end(row.slot)

    def _step(self) -> None:
        chosen = pieces_of(
            [(row.slot, row.done, row.tokens) for row in self._running], self._budget, self._passes.together
        )
        by_slot = {row.slot: row for row in self._running}
        groups = [chosen] if self._passes.together else [[piece] for piece in chosen]
        deliveries: list[_Delivery] = []
        for pieces in groups:
            rows = [by_slot[piece.slot] for piece in pieces]
            if all(row.gone for row in rows):
                # Another answer to the same request has failed in this step.
                continue
            try:
                deliveries += self._advance(pieces, rows)
            except Exception as error:  # noqa: BLE001
                # One request's trouble must not end the others'.
                deliveries += self._blame(error, rows)
        if deliveries:
            self._loop.call_soon_threadsafe(_deliver, deliveries)

    def _advance(self, pieces: Sequence[Piece], rows: Sequence[_Row]) -> list[_Delivery]:
        logits = self._passes.logits(pieces)
        speaking = [row for row, piece in zip(rows, pieces, strict=True) if piece.chosen]
        said = choose(logits, [row.picker for row in speaking]) if speaking else []
        for row, piece in zip(rows, pieces, strict=True):
            row.done += len(piece.tokens)
            del row.tokens[: len(piece.tokens)]
        deliveries: list[_Delivery] = []
        for row, chosen in zip(speaking, said, strict=True):
            if row.picker.failure is not None:
                deliveries += self._fail([row], row.picker.failure)
            if row.gone:
                # This answer, or another to the same request, has failed.
                continue
            row.count += 1
            row.tokens.append(chosen.token)
            over: Reason | None = None
            if chosen.token in row.wanted.ends:
                over = "end"
            elif row.count >= row.wanted.max_tokens:
                over = "length"
            if over is not None:
                self._end(row)
            deliveries.append((row.generation, Said(row.index, chosen, over)))
        return deliveries

    def _blame(self, error: Exception, rows: Sequence[_Row]) -> list[_Delivery]:
        """Fail one request when memory is short, else all that took part."""
        told = _told(error)
        failed = list(rows)
        if isinstance(told, ServingError) and told.kind == "out_of_memory":
            failed = [max(rows, key=_need)]
            _free_memory()
        else:
            traceback.print_exception(error)
            told = ServingError("bug", "the engine failed at this request; its log has the reason")
            if "CUDA error" in str(error):
                self._when_broken(error)
        return self._fail(failed, told)

    def _fail(self, rows: Sequence[_Row], told: ServingError) -> list[_Delivery]:
        """End the requests of these rows, which are told why."""
        generations = {row.generation for row in rows if not row.generation.left}
        for row in [row for row in self._running if row.generation in generations]:
            self._end(row)
        for generation in generations:
            generation.left = True
        return [(generation, told) for generation in generations]


def _told(error: Exception) -> Exception:
    """The error in a caller's terms where it is one of too little memory; else itself."""
    if short_of_memory(error):
        return ServingError(
            "out_of_memory",
            "not enough memory for this request; send a shorter one, or start the model with fewer slots",
            detail=str(error),
        )
    return error


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _slot(row: _Row) -> int:
    return row.slot


def _need(row: _Row) -> int:
    return row.done + len(row.tokens)


def _deliver(deliveries: Iterable[_Delivery]) -> None:
    for generation, said in deliveries:
        generation.deliver(said)
