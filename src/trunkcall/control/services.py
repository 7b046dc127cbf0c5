"""What an api is built from: the parts of this process that it may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.core.meter import Counters
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Api


class Catalogue(msgspec.Struct, frozen=True):
    """What administration can do, given by the composition root.

    add: make a model callable and remember it; remove: the reverse, after a drain; usage:
    rows of the ledger, up to this second. They raise ServingError.
    """

    add: Callable[[str, str], Awaitable[ModelView]]
    remove: Callable[[str], Awaitable[None]]
    usage: Callable[[str | None, tuple[str, ...]], list[dict[str, Any]]]


class Services(msgspec.Struct, frozen=True):
    """One process's parts; rows_lost: journal rows that a full disk has cost."""

    serving: Serving
    dispatch: Dispatch
    counters: Counters
    catalogue: Catalogue
    rows_lost: Callable[[], int]


BuildApi = Callable[[Services], Api]
"""The type of an entry in trunkcall.apis."""
