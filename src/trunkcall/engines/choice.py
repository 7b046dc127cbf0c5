"""Which engine serves a model folder or a repository: chosen by what is in it and by what the machine has."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, Source
from trunkcall.core.ports import Engine
from trunkcall.core.text import did_you_mean
from trunkcall.engines import hub
from trunkcall.engines.installed import REMEDIES, installed, program
from trunkcall.engines.llamacpp import GPU_LAYERS
from trunkcall.engines.vllm import built_for
from trunkcall.engines.weights import CONFIG, gguf_files, read_checkpoint
from trunkcall.protocols.fetching import Kind
from trunkcall.protocols.hub_files import File, choose_file

Form = Literal["gguf", "checkpoint", "embedder"]
"""GGUF files; weights as transformers saves them; the same of a model that gives vectors."""

_READS: Final[dict[str, frozenset[Form]]] = {
    "llamacpp": frozenset({"gguf"}),
    "transformers": frozenset({"checkpoint", "embedder"}),
    "vllm": frozenset({"checkpoint", "embedder"}),
    "sglang": frozenset({"checkpoint", "embedder"}),
    "tgi-server": frozenset({"checkpoint"}),
}
"""The engines that can be chosen, and what each reads."""
_NONE: Final[frozenset[Form]] = frozenset()
_GGUF: Final[frozenset[Form]] = frozenset({"gguf"})
_CHECKPOINT: Final[frozenset[Form]] = frozenset({"checkpoint"})
_EMBEDDER: Final[frozenset[Form]] = frozenset({"embedder"})


class Choice(msgspec.Struct, frozen=True):
    """An engine; why it was chosen, and what would serve the model faster on this machine, for people."""

    engine: str
    why: str
    faster: str = ""


def choose(
    forms: Set[Form], machine: Machine, installed: Set[str], forced: str = "", cpu_only: Set[str] = frozenset()
) -> Choice:
    """The engine for a source that holds a model in these forms.

    installed: the engines that can be started here; forced: the one that the operator wants; cpu_only: of those
    installed the ones that were built without the use of a GPU.

    Raises ServingError: bad_request for a forced engine that is none or cannot read any of the forms, unsupported
    with the remedy when what could serve the model is not installed.
    """
    if forced:
        able = [name for name, reads in _READS.items() if reads & forms]
        if forced not in able:
            hint = f"These read the model: {', '.join(able)}" if forced in _READS else did_you_mean(forced, _READS)
            raise ServingError("bad_request", f"option engine: {forced!r} cannot serve it. {hint}", param="engine")
        return Choice(forced, "the option `engine` names it")
    gpu = machine.gpus[0] if machine.gpus else ""
    weights = bool(forms - {"gguf"})
    if "checkpoint" in forms and gpu and "vllm" in installed - cpu_only:
        return Choice("vllm", f"a transformers checkpoint, a GPU ({gpu}), and vLLM is installed")
    vllm = f"vLLM, which would use the {gpu}: {REMEDIES['vllm']}" if "checkpoint" in forms and gpu else ""
    if "gguf" in forms:
        both = "; of the weights in two forms this one needs no GPU" if weights else ""
        return Choice("llamacpp", f"GGUF is the format of llama.cpp{both}", vllm or (GPU_LAYERS if gpu else ""))
    if "transformers" not in installed:
        also = f"; or {vllm}" if vllm else ""
        raise ServingError(
            "unsupported", f"a transformers checkpoint needs that engine: {REMEDIES['transformers']}{also}"
        )
    if "embedder" in forms:
        return Choice("transformers", "a sentence-transformers folder, which gives embeddings")
    if gpu:
        lack = "built for CPUs" if "vllm" in cpu_only else "not installed"
        return Choice("transformers", f"a transformers checkpoint, and vLLM is {lack}", vllm)
    return Choice(
        "transformers",
        "a transformers checkpoint, and no GPU",
        "a GGUF file of the same model in llama.cpp (many stand on the Hub: hf:ORG/NAME-GGUF)",
    )


class Folder:
    """Fits core.ports.Engine for `folder:PATH` and paths to folders."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """What the chosen engine plans; beside that engine's own options there is `engine`, which names one.

        Raises ServingError for a folder that holds no model, and what the engine raises, its name in front.
        """
        target = model.sources[0].target
        if not target:
            raise ServingError("bad_request", "folder needs a path; write `folder:PATH/TO/MODEL` or `./MODEL`")
        return _plan(model, machine, Path(target).expanduser().absolute())


class Hub:
    """Fits core.ports.Engine for `hf:ORG/NAME[:FILE][@REVISION]`."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """As for a folder when the model is in the cache; else its download, with a choice made by its name.

        Raises ServingError as Folder does, and as hub.locate does.
        """
        name = hub.parse(model.sources[0].target)
        if name.file and "." in name.file and not name.file.lower().endswith(".gguf"):
            raise ServingError(
                "bad_request", f"{name}: of a model that is not in GGUF name no file; write hf:{name.repo}"
            )
        forced = _forced(model)
        gguf = bool(name.file) or "gguf" in name.repo.lower()
        kind: Kind = "gguf" if forced == "llamacpp" or (gguf and not forced) else "folder" if forced else "any"
        place = hub.locate(model.sources[0].target, machine, kind, model.env)
        if isinstance(place, Path):
            return _plan(model, machine, place)
        choice = _by_name(name, kind, machine, forced)
        return LaunchSpec(
            command=(),
            protocol="openai",
            slots=model.slots or 1,
            fetch=place.command,
            weigh=place.weigh,
            engine=choice.engine,
            why=f"{choice.why}, as far as its name tells: it is not fetched yet",
            faster=choice.faster,
        )


def _by_name(name: hub.HubName, kind: Kind, machine: Machine, forced: str) -> Choice:
    form: Form = "gguf" if name.file or kind == "gguf" else "checkpoint"
    try:
        return choose({form}, machine, installed(), forced, _cpu_only(machine))
    except ServingError as error:
        if error.kind != "unsupported":
            raise
        raise ServingError(
            error.kind,
            f"{name}: {error.message}. If the repository has .gguf files, name a quantisation: hf:{name.repo}:Q4_K_M",
        ) from error


def _plan(model: ModelSettings, machine: Machine, place: Path) -> LaunchSpec:
    """For a model that is here: a folder, or the .gguf file in one that was meant."""
    try:
        forms = _forms(place)
        choice = choose(forms, machine, installed(), _forced(model), _cpu_only(machine))
        target = _gguf(place, machine) if choice.engine == "llamacpp" else place
    except OSError as error:
        raise ServingError("bad_request", f"{error.filename} cannot be read: {error.strerror}") from error
    options = {name: value for name, value in model.options.items() if name != "engine"}
    chosen = msgspec.structs.replace(
        model, sources=(Source(choice.engine, str(target), model.sources[0].model),), options=options
    )
    try:
        spec = _engine(choice.engine).plan(chosen, machine)
    except ServingError as error:
        raise ServingError(
            error.kind, f"{choice.engine} was chosen ({choice.why}): {error.message}", param=error.param
        ) from error
    faster = "" if options.get("gpu_layers") else choice.faster
    return msgspec.structs.replace(spec, engine=choice.engine, why=choice.why, faster=faster)


def _cpu_only(machine: Machine) -> frozenset[str]:
    """Which of the installed engines would leave a GPU of this machine idle."""
    found = program("vllm") if machine.gpus else None
    return frozenset({"vllm"}) if found is not None and built_for(found) == "cpu" else frozenset()


def _forced(model: ModelSettings) -> str:
    named: Any = model.options.get("engine", "")
    if not isinstance(named, str):
        raise ServingError("bad_request", f"option engine: expected a name, got {named!r}", param="engine")
    return named


def _forms(place: Path) -> frozenset[Form]:
    if place.is_file() and place.suffix.lower() == ".gguf":
        return _GGUF
    gguf = _GGUF if place.is_dir() and gguf_files(place) else _NONE
    if gguf and not (place / CONFIG).is_file():
        return gguf
    embedder = read_checkpoint(place).embedder
    return gguf | (_EMBEDDER if embedder else _CHECKPOINT)


def _gguf(place: Path, machine: Machine) -> Path:
    """The file to load: the one that is there, or of several the quantisation that fits."""
    if place.is_file():
        return place
    files = gguf_files(place)
    if len(files) == 1:
        return next(iter(files))
    try:
        found = choose_file([File(path.name, size) for path, size in files.items()], machine.memory, str(place))
    except ServingError as error:
        raise ServingError(
            "bad_request",
            f"{place}: none of its {len(files)} .gguf files takes less than half of this machine's memory; "
            f"to have one nonetheless, name it, such as {min(files, key=lambda path: files[path])}",
        ) from error
    return place / found[0].path


def _engine(name: str) -> Engine:
    match name:
        case "llamacpp":
            from trunkcall.engines.llamacpp import LlamaCpp

            return LlamaCpp()
        case "vllm":
            from trunkcall.engines.vllm import Vllm

            return Vllm()
        case "sglang":
            from trunkcall.engines.sglang import Sglang

            return Sglang()
        case "tgi-server":
            from trunkcall.engines.tgi import Tgi

            return Tgi()
        case _:
            from trunkcall.engines.transformers import Transformers

            return Transformers()
