"""What a model folder is: its shape and the memory that it takes, from config.json and the heads of its weight files.

Formats: a folder as transformers and sentence-transformers save it; safetensors (an eight-byte length, then a JSON
object that says of each tensor its dtype, its shape and where its bytes stand).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine
from trunkcall.protocols.fetching import amount

CONFIG: Final = "config.json"
_INDEX: Final = ".index.json"
_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
"""Each also in parts, which an index beside them names."""
_LONGEST_HEAD: Final = 100_000_000
"""Bytes; the limit of safetensors itself."""
_POINTER: Final = b"version https://git-lfs"
_WIDTHS: Final = {"float32": 4, "float": 4, "float64": 8, "double": 8, "F32": 4, "F64": 8}
"""Bytes of a number while it is calculated with; of every other dtype two."""

_Shape = TypeVar("_Shape")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Weights in a folder, and the model that they are for.

    files: the weight files; size: bytes of the weights as they are stored; parameters: how many numbers they are, 0
    where the files do not tell; width: bytes of a number when the model is loaded as it is stored; cached: numbers
    that are kept for each token of context; context: the most tokens that the model was made for, 0 where its config
    does not tell; architecture: the name of its class, empty likewise; own_code: it brings Python code that some
    engines run when they are allowed to; embedder: a sentence-transformers folder, which gives vectors and no text.
    """

    folder: Path
    files: tuple[Path, ...]
    size: int
    parameters: int
    width: int
    cached: int
    context: int
    architecture: str
    own_code: bool
    embedder: bool


def read_checkpoint(folder: Path) -> Checkpoint:
    """Look into a model folder; no weights are read.

    Raises ServingError (bad_request) for a folder that is not there, cannot be read, holds no model or not all of it.
    """
    try:
        return _checkpoint(folder)
    except OSError as error:
        raise ServingError(
            "bad_request", f"{error.filename or folder} cannot be read: {error.strerror or error}"
        ) from error


def is_embedder(folder: Path) -> bool:
    """Whether a folder is one of sentence-transformers."""
    return _modules(folder) is not None


def gguf_files(folder: Path) -> dict[Path, int]:
    """The .gguf models in a folder with their sizes in bytes; without projectors, which go with a model."""
    return {
        path: path.stat().st_size
        for path in sorted(folder.glob("*.gguf"))
        if path.is_file() and "mmproj" not in path.name.lower()
    }


