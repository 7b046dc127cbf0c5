"""One thing that `trunkcall doctor` looked at."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """What was found.

    state: fine; lacks, what could be had in addition; wrong, what has to be put right.
    """

    what: str
    state: Literal["fine", "lacks", "wrong"]
    found: str
    remedy: str = ""
