"""A call as an api hands it over: what was asked, and how its answer and its failures are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from trunkcall.control.dispatch import Lease
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Queue
from trunkcall.core.ports import Embeds, Emitter, Generates, Response
from trunkcall.core.requests import Embed, Generate, Vectors, Wire


class GenerateCall(msgspec.Struct, frozen=True):
    """A generation as an api hands it over.

    read: the whole request, decoded only when a replica does not speak the wire's protocol;
    emitter: how events become this protocol's answer; comment: how a stream says that it waits,
    None where it cannot; content_type: of a forwarded answer, None for the upstream's own;
    lease: what the caller has reserved before, released here; prepare: what the request becomes
    for the replica that will answer, where that depends on the replica; accept: told which fields the
    replica drops, raises ServingError where no answer is better than one without them.
    """

    model: str
    stream: bool
    wire: Wire
    read: Callable[[], Generate]
    emitter: Callable[[Generate], Emitter]
    failure: Callable[[ServingError], Response]
    fault: Callable[[ServingError], bytes]
    comment: Callable[[Queue], bytes] | None = None
    content_type: bytes | None = None
    strict: bool = False
    lease: Lease | None = None
    prepare: Callable[[Generate, Generates], Awaitable[Generate]] | None = None
    accept: Callable[[tuple[str, ...]], None] | None = None


class EmbedCall(msgspec.Struct, frozen=True):
    """A request for vectors as an api hands it over.

    prepare: what the request becomes for the replica that will answer, where that depends on the replica.
    """

    model: str
    wire: Wire
    read: Callable[[], Embed]
    emit: Callable[[Vectors, Embed], bytes]
    failure: Callable[[ServingError], Response]
    strict: bool = False
    stream: bool = False
    lease: None = None
    prepare: Callable[[Embed, Embeds], Awaitable[Embed]] | None = None


Call = GenerateCall | EmbedCall