def memory(found: Checkpoint, tokens: int, width: int | None = None) -> dict[str, int]:
    """Bytes by what they are for, with room for so many tokens in all slots together.

    width: bytes of a number when the weights are converted while they are loaded.
    """
    converted = width is not None and found.parameters > 0
    return {
        "weights": found.parameters * width if converted and width is not None else found.size,
        "cache": found.cached * tokens * (width or found.width),
    }


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor in a safetensors file. Raises ServingError (bad_request) for a damaged one, OSError."""
    return {name: tensor.shape for name, tensor in _head(path).items()}


def check_memory(model: str, need: Mapping[str, int], machine: Machine, *, gpus: int = 0) -> None:
    """Refuse what cannot be loaded: ServingError (bad_request) with the numbers.

    need: bytes by what they are for; gpus: over so many it is spread evenly, 0 for the machine's own memory. A GPU
    whose memory is not known is not checked.
    """
    total = sum(need.values())
    parts = " + ".join(f"{what} {amount(size)}" for what, size in need.items() if size)
    if not gpus:
        if total > machine.memory:
            raise ServingError(
                "bad_request",
                f"model {model!r} needs about {amount(total)} ({parts}) and this machine has {amount(machine.memory)}. "
                "Take a smaller or a quantised model, fewer slots or a shorter context",
            )
        return
    if len(machine.gpus) < gpus:
        raise ServingError(
            "bad_request",
            f"model {model!r} is to run on {gpus} GPU{'s' * (gpus > 1)} "
            f"and this machine has {len(machine.gpus) or 'none'}",
        )
    each = math.ceil(total / gpus)
    roomy = sorted(zip(machine.gpu_free, machine.gpu_memory, machine.gpus, strict=False), reverse=True)[:gpus]
    for free, whole, name in roomy:
        if each > free:
            raise ServingError(
                "bad_request",
                f"model {model!r} needs about {amount(each)}{' on each GPU' if gpus > 1 else ''} ({parts}); "
                f"{name} has {amount(free)} free of {amount(whole)}. "
                "Remove a model that is on it, take a smaller or a quantised model, fewer slots or a shorter context",
            )


def _checkpoint(folder: Path) -> Checkpoint:
    inner = _transformer(folder)
    config = _read(inner / CONFIG, dict[str, Any])
    if config is None:
        raise ServingError("bad_request", _not_a_model(folder))
    files = _weight_files(inner)
    size, parameters, dtype = _tensors(files)
    # A model that also sees or hears keeps the shape of its language part apart.
    text = config.get("text_config")
    shape = cast(dict[str, Any], text) if isinstance(text, dict) else config
    said = config.get("dtype") or config.get("torch_dtype") or shape.get("dtype") or dtype
    architectures = config.get("architectures")
    return Checkpoint(
        folder=folder,
        files=files,
        size=size,
        parameters=parameters,
        width=_WIDTHS.get(str(said), 2),
        cached=_cached(shape),
        context=_number(shape, "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
        architecture=str(cast(list[Any], architectures)[0])
        if isinstance(architectures, list) and architectures
        else "",
        own_code="auto_map" in config,
        embedder=is_embedder(folder),
    )


def _not_a_model(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist"
    if not folder.is_dir():
        return f"{folder} is a file; name the folder that it stands in, or a .gguf file"
    adapter = _read(folder / "adapter_config.json", dict[str, Any])
    if adapter is not None:
        base = adapter.get("base_model_name_or_path")
        return f"{folder} is an adapter, not a model. Serve its base, {base}, with the option `adapter: {folder}`"
    return f"{folder} is not a model folder: it has no {CONFIG}. Name the folder that transformers saved the model in"


def _modules(folder: Path) -> list[dict[str, Any]] | None:
    found = _read(folder / "modules.json", list[dict[str, Any]])
    return found if found and any("sentence_transformers" in str(one.get("type")) for one in found) else None


def _transformer(folder: Path) -> Path:
    """Where config and weights stand: sentence-transformers of old kept them in a folder of their own."""
    modules = _modules(folder)
    path = modules[0].get("path") if modules else None
    return folder / path if isinstance(path, str) and (folder / path / CONFIG).is_file() else folder


def _weight_files(folder: Path) -> tuple[Path, ...]:
    for name in _WEIGHTS:
        index = _read(folder / f"{name}{_INDEX}", dict[str, Any])
        if index is None:
            if (folder / name).is_file():
                return (folder / name,)
            continue
        parts = index.get("weight_map")
        names = sorted({str(part) for part in cast(dict[str, Any], parts).values()}) if isinstance(parts, dict) else []
        missing = [part for part in names if not (folder / part).is_file()]
        if missing or not names:
            lacks = f"{len(missing)} of {len(names)} weight files are missing, such as {missing[0]}" if missing else ""
            raise ServingError(
                "bad_request",
                f"{folder} is incomplete: {lacks or f'{name}{_INDEX} names no weight files'}; fetch it again",
            )
        return tuple(folder / part for part in names)
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
    raise ServingError(
        "bad_request",
        f"{folder} has no weights: neither {' nor '.join(_WEIGHTS)} nor parts of them. There: {there}. "
        "Fetch the whole model, or convert its weights with save_pretrained of transformers",
    )


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def _tensors(files: tuple[Path, ...]) -> tuple[int, int, str]:
    """Bytes, numbers, and the dtype of most of them; of a .bin file only the bytes."""
    size = 0
    counts: Counter[str] = Counter()
    for path in files:
        if path.suffix == ".safetensors":
            for tensor in _head(path).values():
                counts[tensor.dtype] += math.prod(tensor.shape)
                size += tensor.data_offsets[1] - tensor.data_offsets[0]
        else:
            size += path.stat().st_size
    return size, counts.total(), counts.most_common(1)[0][0] if counts else ""


def _head(path: Path) -> dict[str, _Tensor]:
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
        if start == _POINTER:
            raise ServingError(
                "bad_request", f"{path} is a pointer of Git LFS, not the weights; run `git lfs pull` in its folder"
            )
        try:
            length = struct.unpack_from("<Q", start)[0]
            file.seek(8)
            data = file.read(min(length, _LONGEST_HEAD))
            raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            raw.pop("__metadata__", None)
            tensors = {name: msgspec.json.decode(one, type=_Tensor) for name, one in raw.items()}
        except (struct.error, msgspec.DecodeError) as error:
            raise ServingError(
                "bad_request", f"{path} is damaged or not a safetensors file: its head cannot be read; fetch it again"
            ) from error
    whole = 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    there = path.stat().st_size
    if there < whole:
        raise ServingError("bad_request", f"{path} is incomplete: {there} of {whole} bytes are there; fetch it again")
    return tensors


def _cached(shape: dict[str, Any]) -> int:
    """Keys and values of one token; what layers with a window or a state keep is small beside them."""
    layers = _number(shape, "num_hidden_layers", "n_layer", "num_layers")
    kinds = shape.get("layer_types")
    if isinstance(kinds, list):
        layers = cast(list[Any], kinds).count("full_attention")
    heads = _number(shape, "num_attention_heads", "n_head")
    kept = _number(shape, "num_key_value_heads", "num_kv_heads") or heads
    width = _number(shape, "hidden_size", "n_embd", "d_model")
    length = _number(shape, "head_dim") or (width // heads if heads else 0)
    return 2 * layers * kept * length


def _number(shape: dict[str, Any], *names: str) -> int:
    """The first of these that is a whole number; models name the same thing differently."""
    return next((shape[name] for name in names if isinstance(shape.get(name), int)), 0)


def _read(path: Path, shape: type[_Shape]) -> _Shape | None:
    """A JSON file; None where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise ServingError("bad_request", f"{path} is damaged: {error}; fetch it again") from error
