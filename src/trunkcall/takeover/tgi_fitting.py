"""What TGI's words for a model and its engine are in the words of the engine that serves it here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.protocols.tgi import Compat
from trunkcall.takeover.tgi_asked import Asked
from trunkcall.vllm_words import VLLM, translate

_TRANSFORMERS: Final = "transformers"
_USUAL: Final[Mapping[Compat, tuple[int, int]]] = {"0.8": (1000, 1512), "1": (1024, 2048)}
"""Tokens of a prompt, and of both, where nothing was said; later editions look at the model."""
_WORDS: Final = {
    "dtype": "dtype",
    "trust_remote_code": "trust_remote_code",
    "max_batch_size": "max_num_seqs",
    "max_batch_prefill_tokens": "max_num_batched_tokens",
}
"""The launcher's word -> vLLM's, where the value is the same."""
_EIGHT: Final = frozenset({"bitsandbytes", "eetq"})
_FOUR: Final = frozenset({"bitsandbytes-nf4", "bitsandbytes-fp4"})
_CACHES: Final = {"fp8_e4m3fn": "fp8_e4m3", "fp8_e5m2": "fp8_e5m2"}


class Fitted(msgspec.Struct, frozen=True):
    """options: of the model, as its engine calls them; idle: the launcher's words that the engine has no use for."""

    options: dict[str, Any]
    idle: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def shards(asked: Asked, gpus: int) -> int:
    """Over how many GPUs the model is spread; gpus: those that are visible, of which all are taken by default.

    Raises ServingError (bad_request) for flags that contradict each other, or the machine.
    """
    spread: bool | None = asked.words.get("sharded")
    wanted: int | None = asked.words.get("num_shard")
    flag, number = asked.written.get("sharded", ""), asked.written.get("num_shard", "")
    if spread is False and wanted not in (None, 1):
        raise ServingError("bad_request", f"{flag} false and {number} {wanted} contradict each other; leave one out")
    if spread is False:
        return 1
    if spread and wanted == 1:
        raise ServingError("bad_request", f"{flag} true and {number} 1 contradict each other; leave one out")
    if gpus and wanted is not None and wanted > gpus:
        raise ServingError(
            "bad_request",
            f"{number}: {wanted} GPUs are asked for, and {gpus} can be seen; CUDA_VISIBLE_DEVICES names them",
        )
    if spread and wanted is None and gpus == 1:
        raise ServingError("bad_request", f"{flag} true: one GPU can be seen, and two at least are needed")
    return wanted or max(1, gpus)


def token_limits(asked: Asked) -> tuple[int | None, int | None]:
    """Most tokens of a prompt, and of prompt and answer; None for what the model says.

    Raises ServingError (bad_request) for a prompt that would leave no room for an answer.
    """
    prompt, total = asked.limits.get("max_input_tokens"), asked.limits.get("max_total_tokens")
    usual = _USUAL.get(asked.compat)
    if total is None and usual is not None:
        total = usual[1]
    if prompt is None and total is not None:
        prompt = min(total - 1, usual[0]) if usual is not None else total - 1
    if total is not None and prompt is not None and not 0 < prompt < total:
        flag = asked.written.get("max_input_tokens", "--max-input-tokens")
        raise ServingError("bad_request", f"{flag} {prompt} leaves no room: --max-total-tokens, {total}, must be more")
    return prompt, total


def fit(asked: Asked, engine: str, gpus: int, context: int | None) -> Fitted:
    """The model's options for an engine; gpus: that can be seen; context: tokens of one request, None for the model's.

    Raises ServingError (bad_request, unsupported) for what no engine can do, or this machine cannot.
    """
    given = asked.words
    words: dict[str, Any] = {theirs: given[ours] for ours, theirs in _WORDS.items() if ours in given}
    origins = {theirs: ours for ours, theirs in _WORDS.items()}

    def say(word: str, value: Any, origin: str) -> None:
        words[word], origins[word] = value, origin

    say("tensor_parallel_size", shards(asked, gpus), "num_shard" if "num_shard" in given else "sharded")
    if given.get("cuda_memory_fraction", 1.0) < 1.0:
        say("gpu_memory_utilization", given["cuda_memory_fraction"], "cuda_memory_fraction")
    if given.get("cuda_graphs") == "0":
        say("enforce_eager", True, "cuda_graphs")
    if "tokenizer_config_path" in given:
        say("chat_template", _template(given["tokenizer_config_path"]), "tokenizer_config_path")
    stretched = given.get("rope_factor", 1.0) > 1.0 and engine == VLLM
    if context is not None and not stretched:
        say("max_model_len", context, "max_total_tokens")
    packed, notes = _packed(asked, engine, gpus)
    own, args, idle = _own(asked, engine)
    if stretched and context is not None:
        # The option would be held against the length that the model was made for.
        args += ["--max-model-len", str(context)]
    translated = translate(words, engine)
    without = translated.idle
    options = {**translated.options, **packed, **own}
    if args:
        options["args"] = [*translated.options.get("args", ()), *args]
    if engine == _TRANSFORMERS and gpus and words["tensor_parallel_size"] > 1:
        options["device_map"] = "auto"
        without = tuple(word for word in without if word != "tensor_parallel_size")
    unused = [origins[word] for word in without if origins[word] in asked.written]
    if given.get("sharded") and "sharded" not in unused and not (engine == VLLM or "device_map" in options):
        unused.append("sharded")
    return Fitted(options, (*unused, *idle), notes)


