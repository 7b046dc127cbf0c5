"""Which files of a repository make up the model that is wanted: a quantisation that fits, or a folder of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.protocols.fetching import Kind, amount

PREFERRED: Final = ("Q4_K_M", "Q5_K_M", "Q8_0")
"""Quantisations in the order in which they are taken, as far as they fit."""
SHARE: Final = 2
"""Weights may take this part of the memory; the rest is for the cache of keys and values and for all else."""

_PART: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
_QUANTISATION: Final = re.compile(
    r"(?:^|[-._/])((?:IQ|TQ|Q)\d(?:_[A-Z0-9]+)*|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)(?=[-._]|$)", re.IGNORECASE
)
_NO_MODEL: Final = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_UNQUANTISED: Final = frozenset({"BF16", "F16", "FP16", "F32", "FP32"})

_KEPT: Final = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
_OTHER_FORMATS: Final = frozenset({"original", "onnx", "openvino", "coreml", "metal", "gguf", "runs", "checkpoints"})
"""Folders that hold the same model once more, or its training."""


class File(msgspec.Struct, frozen=True):
    """A file of a repository: its path and its bytes."""

    path: str
    size: int


def needed(files: Sequence[File], *, file: str, kind: Kind, memory: int, repo: str) -> tuple[File, ...]:
    """The files of what is wanted, all parts of it; for a .gguf model its first part comes first.

    file: as in FetchSettings. Raises ServingError (bad_request) when the repository does not have it, or when
    nothing in it fits into the memory.
    """
    if file and "." in file:
        return parts_of(files, file, repo)
    models = [one for one in files if one.path.lower().endswith(".gguf") and not _NO_MODEL.search(one.path)]
    if file:
        return _quantisation(models, file, repo)
    folder = _folder(files) if kind != "gguf" else ()
    if folder:
        return folder
    if kind == "folder":
        has = "only .gguf files: serve it with llama.cpp" if models else "no weights in safetensors or .bin files"
        raise ServingError("bad_request", f"{repo} has {has}")
    if not models:
        what = "no .gguf file" if kind == "gguf" else "neither .gguf files nor a config.json with weights"
        raise ServingError("bad_request", f"{repo} has {what}; name another repository")
    return choose_file(models, memory, repo)


def parts_of(files: Sequence[File], path: str, repo: str) -> tuple[File, ...]:
    """The file, or all parts of the model that it is a part of, in their order.

    Raises ServingError (bad_request) when one is not there.
    """
    known = {one.path: one for one in files}
    names = part_names(path)
    for name in names:
        if name not in known:
            alike = [other for other in known if other.endswith(name[name.rindex(".") :])]
            raise ServingError("bad_request", f"{repo} has no file {name}. {did_you_mean(name, alike)}")
    return tuple(known[name] for name in names)


def part_names(path: str) -> tuple[str, ...]:
    """The names of all parts of a model, of which one is named; of a model in one file its own."""
    part = _PART.fullmatch(path)
    if part is None:
        return (path,)
    stem, _, count, ending = part.groups()
    return tuple(f"{stem}-{number:05d}-of-{count}{ending}" for number in range(1, int(count) + 1))


def choose_file(files: Sequence[File], memory: int, repo: str) -> tuple[File, ...]:
    """The .gguf model to take, in all its parts: a usual quantisation of which the weights fit into their share.

    Else the largest that fits, and one that is not quantised when there is no other.
    Raises ServingError (bad_request) when there is none, and with the numbers when nothing fits.
    """
    models = _models(files)
    if not models:
        raise ServingError("bad_request", f"{repo} has no .gguf model of which all parts are there")
    fitting = {name: parts for name, parts in models.items() if _size(parts) * SHARE <= memory}
    if not fitting:
        least = min(models, key=lambda name: _size(models[name]))
        raise ServingError(
            "bad_request",
            f"nothing in {repo} fits: its smallest model, {least}, has {amount(_size(models[least]))}, and half of "
            f"this machine's memory is {amount(memory / SHARE)}. Take a smaller model, or name a file to have it "
            f"nonetheless: hf:{repo}:{least}",
        )
    by_kind = {quantisation(name): parts for name, parts in sorted(fitting.items(), reverse=True)}
    for preferred in PREFERRED:
        if preferred in by_kind:
            return by_kind[preferred]
    best = max(fitting, key=lambda name: (quantisation(name) not in _UNQUANTISED, _size(fitting[name]), name))
    return fitting[best]


def quantisation(path: str) -> str:
    """How a .gguf file's name says that its weights are kept, in capitals: `Q4_K_M`; empty when it does not say."""
    found: list[str] = _QUANTISATION.findall(path.rpartition(".")[0])
    return found[-1].upper() if found else ""


def _quantisation(models: Sequence[File], wanted: str, repo: str) -> tuple[File, ...]:
    there = {quantisation(name): parts for name, parts in sorted(_models(models).items(), reverse=True)}
    if wanted.upper() not in there:
        raise ServingError(
            "bad_request",
            f"{repo} has no .gguf file of the quantisation {wanted}. {did_you_mean(wanted, filter(None, there))}",
        )
    return there[wanted.upper()]


def _models(files: Sequence[File]) -> dict[str, tuple[File, ...]]:
    """Whole models by the name of their first part; one whose parts are not all there is none."""
    known = {one.path: one for one in files}
    found: dict[str, tuple[File, ...]] = {}
    for path in known:
        names = part_names(path)
        if path == names[0] and known.keys() >= set(names):
            found[path] = tuple(known[name] for name in names)
    return found


def _size(parts: Sequence[File]) -> int:
    return sum(part.size for part in parts)


def _folder(files: Sequence[File]) -> tuple[File, ...]:
    """What transformers and its kin read; nothing when there is no config or there are no weights."""
    kept = [one for one in files if not _OTHER_FORMATS.intersection(one.path.lower().split("/")[:-1])]
    named = {one.path for one in kept}
    if not named & {"config.json", "adapter_config.json", "modules.json"}:
        return ()
    safe = [one for one in kept if one.path.endswith(".safetensors")]
    pickled = [one for one in kept if one.path.rpartition("/")[2].startswith("pytorch_model")]
    weights = safe or [one for one in pickled if one.path.endswith(".bin")]
    if not weights:
        return ()
    # Mistral's own form of the same weights.
    twice = [one for one in safe if one.path.startswith("consolidated")]
    unwanted = twice if len(twice) < len(safe) else []
    return tuple(one for one in kept if (one.path.endswith(_KEPT) or one in weights) and one not in unwanted)
