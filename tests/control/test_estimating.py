"""What a model would cost, by plans that are made up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pytest

from trunkcall.control import estimating
from trunkcall.control.estimating import Estimate, estimate, on_gpus
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, LaunchSpec, Machine, ModelSettings, Source
from trunkcall.core.ports import Exited
from trunkcall.protocols.fetching import Weighed

pytestmark = pytest.mark.anyio

CPU = Machine(2, 1000)
GPUS = Machine(2, 1000, ("G", "G"), (100, 100), (100, 60))
FETCHED = LaunchSpec(command=(), protocol="openai", slots=1, fetch=("fetch",), weigh=("weigh",), engine="e")


@pytest.mark.parametrize(
    ("need", "gpus", "fits"),
    [(100, 1, True), (101, 1, False), (120, 2, True), (121, 2, False), (1, 3, False), (0, 1, None)],
)
def test_whether_it_fits_on_gpus(need: int, gpus: int, fits: bool | None) -> None:
    assert on_gpus(need, gpus, GPUS) is fits


def test_gpus_whose_memory_is_not_known() -> None:
    assert on_gpus(5, 1, Machine(1, 1, ("G",))) is None


class Engine:
    """Plans a child of so many bytes; more than `most` it refuses unless it is forced."""

    def __init__(self, spec: LaunchSpec, most: int = 10**9) -> None:
        self.spec = spec
        self.most = most
        self.machines: list[Machine] = []

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        self.machines.append(machine)
        if self.spec.memory > self.most and not model.options.get("force"):
            raise ServingError("bad_request", "needs more than there is", param="force")
        return self.spec


class Placement:
    """Runs a command that prints these lines and ends; without a code it never does."""

    def __init__(self, lines: tuple[str, ...] = (), code: int | None = 0) -> None:
        self.lines = lines
        self.code = code
        self.commands: list[tuple[str, ...]] = []
        self.stopped = 0

    async def start(self, spec: LaunchSpec) -> Any:
        self.commands.append(spec.command)
        return self

    def log(self) -> tuple[str, ...]:
        return self.lines

    async def watch(self, handle: Any) -> AsyncIterator[Any]:
        if self.code is None:
            await anyio.sleep_forever()
        assert self.code is not None
        yield Exited(self.code, "the Hub has no model x" if self.code else "exit code 0")

    async def stop(self, handle: Any, grace: float) -> None:
        self.stopped += 1


class Elsewhere:
    async def health(self) -> Health:
        raise AssertionError("asked")

    async def aclose(self) -> None:
        pass


def spec(memory: int, gpus: int = 0) -> LaunchSpec:
    return LaunchSpec(
        command=("x",), protocol="openai", slots=1, memory=memory, gpus=gpus, engine="e", why="w", faster="f"
    )


async def made(
    engine: Engine | None, machine: Machine = CPU, left: int = 500, copies: int = 1, placement: Any = None
) -> Estimate:
    settings = ModelSettings(name="new", sources=(Source("s", "t"),) * copies)
    connect = lambda target, settings, model: Elsewhere()  # noqa: E731
    return await estimate(
        settings, machine, left, lambda scheme: engine, lambda scheme: connect, placement or Placement()
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("memory", "copies", "left", "fits"),
    [(400, 1, 500, True), (501, 1, 500, False), (300, 2, 500, False), (0, 1, 500, None), (1, 1, -5, False)],
)
async def test_on_the_machine_itself(memory: int, copies: int, left: int, fits: bool | None) -> None:
    found = await made(Engine(spec(memory)), left=left, copies=copies)
    assert found == Estimate(
        engine="e", why="w", memory=memory * copies, rss_free=max(0, left), gpus=0, fits=fits, download=0, faster="f"
    )


async def test_on_gpus_the_plan_is_that_of_empty_ones_and_what_is_free_decides() -> None:
    engine = Engine(spec(150, gpus=2))
    found = await made(engine, GPUS)
    assert (found.fits, found.rss_free, found.gpus) == (False, 160, 2)
    assert engine.machines[0].gpu_free == (100, 100)


async def test_what_the_engine_refuses_as_too_large_is_told_with_its_size() -> None:
    found = await made(Engine(spec(5000), most=1000))
    assert (found.memory, found.fits, found.note) == (5000, False, "model 'new': needs more than there is")


async def test_an_upstream_costs_nothing() -> None:
    found = await made(None)
    assert (found.engine, found.why, found.memory, found.fits, found.download) == ("", "runs elsewhere", 0, True, 0)


WEIGHED = msgspec.json.encode(Weighed(size=900, here=100, weights=800)).decode()


@pytest.mark.parametrize(
    ("lines", "code", "memory", "download", "fits", "note"),
    [
        (("a warning", WEIGHED), 0, 800, 800, False, "its weights have 800 bytes"),
        (("nothing of use",), 0, 0, None, None, "was not told"),
        ((), 1, 0, None, None, "the Hub has no model x"),
        ((), None, 0, None, None, "did not tell the size within"),
    ],
)
async def test_what_is_to_be_fetched_is_weighed_first(
    monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], code: int | None, memory: int, download: int | None, fits: bool | None, note: str
) -> None:  # fmt: skip
    if code is None:
        monkeypatch.setattr(estimating, "WEIGH_SECONDS", 0.05)
    placement = Placement(lines, code)
    found = await made(Engine(FETCHED), placement=placement)
    assert (found.memory, found.download, found.fits) == (memory, download, fits)
    assert note in found.note
    assert placement.commands == [("weigh",)] and placement.stopped == 1


async def test_a_machine_with_gpus_may_take_what_its_own_memory_cannot() -> None:
    found = await made(Engine(FETCHED), GPUS, placement=Placement((WEIGHED,)))
    assert (found.memory, found.fits) == (800, None)