def _packed(asked: Asked, engine: str, gpus: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Options for weights that are packed while they are loaded; a packed checkpoint says itself how it is read."""
    kind: str = asked.words.get("quantize", "")
    said = f"{asked.written.get('quantize', '')} {kind}"
    if kind == "exl2":
        raise ServingError("unsupported", f"{said}: no engine here reads EXL2; take the model as GGUF, GPTQ or AWQ")
    if not kind or kind not in _EIGHT | _FOUR | {"fp8"}:
        return {}, ()
    if engine == VLLM:
        if kind in _EIGHT:
            return {"quantization": "fp8"}, (f"{said}: vLLM holds the weights as 8-bit floats",)
        if kind in _FOUR:
            note = (f"{said}: vLLM packs them as nf4",) if kind.endswith("fp4") else ()
            return {"quantization": "bitsandbytes"}, note
        return {"quantization": kind}, ()
    if engine == _TRANSFORMERS and gpus and kind != "fp8":
        return {"load_in_8bit" if kind in _EIGHT else "load_in_4bit": True}, ()
    return {}, (f"{said} is passed over: {engine or 'what serves it'} takes the weights as they are",)


def _own(asked: Asked, engine: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """Options that stand for no word of vLLM's, words for its command line, and what stands for nothing."""
    given = asked.words
    asks = [name for name in ("kv_cache_dtype", "lora_adapters") if given.get(name)]
    if given.get("rope_factor", 1.0) > 1.0:
        asks += [name for name in ("rope_scaling", "rope_factor") if name in given]
    if engine != VLLM:
        return {}, [], asks
    options: dict[str, Any] = {}
    args: list[str] = []
    if "kv_cache_dtype" in asks:
        args += ["--kv-cache-dtype", _CACHES[given["kv_cache_dtype"]]]
    if "rope_factor" in asks:
        scaling = {"rope_type": given.get("rope_scaling", "linear"), "factor": given["rope_factor"]}
        args += ["--hf-overrides", msgspec.json.encode({"rope_scaling": scaling}).decode()]
    if "lora_adapters" in asks:
        options["lora"] = _adapters(given["lora_adapters"], asked.written["lora_adapters"])
    return options, args, []


def _adapters(text: str, flag: str) -> dict[str, str]:
    """Name -> folder or name on the Hub, of `NAME=ADAPTER` and `ADAPTER` between commas."""
    found: dict[str, str] = {}
    for item in (word.strip() for word in text.split(",")):
        name, equals, place = item.partition("=")
        if not name or (equals and not place):
            raise ServingError("bad_request", f"{flag}: {item!r} is not an adapter; write NAME=FOLDER or ORG/NAME")
        found[name] = place or name
    return found


class _Tokenizer(msgspec.Struct):
    chat_template: str | list[dict[str, str]] = ""


def _template(path: str) -> str:
    """The chat template of a tokenizer_config.json."""
    try:
        found = msgspec.json.decode(Path(os.path.expanduser(path)).read_bytes(), type=_Tokenizer).chat_template
    except (OSError, msgspec.DecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ServingError("bad_request", f"--tokenizer-config-path {path} cannot be read: {reason}") from error
    if not isinstance(found, str):
        found = next((one.get("template", "") for one in found if one.get("name") == "default"), "")
    if not found:
        raise ServingError("bad_request", f"--tokenizer-config-path {path}: it has no chat_template")
    return found
