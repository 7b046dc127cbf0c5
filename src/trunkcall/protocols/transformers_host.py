"""What a transformers host is told at its start, as the JSON argument of its command."""

from __future__ import annotations

from typing import Literal

import msgspec

Pooling = Literal["mean", "cls", "last"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Bits = Literal[4, 8]


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What trunkcall.workers.transformers is told: one model to load.

    path: a folder; context: tokens per slot; batch: prompt tokens per step; device: `auto`, `cpu`, `cuda`, `cuda:1`,
    `mps`; device_map: accelerate's, empty for one device; max_memory: bytes on each GPU, only with a device_map; bits:
    of quantised weights; generates: it has a language model head that answers are made with; pooling: None for what
    the folder says; grace in seconds.
    """

    name: str
    path: str
    context: int
    slots: int
    threads: int
    batch: int
    device: str
    dtype: Dtype
    device_map: str
    max_memory: int | None
    bits: Bits | None
    trust_remote_code: bool
    adapter: str
    template: str
    generates: bool
    embeddings: bool
    pooling: Pooling | None
    grace: float
