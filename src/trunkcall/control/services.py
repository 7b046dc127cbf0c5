"""What an api is built from: the parts of this process that it may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.news import News
from trunkcall.control.operations import Keys, Models, Records, Reloaded
from trunkcall.control.registry import Registry
from trunkcall.core.meter import Counters
from trunkcall.core.models import Machine
from trunkcall.core.ports import Api, Exchange


class Operations(msgspec.Struct, frozen=True):
    """What administration can do, given by the composition root.

    settings: as `trunkcall config show`, with origins; reload: read the file again and apply it, ServingError when it
    is not valid, which changes nothing; machine: looks at it, for some seconds at worst.
    """

    models: Models
    keys: Keys
    records: Records
    news: News
    settings: Callable[[], dict[str, Any]]
    reload: Callable[[], Awaitable[Reloaded]]
    machine: Callable[[], Machine]


class Services(msgspec.Struct, frozen=True):
    """One process's parts, as one listener's apis may use them.

    condition: how the process does by now; may_register: raises ServingError
    (forbidden) for a caller whose workers are not wanted on this listener; stop: end the server
    in order; answer: answers an exchange that came inside another one as this listener would have; apis: what the
    listener serves, by name.
    """

    serving: Serving
    dispatch: Dispatch
    registry: Registry
    counters: Counters
    operations: Operations
    condition: Callable[[], Condition]
    may_register: Callable[[Exchange], None]
    stop: Callable[[], None]
    answer: Callable[[Exchange], Awaitable[None]]
    apis: tuple[str, ...] = ()


BuildApi = Callable[..., Api]
"""The type of an entry in trunkcall.apis: called with Services; an api class that has `Options`, a
struct, is called with Services and the listener's options in that shape."""
