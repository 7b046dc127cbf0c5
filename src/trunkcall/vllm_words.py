"""vLLM's words for a model and the way it is served, in ours: for its old command line and for its Python class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkcall import plugins
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.core.ports import Engine

VLLM: Final = "vllm"

_DTYPES: Final = {"half": "float16", "float": "float32"}
_OWN: Final[dict[str, dict[str, str]]] = {
    "dtype": {VLLM: "dtype", "transformers": "dtype"},
    "tensor_parallel_size": {VLLM: "tensor_parallel"},
    "pipeline_parallel_size": {VLLM: "pipeline_parallel"},
    "gpu_memory_utilization": {VLLM: "memory_share"},
    "max_model_len": {VLLM: "context", "transformers": "context", "llamacpp": "context"},
    "max_num_seqs": {VLLM: "slots", "transformers": "slots", "llamacpp": "slots"},
    "seed": {VLLM: "seed", "llamacpp": "seed"},
    "quantization": {VLLM: "quantization"},
    "trust_remote_code": {VLLM: "trust_remote_code", "transformers": "trust_remote_code"},
    "lora_modules": {VLLM: "lora"},
    "chat_template": {"transformers": "template", "llamacpp": "template"},
}
"""vLLM's word -> engine -> what that engine's option is called here."""
_FLAGS: Final = frozenset(
    "block_size chat_template disable_log_stats distributed_executor_backend enforce_eager load_format "
    "max_num_batched_tokens tokenizer tokenizer_mode tokenizer_revision".split()
)
"""Words that vLLM is told as flags, because no option here stands for them."""
_IDLE: Final[dict[str, Any]] = {
    "dtype": "auto",
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "tokenizer_mode": "auto",
    "load_format": "auto",
    "trust_remote_code": False,
    "enforce_eager": False,
}
"""Values that ask for nothing."""

_CHOOSING: Final = frozenset({"hf", "folder"})
"""Schemes that look at the model before they choose an engine."""
_ENGINES: Final = {"pocket": "llamacpp"}
_SMALLEST: Final = {"context": 1, "slots": 1}
"""Options that each engine has; what is refused with them can never be loaded."""
_DOWNLOADS: Final = "download_dir"

WORDS: Final = _OWN.keys() | _FLAGS | {_DOWNLOADS}
"""What `translate` knows."""


class Translated(msgspec.Struct, frozen=True):
    """options: of the model, as its engine calls them; idle: the words that the engine has no use for."""

    options: dict[str, Any]
    idle: tuple[str, ...]


def source_of(model: str, revision: str = "") -> str:
    """The SOURCE for a model in vLLM's words: a folder, or a name on the Hugging Face hub; a SOURCE stays one.

    Raises ServingError (bad_request) for an empty name, and for a revision of what has none.
    """
    known = parse_source(model).scheme in plugins.schemes()
    if os.path.isdir(model) and not known:
        model, known = os.path.abspath(model), True
    if not known:
        return f"hf:{model}@{revision}" if revision else f"hf:{model}"
    if revision:
        raise ServingError(
            "bad_request",
            f"revision: {model} has none; only a name on the hub has one",
            param="revision",
        )
    return model


def env_of(words: Mapping[str, Any]) -> dict[str, str]:
    """What vLLM's words put in the environment of a model, whatever its engine."""
    folder = words.get(_DOWNLOADS)
    return {} if folder is None else {"HF_HUB_CACHE": os.path.abspath(os.path.expanduser(folder))}


def plan_of(model: ModelSettings, machine: Machine) -> LaunchSpec | None:
    """Which engine would serve a model here, and why, in a plan that is good for no more; None for an upstream.

    Raises ServingError when none can.
    """
    source = model.sources[0]
    if source.scheme not in plugins.names("engines"):
        return None
    if source.scheme not in _CHOOSING:
        return LaunchSpec(command=(), protocol="", slots=1, engine=_ENGINES.get(source.scheme, source.scheme))
    engine: Engine = plugins.find("engines", source.scheme)()
    named = {name: value for name, value in model.options.items() if name == "engine"}
    return engine.plan(msgspec.structs.replace(model, options={**_SMALLEST, **named}), machine)


def translate(words: Mapping[str, Any], engine: str) -> Translated:
    """vLLM's words, of WORDS, as options of an engine; those that ask for nothing, or for no option, are left out."""
    options: dict[str, Any] = {}
    flags: list[str] = []
    idle: list[str] = []
    for word, value in words.items():
        if value is None or _IDLE.get(word) == value or word == _DOWNLOADS:
            continue
        own = _OWN.get(word, {}).get(engine)
        if own is not None:
            options[own] = _DTYPES.get(value, value) if word == "dtype" else value
        elif engine == VLLM:
            flags += flag(word, value)
        else:
            idle.append(word)
    if flags:
        options["args"] = flags
    return Translated(options, tuple(idle))


def flag(word: str, value: Any) -> list[str]:
    """A word on vLLM's command line."""
    name = f"--{word.replace('_', '-')}"
    return [name] if value is True else [name, str(value)]
