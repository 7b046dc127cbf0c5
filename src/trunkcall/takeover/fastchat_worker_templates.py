"""Which conversation template a model without a chat template of its own has in FastChat, told by its path."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Source
from trunkcall.engines import hub

OTHERWISE: Final = "one_shot"
"""FastChat's for paths that it does not know."""

_UNTEMPLATED: Final = {
    "vicuna": "vicuna_v1.1",
    "longchat": "vicuna_v1.1",
    "wizardlm": "vicuna_v1.1",
    "alpaca": "alpaca",
}
"""Part of a path -> template, for models from before chat templates."""
_BY_PATH: Final = {
    **_UNTEMPLATED,
    "llama-2": "llama-2",
    "llama-3": "llama-3",
    "mistral": "mistral",
    "mixtral": "mistral",
    "zephyr": "zephyr",
    "gemma": "gemma",
    "qwen": "chatml",
    "orca": "orca",
}
_FILES: Final = ("chat_template.jinja", "chat_template.json")
_GGUF_KEY: Final = b"tokenizer.chat_template"
_GGUF_HEAD: Final = 64 * 2**20
"""Bytes in which the head of a GGUF file ends, its vocabulary included."""


class _TokenizerConfig(msgspec.Struct):
    chat_template: Any = None


def usual_template(source: Source, path: str) -> str:
    """The name of a template; empty where the model's own chat template does better.

    path: as FastChat was told it.
    """
    own = _has_own(source)
    if own:
        return ""
    table = _UNTEMPLATED if own is None else _BY_PATH
    found = next((name for part, name in table.items() if part in path.lower()), "")
    return found or ("" if own is None else OTHERWISE)


def _has_own(source: Source) -> bool | None:
    """Whether a model has a chat template; None where that cannot be seen from here."""
    match source.scheme:
        case "folder" | "transformers" | "vllm" | "sglang" | "llamacpp":
            place = Path(source.target).expanduser()
        case "hf":
            try:
                name = hub.parse(source.target)
            except ServingError:
                return None
            cached = hub.cached(name.repo, name.file, name.revision)
            if cached is None:
                return None
            place = cached
        case _:
            return None
    if place.is_dir():
        return _in_folder(place)
    return _in_gguf(place) if place.is_file() else None


def _in_folder(folder: Path) -> bool | None:
    if any((folder / name).is_file() for name in _FILES):
        return True
    try:
        if msgspec.json.decode((folder / "tokenizer_config.json").read_bytes(), type=_TokenizerConfig).chat_template:
            return True
    except (OSError, msgspec.DecodeError):
        pass
    files = list(folder.glob("*.gguf"))
    return _in_gguf(files[0]) if files else False


def _in_gguf(file: Path) -> bool | None:
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(_GGUF_KEY, 0, _GGUF_HEAD) >= 0
    except (OSError, ValueError):
        return None
