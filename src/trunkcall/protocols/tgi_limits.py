"""What one TGI server lets a request ask for, and which edition's defaults it has."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Compat = Literal["0.8", "1", "2", "3"]
"""The edition whose defaults hold; what editions agree on does not depend on it."""

NEWEST: Final[Compat] = "3"

VERSIONS: Final[dict[Compat, str]] = {"0.8": "0.8.2", "1": "1.4.5", "2": "2.4.1", "3": "3.3.7"}
"""What a server of each edition calls itself in /info."""


_EDITIONS: Final[dict[str, Compat]] = {"0": "0.8", "1": "1", "2": "2"}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens are a prompt's and its answer's together in max_total_tokens; payload is in bytes."""

    max_input_tokens: int = 1024
    max_total_tokens: int = 2048
    max_stop_sequences: int = 4
    max_best_of: int = 2
    max_top_n_tokens: int = 5
    max_client_batch_size: int = 4
    max_concurrent_requests: int = 128
    payload: int = 2_000_000


def compat_of(version: str) -> Compat:
    """The edition that a server's version belongs to; the newest for what is no version."""
    return _EDITIONS.get(version.partition(".")[0], NEWEST)
