"""How to start a transformers replica: options and a model folder become the command of a host process."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import msgspec

from trunkcall.core.about import About
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, is_path, read_options
from trunkcall.engines import hub
from trunkcall.engines.installed import lacking
from trunkcall.engines.llamacpp import prompt_batch
from trunkcall.engines.template import template_text
from trunkcall.engines.weights import Checkpoint, check_memory, memory, read_checkpoint
from trunkcall.protocols.transformers_host import Bits, Dtype, HostSettings, Pooling

DEFAULT_CONTEXT: Final = 4096
DEFAULT_SLOTS: Final = 16
GPU_BATCH: Final = 2048
PROCESS_BYTES: Final = 600 * 2**20
"""Python with torch and transformers; measured 520 MiB on a CPU."""
START_SECONDS: Final = 1800.0
"""Weights of a large model come from a disk at some 100 MB a second."""

_DEVICE: Final = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_GENERATES: Final = re.compile(r"CausalLM|LMHead|ConditionalGeneration")
_WIDTHS: Final[dict[Dtype, int | None]] = {"auto": None, "float32": 4, "float16": 2, "bfloat16": 2}

Positive = Annotated[int, msgspec.Meta(ge=1)]


class TransformersOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    context: tokens per slot; slots: requests served at once; batch: prompt tokens per step; device: `auto`, `cpu`,
    `cuda`, `cuda:1` or `mps`; dtype: of calculation, `auto` is float32 on a CPU where that fits and the file's own on
    a GPU; device_map: accelerate's, for several GPUs; max_memory: bytes of weights on each GPU, where more of them
    stay in the machine's memory; load_in_8bit, load_in_4bit: with bitsandbytes;
    trust_remote_code: run the Python code that the folder brings; adapter: a PEFT folder; template: a Jinja chat
    template or the path of one; embeddings: give vectors too, the default for models that can do nothing else;
    revision: of a repository of the Hub; force: also when the memory is too small by the estimate.
    """

    context: Positive | None = None
    slots: Positive | None = None
    threads: Positive | None = None
    batch: Positive | None = None
    device: str = "auto"
    dtype: Dtype = "auto"
    device_map: str = ""
    max_memory: Positive | None = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    trust_remote_code: bool = False
    adapter: str = ""
    template: str = ""
    embeddings: bool | None = None
    pooling: Pooling | None = None
    revision: str = ""
    force: bool = False


class Transformers:
    """Fits core.ports.Engine for `transformers:FOLDER` and `transformers:ORG/NAME[@REVISION]`."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The host process for a model folder, or the download of one that is not here yet.

        Raises ServingError: unsupported with the remedy for what is not installed or not there, bad_request for a
        folder or an option that cannot work.
        """
        options = read_options(model, TransformersOptions)
        if options.max_memory is not None and not options.device_map:
            # Only where accelerate divides a model it heeds a limit.
            options = msgspec.structs.replace(options, device_map="auto")
        _check_packages(options)
        place = _place(model, machine, options)
        if isinstance(place, hub.Fetch):
            slots = options.slots or model.slots or DEFAULT_SLOTS
            return LaunchSpec(
                command=(),
                protocol="openai",
                slots=slots,
                fetch=place.command,
                weigh=place.weigh,
                engine="transformers",
            )
        return _plan(model, machine, options, read_checkpoint(place))


