"""Trunkcall's own headers: which fields were not honoured, and whether the caller minds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from trunkcall.core.ports import Header

STRICT: Final = b"x-trunkcall-strict"
DROPPED: Final = b"x-trunkcall-dropped"

_YES: Final = frozenset({b"1", b"true", b"yes"})
_UNFIT: Final = re.compile(r"[^!-+\--~]")


def is_strict(value: bytes | None) -> bool:
    """Whether the value of the strict header asks for an error where a field cannot be honoured."""
    return value is not None and value.lower() in _YES


def dropped_header(names: Iterable[str]) -> Header:
    """The header that names dropped fields; what cannot stand in a header, or would part names, becomes `?`."""
    return DROPPED, ", ".join(_UNFIT.sub("?", name) for name in names).encode()


def read_dropped(value: bytes) -> tuple[str, ...]:
    """The names in that header."""
    return tuple(word.strip() for word in value.decode("latin-1").split(","))
