"""How to start a replica of text-generation-inference: options and a model become its launcher's command line."""

from __future__ import annotations

from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, read_options
from trunkcall.engines import hub
from trunkcall.engines.launched import (
    LaunchedOptions,
    adapter,
    claimed,
    estimate,
    fetched_first,
    find_model,
    find_program,
    launched,
    words,
)

ENGINE: Final = "tgi-server"
DEFAULT_SLOTS: Final = 128
"""The launcher's own."""
DEFAULT_SHARE: Final = 1.0
"""Of each GPU's memory, TGI's own."""
PROCESS_BYTES: Final = 2 * 2**30

_PLACES: Final = {
    # The launcher reads each flag from the environment too, and an older one overlooks there what it does not know.
    "PROMETHEUS_PORT": "{port2}",
    "MASTER_PORT": "{port3}",
    "SHARD_UDS_PATH": "/tmp/trunkcall-tgi-{port}",
    "USAGE_STATS": "off",
}


class TgiOptions(LaunchedOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`, as all launched engines have them."""


class Tgi:
    """Fits core.ports.Engine for `tgi-server:FOLDER` and `tgi-server:ORG/NAME[@REVISION]`."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The runner with text-generation-launcher, or the download of a model that is not here yet.

        Raises ServingError: unsupported with the remedy when the launcher is missing, bad_request for a model or an
        option that cannot work.
        """
        options = read_options(model, TgiOptions)
        if options.dtype == "float32":
            raise ServingError("bad_request", "option dtype: TGI takes float16 and bfloat16", param="dtype")
        slots = options.slots or model.slots or DEFAULT_SLOTS
        program = find_program(ENGINE, options.program)
        path = find_model(ENGINE, model, machine)
        if isinstance(path, hub.Fetch):
            return fetched_first(ENGINE, path, slots)
        gpus = options.tensor_parallel if machine.gpus else 0
        need = estimate(model.name, path, options, machine, gpus=gpus, process=PROCESS_BYTES)
        return launched(
            ENGINE,
            model,
            options,
            (program, "--model-id", path, *_flags(model, path, options)),
            slots=slots,
            gpus=gpus,
            memory=claimed(need, options.memory_share or DEFAULT_SHARE, machine, gpus),
            places=_PLACES,
        )


def _flags(model: ModelSettings, path: str, options: TgiOptions) -> tuple[str, ...]:
    adapters = ",".join(f"{name}={adapter(name, folder, path)}" for name, folder in options.lora.items())
    return (
        *words(
            {
                "--hostname": "{host}",
                "--port": "{port}",
                "--max-total-tokens": options.context,
                # Else its own default may be more than the total.
                "--max-input-tokens": max(1, options.context - 1) if options.context else None,
                "--max-concurrent-requests": options.slots or model.slots,
                "--num-shard": options.tensor_parallel if options.tensor_parallel > 1 else None,
                "--dtype": options.dtype if options.dtype != "auto" else None,
                "--cuda-memory-fraction": options.memory_share,
                "--quantize": options.quantization,
                "--trust-remote-code": options.trust_remote_code,
                "--lora-adapters": adapters,
            }
        ),
        *options.args,
    )
