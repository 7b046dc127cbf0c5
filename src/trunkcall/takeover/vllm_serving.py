"""How an old vLLM server is served: its command line becomes a listener, one model and a state directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall import config
from trunkcall.config import Listener, Settings
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, ModelSettings
from trunkcall.machine import look
from trunkcall.takeover.plan import Plan
from trunkcall.takeover.vllm_flags import GONE, Asked
from trunkcall.vllm_words import VLLM, env_of, plan_of, source_of, translate

_KEY: Final = "TRUNKCALL_AS_KEY"
"""The environment variable through which a key of the command line reaches the server's settings."""
_VLLM_KEY: Final = "VLLM_API_KEY"
"""vLLM's own."""


def serve(asked: Asked) -> Plan:
    """The plan of a server with one model, asked through OpenAI's API.

    Raises ServingError (bad_request) for a model or a name that cannot be one.
    """
    name, *aliases = asked.names
    source = source_of(asked.model, asked.revision)
    entry = {"source": source, "preload": True, "env": env_of(asked.words)}
    model = config.model(name, entry, base=Path.cwd())
    spec, lacking = None, ""
    try:
        spec = plan_of(model, look())
    except ServingError as error:
        lacking = error.message
    engine = spec.engine if spec is not None else ""
    translated = translate(asked.words, engine)
    options = dict(translated.options)
    if engine == VLLM and asked.extra:
        options["args"] = [*options.get("args", ()), *asked.extra]
    model = msgspec.structs.replace(model, options=options)
    keys = {f"{_KEY}_{number}": secret for number, secret in enumerate(asked.keys, start=1)}
    references = tuple(f"env:{variable}" for variable in keys)
    if not references and os.environ.get(_VLLM_KEY):
        references = (f"env:{_VLLM_KEY}",)
    settings = Settings(
        listen=(
            Listener(
                asked.host,
                asked.port,
                ("openai", "vllm"),
                _options(name, aliases),
                certificate=asked.certificate,
                private_key=asked.private_key,
            ),
        ),
        models={name: model},
        pocket=False,
        cors=asked.origins,
        keys=references,
        log_level=asked.log_level,
    )
    return Plan(
        settings,
        f"vllm-{asked.port}" if asked.port else "vllm",
        shared=not asked.port,
        secrets=keys,
        notes=() if lacking else _notes(asked, model, spec, translated.idle),
        lacking=lacking,
    )


def _options(name: str, aliases: list[str]) -> dict[str, dict[str, Any]]:
    return {"openai": {"aliases": dict.fromkeys(aliases, name)}} if aliases else {}


def _notes(asked: Asked, model: ModelSettings, spec: LaunchSpec | None, idle: tuple[str, ...]) -> tuple[str, ...]:
    notes = [f"{_flag(name)} is gone: {GONE[name]}" for name in asked.gone]
    if asked.narrowed:
        notes.append(f"{', '.join(asked.narrowed)}: a path answers its own methods, with any header and no cookies")
    engine = spec.engine if spec is not None else str(model.sources[0])
    if engine != VLLM:
        why = f": {spec.why}" if spec is not None and spec.why else ""
        faster = f". Faster would be {spec.faster}" if spec is not None and spec.faster else ""
        notes.append(f"{asked.model} is served by {engine}, not by vLLM{why}{faster}")
        without = [*map(_flag, idle), *asked.extra]
        if without:
            notes.append(f"{engine} has no use for: {' '.join(without)}")
    return tuple(notes)


def _flag(word: str) -> str:
    return f"--{word.replace('_', '-')}"
