"""Whether an adapter was made for a model: the shapes of its matrices beside those of the weights that they change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.engines.weights import tensor_shapes

_PREFIX: Final = "base_model.model."
_DOWN: Final = ".lora_A.weight"
_UP: Final = ".lora_B.weight"


def check_fit(name: str, adapter: Path, model: Path) -> None:
    """Refuse an adapter of another base: ServingError (bad_request) with the numbers.

    adapter, model: folders; name: of the adapter, for the message. What the files do not tell is not refused.
    """
    made, weights = _shapes(adapter.glob("adapter_model.safetensors")), _shapes(model.glob("*.safetensors"))
    for key, down in made.items():
        base = key.removeprefix(_PREFIX).removesuffix(_DOWN)
        up, weight = made.get(f"{_PREFIX}{base}{_UP}"), weights.get(f"{base}.weight")
        if not key.endswith(_DOWN) or up is None or weight is None or not len(down) == len(up) == len(weight) == 2:
            continue
        shape = [up[0], down[1]]
        # Some old models keep a matrix the other way round.
        if shape not in (weight, weight[::-1]):
            raise ServingError(
                "bad_request",
                f"option lora: {name}: {adapter} was made for another base{_named(adapter)}: it changes {base} of "
                f"{shape[0]} x {shape[1]} numbers, and here that has {weight[0]} x {weight[1]}. "
                "Serve that base, or take another adapter",
                param="lora",
            )


def _shapes(files: Iterable[Path]) -> dict[str, list[int]]:
    try:
        return {name: shape for path in files for name, shape in tensor_shapes(path).items()}
    except (OSError, ServingError):
        # Whether the files are whole is looked at elsewhere.
        return {}


def _named(adapter: Path) -> str:
    try:
        config = msgspec.json.decode((adapter / "adapter_config.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return ""
    base = config.get("base_model_name_or_path")
    return f", {base}" if base else ""
