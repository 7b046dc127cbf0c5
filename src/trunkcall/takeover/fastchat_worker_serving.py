"""How an old FastChat worker is served: its models with their engines, a listener and a state directory."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall import config
from trunkcall.config import Listener, Settings
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings
from trunkcall.machine import look
from trunkcall.protocols.fastchat import named
from trunkcall.takeover.fastchat_worker_flags import Asked
from trunkcall.takeover.fastchat_worker_templates import usual_template
from trunkcall.takeover.plan import Plan
from trunkcall.vllm_words import VLLM, plan_of, source_of, translate

_API: Final = "fastchat_worker"
_ENDLESS: Final = 1_000_000
"""Calls that may wait: FastChat's workers set no limit."""
_OURS: Final = frozenset({"llamacpp", "transformers"})
_AT_ONCE: Final = 32
"""Calls answered at once by engines of ours, which set memory aside for each; more of them wait longer."""
_MAIN: Final = "main"
_MOST_OF_A_GPU: Final = 0.9
"""What vLLM takes when it is not told; asked for all of it, it finds that its own context is there already."""
_OF_CHECKPOINTS: Final = frozenset({VLLM, "transformers"})


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a command line names it.

    path: a folder, a .gguf file, a name on the hub, or another SOURCE; names: the first is the model's here; template:
    the name that the command line gives; words: in those of vllm_words; own: options by engine; instead: the engine
    that serves it where vLLM or transformers would; flags: as written, by the word or the option that each becomes;
    extra: flags that are not known here, for extra_of, an engine; gpu_bytes: most memory of each GPU; truncates: texts
    to embed that are too long are cut.
    """

    path: str
    names: tuple[str, ...]
    template: str = ""
    revision: str = ""
    words: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    instead: str = ""
    flags: dict[str, str] = {}
    extra: tuple[str, ...] = ()
    extra_of: str = VLLM
    env: dict[str, str] = {}
    gpu_bytes: int | None = None
    truncates: bool = False


def serve(program: str, asked: Asked, models: Sequence[Loaded], notes: Sequence[str] = ()) -> Plan:
    """The plan of a server that is one worker; program: `model-worker` for example.

    Raises ServingError (bad_request) for a model, a name or a template that cannot be one.
    """
    names: dict[str, str] = {}
    made: dict[str, ModelSettings] = {}
    templates: dict[str, str] = {}
    said = list(notes)
    lacking = ""
    for loaded in models:
        name = loaded.names[0]
        twice = next((one for one in loaded.names if one in names), None)
        if twice is not None:
            raise ServingError("bad_request", f"--model-names: {twice!r} is the name of two models; give each its own")
        names |= dict.fromkeys(loaded.names, name)
        made[name], notes_of_it, lacks = _model(loaded, asked)
        said += notes_of_it
        lacking = lacking or lacks
        template = loaded.template or usual_template(made[name].sources[0], loaded.path)
        if template:
            named(template)
            templates[name] = template
    told: dict[str, Any] = {
        "names": names,
        "controllers": list(asked.controllers) or None,
        "address": asked.address or None,
        "multimodal": asked.multimodal or None,
        "templates": templates or None,
        "truncate": [loaded.names[0] for loaded in models if loaded.truncates] or None,
        "interval": asked.interval,
        "beat": asked.beat,
        "seed": asked.seed,
    }
    options = {key: value for key, value in told.items() if value is not None}
    listener = Listener(asked.host, asked.port, (_API,), {_API: options})
    if asked.certificate:
        listener = msgspec.structs.replace(listener, certificate=asked.certificate, private_key=asked.key)
    settings = Settings(listen=(listener,), models=made, pocket=False, log_level="debug" if asked.debug else "info")
    home = f"fastchat-{program}"
    return Plan(
        settings,
        f"{home}-{asked.port}" if asked.port else home,
        shared=not asked.port,
        notes=() if lacking else tuple(said),
        lacking=lacking,
    )


def _model(loaded: Loaded, asked: Asked) -> tuple[ModelSettings, list[str], str]:
    """The model, what to say of it, and why it cannot be served."""
    revision = "" if loaded.revision == _MAIN or Path(loaded.path).expanduser().exists() else loaded.revision
    entry = {
        "source": source_of(loaded.path, revision),
        "preload": True,
        "env": loaded.env,
        "slots": asked.limit,
    }
    model = config.model(loaded.names[0], entry, base=Path.cwd(), queue=_ENDLESS)
    machine = look()
    spec, lacking = None, ""
    try:
        spec = plan_of(model, machine)
        if loaded.instead and spec is not None and spec.engine in _OF_CHECKPOINTS - {loaded.instead}:
            model = msgspec.structs.replace(model, options={"engine": loaded.instead})
            spec = plan_of(model, machine)
    except ServingError as error:
        lacking = error.message
    engine = spec.engine if spec is not None else ""
    translated = translate(loaded.words, engine)
    own = _own(loaded, engine, machine)
    options = {**model.options, **translated.options, **own}
    if engine == loaded.extra_of and loaded.extra:
        options["args"] = [*options.get("args", ()), *loaded.extra]
    slots = min(model.slots, _AT_ONCE) if model.slots and engine in _OURS else model.slots
    model = msgspec.structs.replace(model, options=options, slots=slots)
    return model, _notes(loaded, engine, spec, {*loaded.words} - {*translated.idle} | own.keys()), lacking


def _own(loaded: Loaded, engine: str, machine: Machine) -> dict[str, Any]:
    """An engine's options; for vLLM a limit in bytes is a share of the smallest GPU's memory, where that is known."""
    own = dict(loaded.own.get(engine, {}))
    if engine == VLLM and loaded.gpu_bytes is not None and machine.gpu_memory:
        share = loaded.gpu_bytes / min(machine.gpu_memory)
        own["memory_share"] = max(0.001, min(_MOST_OF_A_GPU, int(share * 1000) / 1000))
    return own


def _notes(loaded: Loaded, engine: str, spec: LaunchSpec | None, used: Set[str]) -> list[str]:
    why = f": {spec.why}" if spec is not None and spec.why else ""
    faster = f". Faster would be {spec.faster}" if spec is not None and spec.faster else ""
    notes = [f"{loaded.path} is served by {engine}{why}{faster}"] if why else []
    if loaded.gpu_bytes is not None and "memory_share" in used:
        used = {*used, "max_memory"}
    without = [flag for word, flag in loaded.flags.items() if word not in used]
    if engine != loaded.extra_of:
        without += loaded.extra
    if without:
        notes.append(f"{engine or loaded.path} has no use for: {' '.join(without)}")
    return notes
