"""A call as an api hands it over: what was asked, and how its answer and its failures are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from trunkcall.control.dispatch import Lease
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Queue
from trunkcall.core.ports import Embeds, Emitter, Generates, Response
from trunkcall.core.requests import Embed, Generate, Vectors, Wire
from trunkcall.core.trace import Operation

_RAW_PROMPTS: Final = ("/completions", "/generate", "_stream")
"""How the paths end whose callers have rendered the prompt themselves."""


class GenerateCall(msgspec.Struct, frozen=True):
    """A generation as an api hands it over.

    read: the whole request, decoded only when a replica does not speak the wire's protocol;
    emitter: how events become this protocol's answer; comment: how a stream says that it waits,
    None where it cannot; content_type: of a forwarded answer, None for the upstream's own;
    lease: what the caller has reserved before, released here; prepare: what the request becomes
    for the replica that will answer, where that depends on the replica; accept: told which fields the
    replica drops, raises ServingError where no answer is better than one without them; peek: the same as `read`
    for whoever chooses the replica, where reading it has effects; most: gives the
    completion tokens of all its answers together at most, or None where the caller sets no limit; None where only
    `read` tells it; prompt_tokens: about how many the prompt has, None where that was not looked at.
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
    peek: Callable[[], Generate] | None = None
    most: Callable[[], int | None] | None = None
    prompt_tokens: int | None = None

    @property
    def operation(self) -> Operation:
        """What it is by OpenTelemetry's conventions."""
        path = self.wire.path
        chat = path.endswith("/chat/completions") or not path.endswith(_RAW_PROMPTS)
        return "chat" if chat else "text_completion"


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

    @property
    def operation(self) -> Operation:
        """What it is by OpenTelemetry's conventions."""
        return "embeddings"


Call = GenerateCall | EmbedCall
