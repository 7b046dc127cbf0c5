"""Loading a model folder with transformers as its settings say, and saying in plain words why it cannot be done."""

from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
import transformers

from trunkcall.core.errors import ServingError
from trunkcall.protocols.transformers_host import HostSettings
from trunkcall.workers.transformers_asked import Defaults
from trunkcall.workers.transformers_passes import short_of_memory
from trunkcall.workers.transformers_words import Words

_SAMPLED: Final = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
_OTHER_SHAPE: Final = re.compile(r"size mismatch|Target modules .* not found|mat1 and mat2|expanded size", re.DOTALL)
_QUOTED: Final = 400


class Loaded(msgspec.Struct, frozen=True):
    """A model in memory, ready to be asked; `device` is where its tokens go in."""

    model: Any
    tokenizer: Any
    words: Words
    defaults: Defaults
    device: str


def load(settings: HostSettings) -> Loaded:
    """The model, its adapter merged into it, and its tokenizer.

    Raises ServingError that says what the operator can do about it.
    """
    torch.set_num_threads(settings.threads)
    transformers.utils.logging.disable_progress_bar()
    device = _device(settings.device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            settings.path, trust_remote_code=settings.trust_remote_code, local_files_only=True
        )
        model = _model(settings, device)
        if settings.adapter:
            model = _adapted(model, settings.adapter)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise _explained(error, settings) from error
    model.eval()
    size = int(model.get_input_embeddings().weight.shape[0])
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        words=Words(tokenizer, size, settings.template),
        defaults=_defaults(Path(settings.path), model, tokenizer),
        device=str(model.get_input_embeddings().weight.device),
    )


def _device(asked: str) -> str:
    """Where the model goes. Raises ServingError when the asked device is not there for torch."""
    kind = asked.partition(":")[0]
    if kind == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = (
            "finds no usable GPU; check `nvidia-smi`" if built else "was built without CUDA; install a CUDA build of it"
        )
        raise ServingError("unsupported", f"option device is {asked!r}, and torch {torch.__version__} {why}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ServingError("unsupported", "option device is 'mps', and torch finds none; use `device: cpu`")
    return asked


def _model(settings: HostSettings, device: str) -> Any:
    options: dict[str, Any] = {
        "dtype": _dtype(settings.dtype, device),
        "trust_remote_code": settings.trust_remote_code,
        "local_files_only": True,
    }
    if settings.bits is not None:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=settings.bits == 8, load_in_4bit=settings.bits == 4
        )
        options["device_map"] = settings.device_map or device
    elif settings.device_map:
        options["device_map"] = settings.device_map
    if settings.max_memory is not None:
        options["max_memory"] = _rooms(settings.max_memory)
    kind = transformers.AutoModelForCausalLM if settings.generates else transformers.AutoModel
    model = kind.from_pretrained(settings.path, **options)
    return model if "device_map" in options else model.to(device)


def _rooms(most: int) -> dict[int | str, int]:
    """Bytes by device, in accelerate's names: on a GPU no more than `most`, in the machine's memory what is free."""
    found: dict[int | str, int] = importlib.import_module("accelerate.utils").get_max_memory()
    return {place: min(most, room) if isinstance(place, int) else room for place, room in found.items()}


def _dtype(asked: str, device: str) -> Any:
    if asked != "auto":
        return getattr(torch, asked)
    # Halves are slower than floats on CPUs without units for them, and llama.cpp calculates in floats there too.
    return torch.float32 if device == "cpu" else "auto"


def _adapted(model: Any, adapter: str) -> Any:
    """The model with a PEFT adapter merged into its weights, so that it costs nothing per token."""
    peft = importlib.import_module("peft")
    try:
        with warnings.catch_warnings():
            # peft asks models for a name that transformers is about to give up, which is nothing to an operator.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (RuntimeError, ValueError, KeyError) as error:
        if not _OTHER_SHAPE.search(str(error)):
            raise
        base = _json(Path(adapter) / "adapter_config.json").get("base_model_name_or_path")
        raise ServingError(
            "bad_request",
            f"the adapter {adapter} does not fit this model; it was made for {base}. Serve that one, or take another",
            detail=str(error),
        ) from error


def _explained(error: Exception, settings: HostSettings) -> ServingError:
    """Why the model cannot be loaded, for the operator."""
    text = str(error)
    if short_of_memory(error):
        return ServingError(
            "out_of_memory",
            f"not enough memory to load {settings.path}; take a smaller model, `dtype: bfloat16`, or bits: 8 on a GPU",
            detail=text,
        )
    if "trust_remote_code" in text:
        return ServingError(
            "unsupported",
            f"{settings.path} brings Python code of its own that must run to load it; "
            "when you trust its authors, start it with the option trust_remote_code: true",
        )
    if "does not recognize this architecture" in text or "Unrecognized" in text or "model type" in text:
        kind = _json(Path(settings.path) / "config.json").get("model_type")
        return ServingError(
            "unsupported",
            f"transformers {transformers.__version__} cannot load a model of type {kind!r}"
            f"{' for text generation' if settings.generates else ''}; a newer one may: pip install -U transformers",
            detail=text,
        )
    return ServingError("bad_request", f"{settings.path} cannot be loaded: {text[:_QUOTED]}", detail=text)


def _defaults(folder: Path, model: Any, tokenizer: Any) -> Defaults:
    """The rules of generation_config.json, the file itself: what is not in it is not the authors' choice."""
    told = _json(folder / "generation_config.json")
    rules = {name: told[name] for name in _SAMPLED if isinstance(told.get(name), int | float)}
    if told.get("do_sample") is False:
        rules["temperature"] = 0
    ends: set[int] = set()
    for found in (told.get("eos_token_id"), model.config.get_text_config().eos_token_id, tokenizer.eos_token_id):
        if isinstance(found, int):
            ends.add(found)
        elif found is not None:
            ends.update(found)
    return msgspec.convert({**rules, "ends": sorted(ends)}, Defaults, strict=False)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}
