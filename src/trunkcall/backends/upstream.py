"""What calls to all upstreams share: their limits, and which failures leave no doubt that no work has begun."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Annotated, Final, NoReturn

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.net.client import Exchanged, Incoming, Timeouts

Seconds = Annotated[float, msgspec.Meta(ge=0)]

PROBE: Final = Timeouts(connect=2.0, first_byte=5.0, idle=5.0, whole=10.0)
"""The limits of a question whether the upstream is well."""
PROBED_BYTES: Final = 4 << 20
"""Most bytes of its answer: a long list of models; what is asked may be anybody's server."""
OF_A_KEY: Final = frozenset({401, 403})
"""Statuses of who wants a key, or another one."""


class UpstreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits among a model's `options`; in seconds, 0 is no limit."""

    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 600.0
    idle_timeout: Seconds = 120.0
    whole_timeout: Seconds = 0.0

    @property
    def timeouts(self) -> Timeouts:
        """The four limits as the client takes them."""
        return Timeouts(
            self.connect_timeout or None,
            self.first_byte_timeout or None,
            self.idle_timeout or None,
            self.whole_timeout or None,
        )


async def joined(pieces: AsyncIterable[bytes]) -> bytes:
    """All that is still to come, as one."""
    return b"".join([piece async for piece in pieces])


async def entered(sent: Exchanged) -> Incoming:
    """The answer's head; `unreachable` when it failed before a byte was seen, so that the work cannot have begun."""
    try:
        return await sent.__aenter__()
    except ServingError as error:
        fail(sent, error)


def fail(sent: Exchanged, error: ServingError) -> NoReturn:
    """Raise what a request failed with before its answer's head: `unreachable` where nothing was seen of one."""
    if error.kind in ("upstream_error", "draining") and sent.zero_bytes:
        raise ServingError("unreachable", error.message, detail=error.detail) from error
    raise error