def _plan(model: ModelSettings, machine: Machine, options: TransformersOptions, found: Checkpoint) -> LaunchSpec:
    gpu = _on_gpu(options, machine)
    if found.context and options.context is not None and options.context > found.context:
        raise ServingError(
            "bad_request",
            f"model {model.name!r}: option context is {options.context}; the model was made for {found.context} tokens",
            param="context",
        )
    context = options.context or min(found.context or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    slots = options.slots or model.slots or DEFAULT_SLOTS
    threads = options.threads or max(1, machine.cores - 1)
    generates = not found.embedder and (bool(_GENERATES.search(found.architecture)) or options.embeddings is False)
    bits = _bits(options)
    dtype = options.dtype
    need = _need(found, context * slots if generates else 0, dtype, gpu=gpu, bits=bits)
    if dtype == "auto" and not gpu and sum(need.values()) > machine.memory:
        # Slower than floats on most CPUs, and better than not at all.
        dtype = "bfloat16"
        need = _need(found, context * slots if generates else 0, dtype, gpu=gpu, bits=bits)
    if not options.force and not options.device_map:
        _check_memory(model.name, need, machine, gpu=gpu)
    spec = LaunchSpec(
        command=(),
        protocol="openai",
        slots=slots,
        env={"TOKENIZERS_PARALLELISM": "false"},
        memory=sum(need.values()),
        gpus=(len(machine.gpus) if options.device_map else 1) if gpu else 0,
        start_timeout=START_SECONDS,
        engine="transformers",
        why="the source names it",
        about=About(context=context, images=False, parameters=found.parameters or None),
    )
    host = HostSettings(
        name=model.name,
        path=str(found.folder),
        context=context,
        slots=slots,
        threads=threads,
        batch=max(slots, options.batch or (GPU_BATCH if gpu else prompt_batch(found.parameters, threads))),
        device=options.device,
        dtype=dtype,
        device_map=options.device_map,
        max_memory=options.max_memory,
        bits=bits,
        trust_remote_code=options.trust_remote_code,
        adapter=_adapter(options.adapter),
        template=template_text(options.template),
        generates=generates,
        embeddings=not generates if options.embeddings is None else options.embeddings,
        pooling=options.pooling,
        grace=spec.grace,
    )
    settings = msgspec.json.encode(host).decode()
    # -P: a file of the current folder must not stand in for a package.
    command = (sys.executable, "-P", "-m", "trunkcall.workers.transformers", settings)
    return msgspec.structs.replace(spec, command=command)


def _check_packages(options: TransformersOptions) -> None:
    lacks = lacking("transformers")
    if lacks:
        raise ServingError("unsupported", f"the engine transformers lacks {lacks}")
    bits = options.load_in_8bit or options.load_in_4bit
    needed = (
        ("bitsandbytes", "load_in_8bit" if options.load_in_8bit else "load_in_4bit", bits),
        ("accelerate", "device_map" if options.device_map else "load_in_8bit", bits or bool(options.device_map)),
        ("peft", "adapter", bool(options.adapter)),
    )
    for package, option, wanted in needed:
        if wanted and find_spec(package) is None:
            message = f"option {option} needs the Python package {package!r}: pip install {package}"
            raise ServingError("unsupported", message, param=option)


def _place(model: ModelSettings, machine: Machine, options: TransformersOptions) -> Path | hub.Fetch:
    """The model's folder, or what would fetch it."""
    target = model.sources[0].target
    if not target:
        raise ServingError(
            "bad_request", "transformers needs a model; write `transformers:FOLDER` or `transformers:ORG/NAME`"
        )
    folder = Path(target).expanduser().absolute()
    if is_path(target) or folder.is_dir():
        if options.revision:
            raise ServingError("bad_request", "option revision is for names of the Hub, not folders", param="revision")
        return folder
    if options.revision and "@" not in target:
        target = f"{target}@{options.revision}"
    return hub.locate(target, machine, "folder", model.env)


def _on_gpu(options: TransformersOptions, machine: Machine) -> bool:
    """Whether the model goes to an NVIDIA GPU. Raises ServingError for a device that is none or not there."""
    if not _DEVICE.fullmatch(options.device):
        raise ServingError(
            "bad_request", f"option device: {options.device!r} is none of auto, cpu, cuda, cuda:N, mps", param="device"
        )
    if options.device == "mps" and sys.platform != "darwin":
        raise ServingError("unsupported", "option device: mps is Apple's; use `device: auto` here", param="device")
    if options.device.startswith("cuda"):
        number = int(options.device.partition(":")[2] or 0)
        if number >= len(machine.gpus):
            there = f"GPUs 0 to {len(machine.gpus) - 1}" if machine.gpus else "no GPU that it can use"
            raise ServingError(
                "unsupported",
                f"option device is {options.device!r}, and this machine has {there}; use `device: auto`",
                param="device",
            )
        return True
    return options.device == "auto" and bool(machine.gpus)


def _bits(options: TransformersOptions) -> Bits | None:
    if options.load_in_8bit and options.load_in_4bit:
        message = "options load_in_8bit and load_in_4bit exclude each other"
        raise ServingError("bad_request", message, param="load_in_4bit")
    return 8 if options.load_in_8bit else 4 if options.load_in_4bit else None


def _need(found: Checkpoint, tokens: int, dtype: Dtype, *, gpu: bool, bits: Bits | None) -> dict[str, int]:
    """Bytes by what they are for."""
    need = memory(found, tokens, 4 if dtype == "auto" and not gpu else _WIDTHS[dtype])
    if bits is not None and found.parameters:
        need["weights"] = found.parameters * bits // 8
    return need if gpu else {**need, "program": PROCESS_BYTES}


def _check_memory(name: str, need: dict[str, int], machine: Machine, *, gpu: bool) -> None:
    try:
        check_memory(name, need, machine, gpus=1 if gpu else 0)
    except ServingError as error:
        message = f"{error.message}; or set the option `force: true` to try nonetheless"
        raise ServingError(error.kind, message, param="force") from error


def _adapter(text: str) -> str:
    if not text:
        return ""
    folder = Path(text).expanduser().absolute()
    if not (folder / "adapter_config.json").is_file():
        raise ServingError(
            "bad_request",
            f"option adapter: {folder} has no adapter_config.json; name the folder of a PEFT adapter",
            param="adapter",
        )
    return str(folder)
