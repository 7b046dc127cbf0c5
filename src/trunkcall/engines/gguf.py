"""The head of a GGUF file: what a model is, without its weights.

Format: ggml's docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_COUNT: Final = _SCALARS[10]
_TYPE: Final = _SCALARS[4]

_TOKENS: Final = "tokenizer.ggml.tokens"
_WINDOW_EVERY: Final = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}
"""Of so many layers the last sees everything and the others a window, where the file does not tell."""

Value = int | float | bool | str | tuple["int | float | bool | str", ...]


class Head(msgspec.Struct, frozen=True):
    """A model's shape: `context` in tokens, layers, and per layer the heads whose keys and values are cached.

    key and value are the lengths of one head's vectors; active counts the parameters
    that one token passes through (of the experts, those that are used); vocabulary counts
    tokens, 0 where it stands before the shape; windows: per layer the tokens that it looks back
    to, 0 for all; empty when all layers look back to all.
    """

    architecture: str
    context: int
    layers: int
    kv_heads: tuple[int, ...]
    key: int
    value: int
    active: int
    vocabulary: int = 0
    windows: tuple[int, ...] = ()


def read_head(path: Path) -> Head:
    """Read a model file's head.

    Raises ServingError (bad_request) when the file is not a GGUF file, is damaged, of a
    version that is not known, or no model by itself; OSError when it cannot be read.
    """
    found = _read(path)
    if found.get("general.type") == "adapter":
        raise ServingError("bad_request", f"{path} is a LoRA adapter; serve its base, with it in the option lora")
    if found.get("general.architecture") == "clip":
        raise ServingError("bad_request", f"{path} is a projector; serve its model, with it as the option mmproj")
    try:
        return _head(found)
    except (KeyError, ValueError) as error:
        raise _damaged(path) from error


def read_adapter(path: Path) -> str:
    """The architecture that a LoRA adapter is for.

    Raises ServingError (bad_request) when the file is none; OSError when it cannot be read.
    """
    found = _read(path)
    if found.get("general.type") != "adapter" or found.get("adapter.type") != "lora":
        raise ServingError("bad_request", f"{path} is not a LoRA adapter; convert one with convert_lora_to_gguf.py")
    return str(found.get("general.architecture", ""))


def _damaged(path: Path) -> ServingError:
    return ServingError("bad_request", f"{path} is damaged or incomplete: its head cannot be read; fetch it again")


def _read(path: Path) -> dict[str, Value]:
    with path.open("rb") as file:
        start = file.read(24)
        if not start.startswith(MAGIC):
            raise ServingError(
                "bad_request", f"{path} is not a GGUF file; convert the model, or point to its .gguf file"
            )
        if len(start) < 24:
            raise ServingError("bad_request", f"{path} is damaged or incomplete: it ends in its head; fetch it again")
        version = _TYPE.unpack_from(start, 4)[0]
        if version not in _VERSIONS:
            raise ServingError(
                "bad_request",
                f"{path} has GGUF version {version}, which is not 2 or 3 (little-endian); convert it anew",
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _metadata(data, 24, _COUNT.unpack_from(start, 16)[0])
            except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
                raise _damaged(path) from error


def _metadata(data: mmap.mmap, at: int, count: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(count):
        key, at = _string(data, at)
        # The vocabulary comes after the shape and is long to walk through; its length is all that is of use.
        if key == _TOKENS and f"{found.get('general.architecture')}.block_count" in found:
            found[key] = int(_COUNT.unpack_from(data, at + 8)[0])
            break
        kind = _TYPE.unpack_from(data, at)[0]
        found[key], at = _value(data, at + 4, kind)
    return found


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    length = _COUNT.unpack_from(data, at)[0]
    end = at + 8 + length
    if end > len(data):
        raise IndexError(end)
    return data[at + 8 : end].decode(), end


def _value(data: mmap.mmap, at: int, kind: int) -> tuple[Value, int]:
    if kind == _STRING:
        return _string(data, at)
    if kind != _ARRAY:
        scalar = _SCALARS[kind]
        return scalar.unpack_from(data, at)[0], at + scalar.size
    kind = _TYPE.unpack_from(data, at)[0]
    count = _COUNT.unpack_from(data, at + 4)[0]
    at += 12
    if kind == _STRING:
        for _ in range(count):
            at += 8 + _COUNT.unpack_from(data, at)[0]
        return (), at
    scalar = _SCALARS[kind]
    end = at + count * scalar.size
    if end > len(data):
        raise IndexError(end)
    return tuple(row[0] for row in scalar.iter_unpack(data[at:end])), end


def _head(found: dict[str, Value]) -> Head:
    architecture = str(found["general.architecture"])

    def numbers(name: str, default: int) -> tuple[int, ...]:
        value = found.get(f"{architecture}.{name}", default)
        return tuple(int(one) for one in value) if isinstance(value, tuple) else (int(value),)

    def number(name: str, default: int = 0) -> int:
        return max(numbers(name, default), default=default)

    layers = number("block_count")
    width = number("embedding_length")
    heads = number("attention.head_count", 1) or 1
    per_layer = numbers("attention.head_count_kv", heads)
    kv_heads = per_layer if len(per_layer) == layers else per_layer[:1] * layers
    key = number("attention.key_length", width // heads)
    value = number("attention.value_length", width // heads)
    dense = 3 * width * number("feed_forward_length")
    experts = 3 * width * number("expert_feed_forward_length", number("feed_forward_length"))
    forward = experts * number("expert_used_count") or dense
    attention = 2 * width * heads * key
    # One, where nothing is known: no layer has a window.
    every = numbers("attention.sliding_window_pattern", _WINDOW_EVERY.get(architecture, 1))
    cached = sum(width * one * (key + value) for one in kv_heads)
    return Head(
        architecture=architecture,
        context=number("context_length", 4096),
        layers=layers,
        kv_heads=kv_heads,
        key=key,
        value=value,
        active=layers * (attention + forward) + cached,
        vocabulary=int(tokens) if isinstance(tokens := found.get(_TOKENS), int) else number("vocab_size"),
        windows=_windows(number("attention.sliding_window"), layers, every),
    )


def _windows(window: int, layers: int, every: tuple[int, ...]) -> tuple[int, ...]:
    """every: of so many layers the last sees everything (0: none does), or for each layer whether it has a window."""
    if not window:
        return ()
    if len(every) > 1:
        return tuple(window if every[layer % len(every)] else 0 for layer in range(layers))
    period = max(every, default=1)
    return tuple(window if not period or layer % period < period - 1 else 0 for layer in range(layers))
