"""How to start a llama.cpp replica: options and a model file become the command of a host process."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec

from trunkcall.core.about import About
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Resumable, read_options
from trunkcall.core.text import nearest
from trunkcall.engines.gguf import Head, read_adapter, read_head
from trunkcall.engines.llama_server import server_command
from trunkcall.engines.template import template_text
from trunkcall.engines.weights import check_memory
from trunkcall.protocols.llamacpp_host import CacheType, HostSettings, Lora, Pooling

DEFAULT_CONTEXT: Final = 4096
DEFAULT_SLOTS: Final = 4
POCKET_SLOTS: Final = 8
PROMPT_BATCH_SECONDS: Final = 0.03
"""How long one batch of a prompt should take: a client that leaves is noticed, and others get tokens, between two."""
OPERATIONS_PER_SECOND: Final = 25e9
"""Of one thread in a prompt; measured 23e9 (1.7 M parameters) and 38e9 (85 M) on a 2.6 GHz AVX2 core."""
SMALLEST_BATCH: Final = 32
"""Below it the matrix kernels lose more than an early notice is worth."""
LARGEST_BATCH: Final = 512
GPU_BATCH: Final = 2048
PROCESS_BYTES: Final = 100 * 2**20
GRACE_SECONDS: Final = 5.0
GPU_LAYERS: Final = "the option `gpu_layers: -1`, with a llama.cpp that was built for the GPU (option `server`)"
"""What makes use of a GPU."""
WHY: Final = "GGUF is the format of llama.cpp"
NO_GPU: Final = "; the option `gpu_layers` finds no NVIDIA GPU here"

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]

_CACHE_BITS: Final[dict[CacheType, float]] = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q4_0": 4.5}
_PART: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


class LlamaCppOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    context: tokens per slot; slots: requests served at once; gpu_layers: -1 for all;
    template: a Jinja chat template or the path of one; batch: prompt tokens per step;
    cache_ram_mib: for prompts whose slot was taken; kv: how keys and values are kept;
    mmproj: the file that lets the model see; lora: adapters; draft: a small model of the same
    vocabulary that proposes draft_tokens tokens at a time; server: a llama-server to run in place
    of the llama.cpp that is part of us; force: also when the memory is too small by the estimate.
    """

    context: Positive | None = None
    slots: Positive | None = None
    threads: Positive | None = None
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1)] = 0
    template: str = ""
    embeddings: bool = False
    pooling: Pooling = "mean"
    batch: Positive | None = None
    cache_ram_mib: NotNegative = 256
    seed: NotNegative | None = None
    mmproj: str = ""
    kv: CacheType = "f16"
    lora: tuple[Lora, ...] = ()
    draft: str = ""
    draft_tokens: Positive = 3
    server: str = ""
    force: bool = False


class LlamaCpp:
    """Fits core.ports.Engine for `llamacpp:PATH` and paths to .gguf files."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The host process for a model file.

        Raises ServingError (bad_request) for a file or an option that cannot work.
        """
        target = model.sources[0].target
        if not target:
            raise ServingError("bad_request", "llamacpp needs a model file; write `llamacpp:PATH/TO/MODEL.gguf`")
        return _plan(model, machine, Path(target).expanduser(), DEFAULT_SLOTS)


class Pocket:
    """Fits core.ports.Engine for `pocket`, the small model inside the package."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The host process for the pocket model."""
        from trunkcall.pocket import gguf_path

        return _plan(model, machine, gguf_path(), POCKET_SLOTS)


def _plan(model: ModelSettings, machine: Machine, path: Path, default_slots: int) -> LaunchSpec:
    options = read_options(model, LlamaCppOptions)
    weights, head = _weights(path)
    if options.context is not None and options.context > head.context:
        raise ServingError(
            "bad_request",
            f"model {model.name!r}: option context is {options.context}; the model was made for {head.context} tokens",
            param="context",
        )
    context = options.context or min(head.context, DEFAULT_CONTEXT)
    slots = options.slots or model.slots or default_slots
    threads = options.threads or max(1, machine.cores - 1)
    batch = max(slots, options.batch or (GPU_BATCH if options.gpu_layers else prompt_batch(head.active, threads)))
    host = HostSettings(
        name=model.name,
        path=str(path.absolute()),
        context=context,
        slots=slots,
        threads=threads,
        batch=batch,
        gpu_layers=options.gpu_layers,
        cache_ram_mib=options.cache_ram_mib,
        kv=options.kv,
        template=template_text(options.template),
        embeddings=options.embeddings,
        pooling=options.pooling,
        seed=options.seed,
        mmproj=_extra(options.mmproj, "mmproj"),
        lora=tuple(Lora(_adapter(one.path, head), one.scale) for one in options.lora),
        draft=_extra(options.draft, "draft"),
        draft_tokens=options.draft_tokens,
        grace=GRACE_SECONDS,
    )
    need = _need(host, head, weights)
    if not options.force:
        _check_memory(model.name, need, machine, on_gpu=_share_on_gpu(options.gpu_layers, head))
    return LaunchSpec(
        command=server_command(host, options.server) if options.server else _embedded(host),
        protocol="openai",
        slots=slots,
        memory=sum(need.values()),
        gpus=len(machine.gpus) if options.gpu_layers else 0,
        grace=GRACE_SECONDS,
        engine="llamacpp",
        why=WHY + (NO_GPU if options.gpu_layers and not options.server and not _has_gpu(machine) else ""),
        faster=GPU_LAYERS if machine.gpus and not options.gpu_layers else "",
        about=About(context=context, images=bool(options.mmproj)),
        resumes=_resumes(options),
    )


