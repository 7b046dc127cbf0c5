"""What a download from the Hub is told, as the JSON argument of its command; and sizes as people read them."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["any", "gguf", "folder"]
"""A .gguf file, a folder of weights with their config, or whichever the repository has."""


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What trunkcall.workers.fetch is told: one model to have in the cache.

    file: its path in the repository, the name of a quantisation (`Q4_K_M`), or empty for what fits;
    memory: bytes of the machine that shall serve it; cache: the folder of the Hub's cache.
    """

    repo: str
    revision: str = "main"
    file: str = ""
    kind: Kind = "any"
    memory: int
    cache: str


class Weighed(msgspec.Struct, frozen=True):
    """What a download would bring, in bytes; here: what of it is here already; weights: those of its weight files."""

    size: int
    here: int
    weights: int


def amount(size: float) -> str:
    """Bytes as the Hub shows them, in powers of 1000: `4.7 GB`."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size:.0f} bytes"
