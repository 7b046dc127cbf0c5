"""An upstream's refusal of a forwarded call: an error like others, passed on as it came when nobody else can answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.ports import Header
from trunkcall.protocols.headers import read_retry_after

_TOO_MANY: Final = 429
_KINDS: Final[dict[int, Kind]] = {_TOO_MANY: "rate_limited", 504: "upstream_timeout", 507: "out_of_memory"}


def refuses(status: int) -> bool:
    """Whether another replica may answer what this one did not: it had no time, or it failed."""
    return status == _TOO_MANY or status >= 500


class UpstreamRefusal(ServingError):
    """A whole answer with such a status, not yet passed on; head: what of its headers the caller may see."""

    def __init__(self, status: int, headers: Iterable[Header], head: list[Header], body: bytes) -> None:
        super().__init__(
            _KINDS.get(status, "upstream_error"),
            f"it answered with status {status}",
            retry_after=read_retry_after(headers),
            upstream=(status, body),
        )
        self.answered = status
        self.head = head
        self.body = body
