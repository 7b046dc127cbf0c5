"""The batch with a made-up model: failures stay with their request, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

torch = pytest.importorskip("torch", reason="BATCHING NOT CHECKED: install trunkcall[transformers]")

from trunkcall.core.errors import ServingError  # noqa: E402
from trunkcall.workers.transformers_batching import Batch, Generation  # noqa: E402
from trunkcall.workers.transformers_guides import Guide  # noqa: E402
from trunkcall.workers.transformers_layout import Piece  # noqa: E402
from trunkcall.workers.transformers_wanted import Rules, Said, Wanted  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.filterwarnings("default")]

END = 9


class Counting:
    """A model that says the number after the last one it read, up to END."""

    def __init__(self, *, together: bool = True) -> None:
        self.together = together
        self.check: Callable[[Sequence[Piece]], None] = lambda pieces: None
        self.read: dict[int, list[int]] = {}
        self.largest = 0

    def logits(self, pieces: Sequence[Piece]) -> Any:
        self.check(pieces)
        self.largest = max(self.largest, len(pieces))
        made = []
        for piece in pieces:
            known = self.read.setdefault(piece.slot, [])
            assert piece.start == len(known)
            known += piece.tokens
            if piece.chosen:
                row = torch.full((10,), -9.0)
                row[min(piece.tokens[-1] + 1, END)] = 9.0
                made.append(row)
        return torch.stack(made) if made else torch.empty(0, 10)

    def end(self, slot: int) -> None:
        self.read.pop(slot, None)


def wanted(*prompt: int, tokens: int = 20) -> Wanted:
    return Wanted(prompt=prompt, rules=Rules(temperature=0), max_tokens=tokens, ends=frozenset({END}))


def batch(passes: Counting, slots: int = 3, broken: Callable[[BaseException], None] | None = None) -> Batch:
    made = Batch(passes, slots, 4, broken or (lambda error: None))
    made.start_thread()
    return made


async def all_of(generation: Generation, answers: int = 1) -> dict[int, list[int]]:
    """The tokens of each answer, to the last one's end."""
    said: dict[int, list[int]] = {}
    ended = 0
    async with asyncio.timeout(30):
        async for some in generation:
            for one in some:
                said.setdefault(one.index, []).append(one.chosen.token)
                ended += one.over is not None
            if ended == answers:
                return said
    raise AssertionError("ended early")


@pytest.mark.parametrize("together", [True, False])
async def test_more_answers_than_slots(together: bool) -> None:
    passes = Counting(together=together)
    made = batch(passes)
    generation = made.start([wanted(1, 2, first) for first in (1, 2, 3, 4, 5, 6, 7)])
    said = await all_of(generation, 7)
    assert said == {index: list(range(index + 2, END + 1)) for index in range(7)}
    assert passes.largest == (3 if together else 1)
    assert passes.read == {}
    assert made.busy == 0


async def test_lengths_and_long_prompts() -> None:
    passes = Counting()
    said = await all_of(batch(passes).start([wanted(*[0] * 30, 4, tokens=2), wanted(1, tokens=3)]), 2)
    assert said == {0: [5, 6], 1: [2, 3, 4]}


async def test_too_little_memory_for_one() -> None:
    """The largest request fails, the others do not notice."""

    def check(pieces: Sequence[Piece]) -> None:
        if any(piece.start + len(piece.tokens) > 12 for piece in pieces):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    passes = Counting()
    passes.check = check
    made = batch(passes)
    large, small = made.start([wanted(*[0] * 20)]), made.start([wanted(1)])
    assert await all_of(small) == {0: list(range(2, END + 1))}
    with pytest.raises(ServingError) as caught:
        await all_of(large)
    assert caught.value.kind == "out_of_memory" and "shorter" in caught.value.message
    assert await all_of(made.start([wanted(3)])) == {0: list(range(4, END + 1))}


@pytest.mark.parametrize("together", [True, False])
async def test_a_failed_answer_fails_its_request(together: bool) -> None:
    """The other answers of the request are ended in the same step, and their slots are free again."""
    passes = Counting(together=together)

    def check(pieces: Sequence[Piece]) -> None:
        if any(piece.tokens[-1] == 7 for piece in pieces):
            raise torch.OutOfMemoryError("no")

    passes.check = check
    made = batch(passes)
    with pytest.raises(ServingError):
        await all_of(made.start([wanted(7), wanted(1), wanted(2)]), 3)
    passes.check = lambda pieces: None
    assert await all_of(made.start([wanted(6), wanted(7), wanted(8)]), 3) == {0: [7, 8, 9], 1: [8, 9], 2: [9]}
    assert made.busy == 0 and passes.read == {}


class Heavy:
    """A guide that gives up at its second token."""

    def __init__(self) -> None:
        self.taken = 0

    def hold(self, scores: Any) -> None:
        pass

    def take(self, token: int) -> None:
        self.taken += 1
        if self.taken == 2:
            raise ServingError("unsupported", "too much work")


@pytest.mark.parametrize("together", [True, False])
async def test_a_shape_of_too_much_work_fails_its_request_alone(together: bool) -> None:
    passes = Counting(together=together)
    made = batch(passes)
    heavy = made.start([wanted(1), wanted(2)], cast("list[Guide]", [Heavy(), Heavy()]))
    other = made.start([wanted(1)])
    with pytest.raises(ServingError, match="too much work"):
        await all_of(heavy, 2)
    assert await all_of(other) == {0: list(range(2, END + 1))}
    assert made.busy == 0 and passes.read == {}


async def test_an_error_of_the_model(capfd: pytest.CaptureFixture[str]) -> None:
    broken: list[BaseException] = []
    passes = Counting()
    made = batch(passes, broken=broken.append)

    def fail(words: str) -> Callable[[Sequence[Piece]], None]:
        def check(pieces: Sequence[Piece]) -> None:
            raise RuntimeError(words)

        return check

    for words, breaks in (("shapes do not fit", 0), ("CUDA error: device-side assert triggered", 1)):
        passes.check = fail(words)
        with pytest.raises(ServingError) as caught:
            await all_of(made.start([wanted(1), wanted(2)]), 2)
        assert caught.value.kind == "bug" and words not in caught.value.message
        assert len(broken) == breaks
        assert words in capfd.readouterr().err
    passes.check = lambda pieces: None
    passes.read.clear()
    assert await all_of(made.start([wanted(8)])) == {0: [END]}


async def test_leaving_and_stopping() -> None:
    passes = Counting()
    made = batch(passes, slots=2)
    endless = Wanted(prompt=(1,), rules=Rules(temperature=0, banned=(END,)), max_tokens=10**9, ends=frozenset())
    running, waiting = made.start([endless, endless]), made.start([wanted(5)])
    async with asyncio.timeout(30):
        await anext(running)
        running.stop(0)
        assert await all_of(waiting) == {0: [6, 7, 8, END]}
        assert made.busy == 1
        never = made.start([endless, endless])
        never.leave()
        running.leave()
        # The model forgets a slot after it was given back.
        while made.busy or passes.read:
            await asyncio.sleep(0.001)


async def test_other_work_between_steps() -> None:
    made = batch(Counting())
    assert await made.call(lambda: torch.is_inference_mode_enabled()) is True

    def fail() -> None:
        raise torch.OutOfMemoryError("no")

    with pytest.raises(ServingError, match="not enough memory"):
        await made.call(fail)
    with pytest.raises(ZeroDivisionError):
        await made.call(lambda: 1 // 0)
    said: list[Said] = await anext(made.start([wanted(8)]))
    assert said[0].over == "end"
