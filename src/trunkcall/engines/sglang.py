"""How to start an SGLang replica: options and a model become the command line of `sglang serve`."""

from __future__ import annotations

from typing import Annotated, Final

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

ENGINE: Final = "sglang"
DEFAULT_SLOTS: Final = 256
DEFAULT_SHARE: Final = 0.85
"""Of each GPU's memory, about what SGLang chooses by itself."""
PROCESS_BYTES: Final = 2 * 2**30


class SglangOptions(LaunchedOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`: also pipeline_parallel, the GPUs over which the layers are divided."""

    pipeline_parallel: Positive = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Sglang:
    """Fits core.ports.Engine for `sglang:FOLDER` and `sglang:ORG/NAME[@REVISION]`."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The runner with `sglang serve`, or the download of a model that is not here yet.

        Raises ServingError: unsupported with the remedy when SGLang is missing, bad_request for a model or an option
        that cannot work.
        """
        options = read_options(model, SglangOptions)
        if ":" in _served(model):
            raise ServingError(
                "bad_request",
                f"model {_served(model)!r}: SGLang reads what follows a colon as an adapter; take another name",
            )
        if model.name in options.lora:
            raise ServingError(
                "bad_request",
                f"option lora: SGLang asks for an adapter as MODEL:ADAPTER, so that none can be called {model.name!r}",
                param="lora",
            )
        slots = options.slots or model.slots or DEFAULT_SLOTS
        program = find_program(ENGINE, options.program)
        path = find_model(ENGINE, model, machine)
        if isinstance(path, hub.Fetch):
            return fetched_first(ENGINE, path, slots)
        gpus = options.tensor_parallel * options.pipeline_parallel if machine.gpus else 0
        need = estimate(model.name, path, options, machine, gpus=gpus, process=PROCESS_BYTES)
        return launched(
            ENGINE,
            model,
            options,
            (program, "serve", "--model-path", path, *_flags(model, path, options)),
            slots=slots,
            gpus=gpus,
            memory=claimed(need, options.memory_share or DEFAULT_SHARE, machine, gpus),
            adapters=tuple(f"{_served(model)}:{name}" for name in options.lora),
        )


def _served(model: ModelSettings) -> str:
    return model.sources[0].model or model.name


def _flags(model: ModelSettings, path: str, options: SglangOptions) -> tuple[str, ...]:
    adapters = tuple(f"{name}={adapter(name, folder, path)}" for name, folder in options.lora.items())
    return (
        *words(
            {
                "--host": "{host}",
                "--port": "{port}",
                "--served-model-name": _served(model),
                "--context-length": options.context,
                "--max-running-requests": options.slots or model.slots,
                "--tp-size": options.tensor_parallel if options.tensor_parallel > 1 else None,
                "--pp-size": options.pipeline_parallel if options.pipeline_parallel > 1 else None,
                "--dtype": options.dtype if options.dtype != "auto" else None,
                "--mem-fraction-static": options.memory_share,
                "--quantization": options.quantization,
                "--random-seed": options.seed,
                "--trust-remote-code": options.trust_remote_code,
            }
        ),
        *(("--lora-paths", *adapters) if adapters else ()),
        *options.args,
    )
