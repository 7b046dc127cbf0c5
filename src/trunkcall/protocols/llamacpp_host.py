"""What a llama.cpp host is told at its start, as the JSON argument of its command."""

from __future__ import annotations

from typing import Literal

import msgspec

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
Pooling = Literal["mean", "cls", "last"]


class Lora(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An adapter and how strongly it counts at first; 0 loads it for later."""

    path: str
    scale: float = 1.0


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What trunkcall.workers.llamacpp is told: one model to load.

    context and batch in tokens (context per slot), grace in seconds; draft: a small model that proposes
    draft_tokens tokens at a time, empty for none.
    """

    name: str
    path: str
    context: int
    slots: int
    threads: int
    batch: int
    gpu_layers: int
    cache_ram_mib: int
    kv: CacheType
    template: str
    embeddings: bool
    pooling: Pooling
    seed: int | None
    mmproj: str
    lora: tuple[Lora, ...]
    draft: str
    draft_tokens: int
    grace: float
