"""What a model would cost before it is loaded: the engine that would be chosen, its memory, what is to be fetched."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from trunkcall.control.members import FindConnect, FindEngine, Prepared, prepare
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings
from trunkcall.core.ports import Exited, Placement
from trunkcall.protocols.fetching import Weighed, amount

WEIGH_SECONDS: Final = 20.0
"""For the Hub to tell the sizes of a model's files, and for the program that asks it."""

_GRACE: Final = 1.0
_FORCE: Final = "force"
"""The option by which engines load what does not fit by the estimate, and the param of their refusal."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a model would take here.

    engine: empty for an upstream; memory: bytes of all its replicas, 0 where that is not known or nothing is started;
    rss_free: bytes that engines may still take now of the memory where it would be, that of GPUs when gpus, the number
    over which it is spread, is not 0; fits: without anybody's leaving, None where that is not known; download: bytes
    to fetch first, None where that cannot be told; faster: what would serve it faster here; note: what else to know.
    """

    engine: str
    why: str
    memory: int
    rss_free: int
    gpus: int
    fits: bool | None
    download: int | None
    faster: str = ""
    note: str = ""


async def estimate(
    settings: ModelSettings,
    machine: Machine,
    left: int,
    find_engine: FindEngine,
    find_connect: FindConnect,
    placement: Placement,
) -> Estimate:
    """Plan a model of one source as the supervisor would; takes WEIGH_SECONDS at most, and that for the Hub only.

    machine: as it is now; left: bytes of its own memory that engines may still take; placement: runs what asks the Hub.
    Raises ServingError for what cannot be served at all.
    """
    source, copies = settings.sources[0], len(settings.sources)
    left = max(0, left)
    one = msgspec.structs.replace(settings, sources=(source,), weights=())
    # As the supervisor plans: what others take of the GPUs now, they may give back.
    roomy = msgspec.structs.replace(machine, gpu_free=machine.gpu_memory)
    prepared, too_small = await asyncio.to_thread(_prepared, one, roomy, find_engine, find_connect)
    spec = prepared.spec
    if spec is None:
        await find_connect(source.scheme)(source.target, settings, source.model).aclose()
        return Estimate(engine="", why="runs elsewhere", memory=0, rss_free=left, gpus=0, fits=True, download=0)
    need = copies * spec.memory
    found = Estimate(
        engine=spec.engine,
        why=spec.why,
        memory=need,
        rss_free=sum(machine.gpu_free) if spec.gpus else left,
        gpus=spec.gpus,
        fits=None,
        download=0,
        faster=spec.faster,
    )
    if too_small:
        return msgspec.structs.replace(found, fits=False, note=too_small)
    if spec.fetch:
        return _fetched_first(found, await _weigh(spec, placement), copies, maybe_gpu=bool(machine.gpus))
    if spec.gpus:
        return msgspec.structs.replace(found, fits=on_gpus(need, spec.gpus, machine))
    return msgspec.structs.replace(found, fits=need <= left if need else None)


def on_gpus(need: int, gpus: int, machine: Machine) -> bool | None:
    """Whether so many bytes, spread evenly over so many GPUs, are free there; None where either is not known."""
    if not need or not machine.gpu_free:
        return None
    roomiest = sorted(machine.gpu_free, reverse=True)[:gpus]
    return len(roomiest) == gpus and need / gpus <= roomiest[-1]


def _prepared(
    settings: ModelSettings, machine: Machine, find_engine: FindEngine, find_connect: FindConnect
) -> tuple[Prepared, str]:
    """The plan; for a model that is too large for the machine the one that would be tried nonetheless, and why not."""
    try:
        return prepare(settings, settings.sources, machine, find_engine, find_connect)[0], ""
    except ServingError as error:
        if error.param != _FORCE or settings.options.get(_FORCE):
            raise
        forced = msgspec.structs.replace(settings, options={**settings.options, _FORCE: True})
        return prepare(forced, settings.sources, machine, find_engine, find_connect)[0], error.message


def _fetched_first(found: Estimate, weighed: Weighed | str, copies: int, *, maybe_gpu: bool) -> Estimate:
    """What is known of a model that is not here yet."""
    if isinstance(weighed, str):
        return msgspec.structs.replace(found, download=None, note=weighed)
    need = copies * weighed.weights
    return msgspec.structs.replace(
        found,
        memory=need,
        download=max(0, weighed.size - weighed.here),
        fits=False if need > found.rss_free and not maybe_gpu else None,
        note=f"its weights have {amount(weighed.weights)}; what its context takes beside is known once it is fetched",
    )


async def _weigh(spec: LaunchSpec, placement: Placement) -> Weighed | str:
    """What is to be fetched; or in words why that is not known."""
    if not spec.weigh:
        return "how much is to be fetched is not known"
    try:
        handle = await placement.start(msgspec.structs.replace(spec, command=spec.weigh))
    except OSError as error:
        return f"{spec.weigh[0]} cannot be started: {error.strerror or error}"
    end = Exited(1, f"the Hub did not tell the size within {WEIGH_SECONDS:g} s; check the network")
    try:
        async with asyncio.timeout(WEIGH_SECONDS):
            async for event in placement.watch(handle):
                if isinstance(event, Exited):
                    end = event
    except TimeoutError:
        pass
    finally:
        await placement.stop(handle, _GRACE)
    return _read(handle.log()) if not end.code else end.reason


def _read(lines: tuple[str, ...]) -> Weighed | str:
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=Weighed)
        except msgspec.DecodeError:
            continue
    return "how much is to be fetched was not told"