def _resumes(options: LlamaCppOptions) -> frozenset[Resumable]:
    """What was seen to go on byte for byte, and in which circumstances (docs/decisions/0009)."""
    foreign = options.server or options.draft or options.mmproj
    if foreign or options.gpu_layers or options.kv != "f16" or options.embeddings:
        return frozenset()
    return frozenset(("greedy", "penalties"))


def _has_gpu(machine: Machine) -> bool:
    """Whether there is one, or may be: a Mac's is not asked for."""
    return bool(machine.gpus) or sys.platform == "darwin"


def _embedded(host: HostSettings) -> tuple[str, ...]:
    return (sys.executable, "-m", "trunkcall.workers.llamacpp", msgspec.json.encode(host).decode())


def _need(host: HostSettings, head: Head, weights: int) -> dict[str, int]:
    """Bytes by what they are for; weights: those of the model's files."""
    need = {"weights": weights, "cache": cache_bytes(head, host.context, host.slots, host.kv, host.batch)}
    if host.draft:
        with _of_option("draft"):
            more, small = _weights(Path(host.draft))
        need["draft model"] = more + cache_bytes(small, host.context, host.slots, host.kv, host.batch)
    beside = [host.mmproj, *(one.path for one in host.lora)]
    need["projector and adapters"] = sum(Path(one).stat().st_size for one in beside if one)
    need["prompts kept"] = host.cache_ram_mib * 2**20
    # A step's answers, each a number for every token that there is.
    need["process"] = PROCESS_BYTES + host.batch * head.vocabulary * 4
    return need


def _share_on_gpu(gpu_layers: int, head: Head) -> float:
    """Of the weights and the cache; the layers count alike, and those beyond the last one are the output."""
    return 1.0 if gpu_layers < 0 else min(1.0, gpu_layers / max(1, head.layers))


def _check_memory(name: str, need: dict[str, int], machine: Machine, on_gpu: float) -> None:
    """What is on GPUs is spread over all of them; a GPU that is no NVIDIA's is not known here and not weighed."""
    layered = {what: int(need[what] * on_gpu) for what in ("weights", "cache")}
    rest = {what: size - layered.get(what, 0) for what, size in need.items()}
    try:
        if on_gpu and machine.gpus:
            check_memory(name, layered, machine, gpus=len(machine.gpus))
            check_memory(name, rest, machine)
        elif not on_gpu:
            check_memory(name, need, machine)
    except ServingError as error:
        message = f"{error.message}; or set the option `force: true` to try nonetheless"
        raise ServingError(error.kind, message, param="force") from error


def _weights(path: Path) -> tuple[int, Head]:
    """The bytes of all files of a model, and its head."""
    files = _files(path)
    try:
        return sum(file.stat().st_size for file in files), read_head(path)
    except OSError as error:
        raise ServingError("bad_request", f"{path} cannot be read: {error.strerror}") from error


def _adapter(path: str, head: Head) -> str:
    found = _extra(path, "lora")
    with _of_option("lora"):
        made_for = read_adapter(Path(found))
        if made_for != head.architecture:
            raise ServingError(
                "bad_request",
                f"{found} is an adapter for another base: a {made_for} model, and this is a {head.architecture} model",
            )
    return found


def _extra(path: str, option: str) -> str:
    """The absolute path of a file that goes with the model; empty for none."""
    if not path:
        return ""
    with _of_option(option):
        return str(_readable(Path(path).expanduser()).absolute())


@contextmanager
def _of_option(name: str) -> Generator[None, None, None]:
    """What fails within is an option's fault."""
    try:
        yield
    except OSError as error:
        raise ServingError(
            "bad_request", f"option {name}: {error.filename} cannot be read: {error.strerror}", param=name
        ) from error
    except ServingError as error:
        raise ServingError(error.kind, f"option {name}: {error.message}", param=name) from error


def prompt_batch(active: int, threads: int) -> int:
    """Prompt tokens per step, a power of two, for a model of so many active parameters."""
    tokens = PROMPT_BATCH_SECONDS * OPERATIONS_PER_SECOND * threads / (2 * max(1, active))
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, 1 << max(0, int(tokens).bit_length() - 1)))


def cache_bytes(head: Head, context: int, slots: int, kind: CacheType, batch: int) -> int:
    """Memory of the keys and values of so many slots; a layer with a window keeps that and the step at work."""
    windows = head.windows or (0,) * len(head.kv_heads)
    kept = [min(context, window + batch) if window else context for window in windows]
    numbers = sum(heads * tokens for heads, tokens in zip(head.kv_heads, kept, strict=True))
    return int(slots * numbers * (head.key + head.value) * _CACHE_BITS[kind] / 8)


def _files(path: Path) -> list[Path]:
    """All files of the model: a large one comes in parts, of which the first is named."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return [_readable(path)]
    stem, number, count = part.groups()
    parts = [path.with_name(f"{stem}-{one:05d}-of-{count}.gguf") for one in range(1, int(count) + 1)]
    if int(number) != 1:
        raise ServingError(
            "bad_request", f"{path} is part {int(number)} of a model; name the first one, {parts[0].name}"
        )
    return [_readable(one) for one in parts]


def _readable(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        raise ServingError("bad_request", f"{path} is a folder; name the .gguf file. {_in_folder(path, '')}")
    if not path.parent.is_dir():
        raise ServingError("bad_request", f"{path} does not exist, nor does its folder")
    raise ServingError("bad_request", f"{path} does not exist. {_in_folder(path.parent, path.name)}")


def _in_folder(folder: Path, name: str) -> str:
    try:
        models = [entry.name for entry in folder.iterdir() if entry.suffix == ".gguf"]
    except OSError:
        return "Its folder cannot be read."
    if not models:
        return f"There is no .gguf file in {folder}"
    close = nearest(name, models)
    return f"Did you mean {folder / close}?" if close else f"There: {', '.join(sorted(models)[:5])}"
