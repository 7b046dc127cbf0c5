"""How an old TGI server is served: its command line becomes a listener, one model and a state directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall import config, plugins
from trunkcall.config import Listener, Settings
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings
from trunkcall.machine import look
from trunkcall.protocols.tgi import NEWEST, Limits
from trunkcall.takeover.plan import Plan
from trunkcall.takeover.tgi_asked import Asked
from trunkcall.takeover.tgi_fitting import fit, shards, token_limits
from trunkcall.takeover.tgi_flags import GONE
from trunkcall.vllm_words import VLLM, plan_of, source_of

APIS: Final = ("tgi", "tgi_launcher")
_KEY: Final = "TRUNKCALL_AS_KEY"
"""The environment variable through which a key of the command line reaches the server's settings."""
_ON_GPUS: Final = frozenset({VLLM, "transformers"})
"""Engines that use a GPU without being told."""
_GPUS: Final = re.compile(r"CUDA_VISIBLE_DEVICES|NCCL_\w+")
"""Variables of the old pages' command lines that are for the engine."""


def serve(asked: Asked, environ: Mapping[str, str]) -> Plan:
    """The plan of a server with one model, asked through TGI's API.

    Raises ServingError: bad_request for a model, limits or a number of GPUs that cannot be, unsupported for a model in
    a form that no engine reads.
    """
    machine = look(environ)
    prompt, total = token_limits(asked)
    model = _model(asked, environ)
    spec, lacking = None, ""
    try:
        spec = plan_of(model, machine)
    except ServingError as error:
        lacking = error.message
    engine = spec.engine if spec is not None else ""
    fitted = fit(asked, engine, len(machine.gpus), total)
    options = fitted.options
    notes = [*_served(asked, model, spec), *fitted.notes]
    if fitted.idle:
        flags = " ".join(asked.written[name] for name in fitted.idle)
        notes.append(f"{engine or model.sources[0]} has no use for: {flags}")
    refused = _refused(msgspec.structs.replace(model, options=options), machine) if spec is not None else ""
    if refused:
        options = {name: value for name, value in options.items() if name != "context"}
        total = asked.limits.get("max_total_tokens")
        if total is not None:
            notes.append(f"{asked.written['max_total_tokens']} {total} is more than the engine takes: {refused}")
    model = msgspec.structs.replace(model, options=options)
    secrets = {f"{_KEY}_1": asked.key} if asked.key else {}
    variable = next(iter(secrets), asked.key_variable)
    told = _options(asked, model, prompt, total) | _labels(asked, engine, machine)
    settings = Settings(
        listen=(Listener(asked.hostname, asked.port, APIS, {"tgi": told}),),
        models={model.name: model},
        pocket=False,
        cors=asked.origins,
        keys=(f"env:{variable}",) if variable else (),
        json_logs=asked.json_output,
        max_body=max(Settings().max_body, asked.payload),
        drain_timeout=float(asked.drain),
    )
    return Plan(
        settings,
        f"tgi-{asked.port}" if asked.port else "tgi",
        shared=not asked.port,
        secrets=secrets,
        notes=() if lacking else (*_gone(asked), *notes),
        lacking=lacking,
    )


def _model(asked: Asked, environ: Mapping[str, str]) -> ModelSettings:
    env = {name: value for name, value in environ.items() if _GPUS.fullmatch(name)}
    if "huggingface_hub_cache" in asked.words:
        env["HF_HUB_CACHE"] = os.path.abspath(os.path.expanduser(asked.words["huggingface_hub_cache"]))
    entry = {"source": source_of(asked.model, asked.revision), "preload": True, "env": env}
    queue = asked.limits.get("max_concurrent_requests", Limits().max_concurrent_requests)
    return config.model(re.sub(r"[\s\x00-\x1f]", "_", asked.model), entry, base=Path.cwd(), queue=queue)


def _options(asked: Asked, model: ModelSettings, prompt: int | None, total: int | None) -> dict[str, Any]:
    """The listener's, without what is so by default."""
    options: dict[str, Any] = {"model": model.name}
    if asked.model != model.name:
        options["model_id"] = asked.model
    if asked.compat != NEWEST:
        options["compat"] = asked.compat
    usual = msgspec.structs.asdict(Limits())
    limits = {name: asked.limits[name] for name in asked.limits if asked.limits[name] != usual[name]}
    limits |= {"max_input_tokens": prompt, "max_total_tokens": total}
    if asked.payload != usual["payload"]:
        limits["payload"] = asked.payload
    options |= {name: value for name, value in limits.items() if value is not None}
    if not asked.grammar:
        options["grammar"] = False
    if asked.prefill:
        options["prefill"] = True
    if asked.key or asked.key_variable:
        options["open"] = True
    return options


def _labels(asked: Asked, engine: str, machine: Machine) -> dict[str, str]:
    """What /info and a header say of the machine and of the numbers that it calculates with, where that is known."""
    labels = {"dtype": f"torch.{asked.words['dtype']}"} if "dtype" in asked.words else {}
    if machine.gpus and engine in _ON_GPUS:
        name = re.sub(r"\W+", "-", machine.gpus[0]).strip("-").lower()
        labels |= {"device": "cuda", "compute_type": f"{shards(asked, len(machine.gpus))}-{name}"}
    return labels


def _refused(model: ModelSettings, machine: Machine) -> str:
    """Why the engine does not take the context that it is asked for; empty when it does."""
    engine = plugins.find_engine(model.sources[0].scheme)
    if engine is None or "context" not in model.options:
        return ""
    try:
        engine.plan(model, machine)
    except ServingError as error:
        return error.message if error.param == "context" else ""
    return ""


def _gone(asked: Asked) -> list[str]:
    """Of each flag that has no meaning here, once for those with one reason."""
    why: dict[str, list[str]] = {}
    for name in asked.gone:
        why.setdefault(GONE[name], []).append(asked.written[name])
    return [f"{', '.join(flags)}: passed over; {reason}" for reason, flags in why.items()]


def _served(asked: Asked, model: ModelSettings, spec: LaunchSpec | None) -> list[str]:
    engine = spec.engine if spec is not None else str(model.sources[0])
    if engine == VLLM:
        return []
    why = f": {spec.why}" if spec is not None and spec.why else ""
    faster = f". Faster would be {spec.faster}" if spec is not None and spec.faster else ""
    return [f"{asked.model} is served by {engine}{why}{faster}"]
