"""How to start a llama.cpp replica: options and a model file become the command of a host process."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, read_options
from trunkcall.core.text import nearest
from trunkcall.engines.gguf import Head, read_head
from trunkcall.protocols.llamacpp_host import CacheType, HostSettings, Pooling

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

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]

_CACHE_BITS: Final[dict[CacheType, float]] = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q4_0": 4.5}
_PART: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


class LlamaCppOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    context: tokens per slot; slots: requests served at once; gpu_layers: -1 for all;
    template: a Jinja chat template or the path of one; batch: prompt tokens per step;
    cache_ram_mib: for prompts whose slot was taken; kv: how keys and values are kept;
    mmproj: the file that lets the model see.
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
    files = _files(path)
    try:
        head = read_head(path)
        weights = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise ServingError("bad_request", f"{path} cannot be read: {error.strerror}") from error
    if options.context is not None and options.context > head.context:
        raise ServingError(
            "bad_request",
            f"model {model.name!r}: option context is {options.context}; the model was made for {head.context} tokens",
            param="context",
        )
    context = options.context or min(head.context, DEFAULT_CONTEXT)
    slots = options.slots or model.slots or default_slots
    threads = options.threads or max(1, machine.cores - 1)
    spec = LaunchSpec(
        command=(),
        protocol="openai",
        slots=slots,
        memory=weights + cache_bytes(head, context * slots, options.kv) + options.cache_ram_mib * 2**20 + PROCESS_BYTES,
    )
    host = HostSettings(
        name=model.name,
        path=str(path.absolute()),
        context=context,
        slots=slots,
        threads=threads,
        batch=max(slots, options.batch or (GPU_BATCH if options.gpu_layers else prompt_batch(head.active, threads))),
        gpu_layers=options.gpu_layers,
        cache_ram_mib=options.cache_ram_mib,
        kv=options.kv,
        template=_template(options.template),
        embeddings=options.embeddings,
        pooling=options.pooling,
        seed=options.seed,
        mmproj=str(_readable(Path(options.mmproj).expanduser()).absolute()) if options.mmproj else "",
        grace=spec.grace,
    )
    settings = msgspec.json.encode(host).decode()
    return msgspec.structs.replace(spec, command=(sys.executable, "-m", "trunkcall.workers.llamacpp", settings))


def prompt_batch(active: int, threads: int) -> int:
    """Prompt tokens per step, a power of two, for a model of so many active parameters."""
    tokens = PROMPT_BATCH_SECONDS * OPERATIONS_PER_SECOND * threads / (2 * max(1, active))
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, 1 << max(0, int(tokens).bit_length() - 1)))


def cache_bytes(head: Head, tokens: int, kind: CacheType) -> int:
    """Memory of the keys and values of so many tokens."""
    return int(tokens * sum(head.kv_heads) * (head.key + head.value) * _CACHE_BITS[kind] / 8)


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


def _template(text: str) -> str:
    """The template's text; a value without braces is a path."""
    if not text or "{" in text:
        return text
    path = Path(text).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(
            "bad_request", f"option template: {path} cannot be read as a template: {error}", param="template"
        ) from error
