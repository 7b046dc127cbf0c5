"""What the engines share that start a server which others wrote: its program, its model, its memory, its runner."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, is_path
from trunkcall.engines import hub
from trunkcall.engines.adapter_fit import check_fit
from trunkcall.engines.installed import PROGRAMS, REMEDIES, program, variable
from trunkcall.engines.weights import check_memory, memory, read_checkpoint
from trunkcall.protocols.outside_host import OutsideSettings
from trunkcall.protocols.transformers_host import Dtype

START_SECONDS: Final = 3600.0
"""Weights of a large model come from a disk at some 100 MB a second, and kernels may be compiled after that."""
GRACE_SECONDS: Final = 10.0
"""vLLM took 2.5 s to end."""
RUNNER_SECONDS: Final = 2.0
"""Of the grace, for the runner to end what is left."""
LATE_SECONDS: Final = 10.0
"""After the time for the start, for the runner to say why it was not enough."""

_WIDTHS: Final[dict[Dtype, int | None]] = {"auto": None, "float32": 4, "float16": 2, "bfloat16": 2}

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class LaunchedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Those `options` of a model that each such engine has.

    context: tokens of one request; slots: requests served at once; tensor_parallel: GPUs over which each layer is
    spread; memory_share: of each GPU's memory, from 0 to 1; quantization: in the engine's own words; lora: adapters
    by the name under which they are asked for; the one that is named like the model answers for it. args: more words
    for its command line; program: the one to start; start_seconds: how long it may load; force: also when the memory
    is too small by the estimate.
    """

    context: Positive | None = None
    slots: Positive | None = None
    tensor_parallel: Positive = 1
    dtype: Dtype = "auto"
    memory_share: Share | None = None
    quantization: str = ""
    trust_remote_code: bool = False
    lora: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    args: tuple[str, ...] = ()
    program: str = ""
    start_seconds: Seconds = START_SECONDS
    force: bool = False


def find_program(engine: str, option: str) -> str:
    """The path of an engine's program: as the option, or the engine's environment variable, names it; else its own.

    Raises ServingError: bad_request for one that is named and not there, unsupported with the remedy for a missing one.
    """
    found = program(engine, option)
    if found is not None:
        return found
    name = PROGRAMS[engine]
    named = option or os.environ.get(variable(engine), "")
    if not named:
        raise ServingError("unsupported", f"the program {name} is not installed here: {REMEDIES[engine]}")
    said = "option program" if option else f"the variable {variable(engine)}"
    raise ServingError(
        "bad_request",
        f"{said}: {named} is no program that can be started; give the path of {name}",
        param="program" if option else None,
    )


def find_model(engine: str, model: ModelSettings, machine: Machine) -> str | hub.Fetch:
    """What the engine is told to load: a path or a URL; or what fetches the model first.

    Raises ServingError (bad_request) for what is no model's name, or is neither here nor may be fetched.
    """
    target = model.sources[0].target
    if not target:
        raise ServingError(
            "bad_request", f"{engine} needs a model; write `{engine}:FOLDER` or `{engine}:ORG/NAME[@REVISION]`"
        )
    if "://" in target:
        return target
    path = Path(target).expanduser().absolute()
    if is_path(target) or path.exists():
        return str(path)
    found = hub.locate(target, machine, "folder", model.env)
    return str(found) if isinstance(found, Path) else found


def fetched_first(engine: str, fetch: hub.Fetch, slots: int) -> LaunchSpec:
    """The plan for a model that is not here yet."""
    return LaunchSpec(command=(), protocol="openai", slots=slots, fetch=fetch.command, weigh=fetch.weigh, engine=engine)


def estimate(name: str, path: str, options: LaunchedOptions, machine: Machine, *, gpus: int, process: int) -> int:
    """Bytes that the model needs, 0 where that cannot be told; gpus: over which it is spread, 0 for none.

    Raises ServingError (bad_request) for a folder that holds no whole model, for a context that the model was not made
    for, and for a model that does not fit.
    """
    folder = Path(path)
    if not is_path(path) or folder.is_file():
        return 0
    found = read_checkpoint(folder)
    if found.context and options.context is not None and options.context > found.context:
        raise ServingError(
            "bad_request",
            f"model {name!r}: option context is {options.context}; the model was made for {found.context} tokens",
            param="context",
        )
    # At least one request of the whole context has to fit.
    need = memory(found, options.context or found.context, _WIDTHS[options.dtype])
    if not gpus:
        need["process"] = process
    if not options.force and not options.quantization:
        try:
            check_memory(name, need, machine, gpus=gpus)
        except ServingError as error:
            message = f"{error.message}; or set the option `force: true` to try nonetheless"
            raise ServingError(error.kind, message, param="force") from error
    return sum(need.values())


def claimed(need: int, share: float, machine: Machine, gpus: int) -> int:
    """Bytes that an engine takes which takes a share of each of so many GPUs, however little its model needs."""
    return max(need, int(sum(sorted(machine.gpu_memory, reverse=True)[:gpus]) * share))


def launched(
    engine: str,
    model: ModelSettings,
    options: LaunchedOptions,
    command: tuple[str, ...],
    *,
    slots: int,
    gpus: int,
    memory: int,
    places: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
    adapters: tuple[str, ...] = (),
) -> LaunchSpec:
    """The runner with an engine's command, whose words may name {host} and {port}.

    memory: bytes; places: variables of the environment that name ports as the command's words do; env: other variables.
    """
    settings = OutsideSettings(
        name=engine,
        command=command,
        env=places or {},
        start_seconds=options.start_seconds,
        grace=GRACE_SECONDS - RUNNER_SECONDS,
    )
    return LaunchSpec(
        command=runner(settings),
        protocol="openai",
        slots=slots,
        env=env or {},
        memory=memory,
        gpus=gpus,
        start_timeout=options.start_seconds + LATE_SECONDS,
        grace=GRACE_SECONDS,
        engine=engine,
        why="the source names it",
        model=model.sources[0].model,
        adapters=adapters,
    )


def adapter(name: str, path: str, model: str) -> str:
    """The absolute path of a PEFT folder; a name elsewhere stays as it is. model: the path or URL of its base.

    Raises ServingError (bad_request) for a folder that is none, and for an adapter that was made for another base.
    """
    folder = Path(path).expanduser().absolute()
    if not is_path(path) and not folder.exists():
        return path
    if not (folder / "adapter_config.json").is_file():
        raise ServingError(
            "bad_request",
            f"option lora: {name}: {folder} is not an adapter's folder: it has no adapter_config.json",
            param="lora",
        )
    if is_path(model):
        check_fit(name, folder, Path(model))
    return str(folder)


def words(flags: dict[str, object]) -> tuple[str, ...]:
    """A command line's words; a flag of True stands alone, one of None, False or an empty text is left out."""
    found: list[str] = []
    for flag, value in flags.items():
        if value is True:
            found.append(flag)
        elif value is not None and value is not False and value != "":
            found += [flag, str(value)]
    return tuple(found)


def runner(settings: OutsideSettings) -> tuple[str, ...]:
    """The command that runs the server."""
    return (sys.executable, "-P", "-m", "trunkcall.workers.outside", msgspec.json.encode(settings).decode())
