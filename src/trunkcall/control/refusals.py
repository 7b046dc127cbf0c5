"""An upstream's refusal of a forwarded call: an error like others, passed on as it came when nobody else can answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Header
from trunkcall.net.relay import Reply

_TOO_MANY: Final = 429
_KINDS: Final[dict[int, Kind]] = {_TOO_MANY: "rate_limited", 504: "upstream_timeout", 507: "out_of_memory"}


def refuses(status: int) -> bool:
    """Whether another replica may answer what this one did not: it had no time, or it failed."""
    return status == _TOO_MANY or status >= 500


class UpstreamRefusal(ServingError):
    """A whole answer with such a status, not yet passed on; head: what of its headers the caller may see."""

    def __init__(self, status: int, headers: Iterable[Header], head: Sequence[Header], body: bytes) -> None:
        super().__init__(
            _KINDS.get(status, "upstream_error"),
            f"it answered with status {status}",
            retry_after=next((float(v) for name, v in headers if name == b"retry-after" and v.isdigit()), None),
            upstream=(status, body),
        )
        self._status = status
        self._head = head
        self._body = body

    async def pass_on(self, meter: Meter, reply: Reply) -> None:
        """Give the caller the upstream's own answer."""
        meter.status = self._status
        meter.error = meter.error or "upstream_error"
        reply.answering = True
        if reply.started:
            # The stream began with queue comments, so the error is told as a frame.
            await reply.finish(b"data: " + self._body.strip() + b"\n\n")
            return
        head = [*self._head, (b"content-length", b"%d" % len(self._body))]
        if not any(name == b"x-trunkcall-failed-by" for name, _ in head):
            head.append((b"x-trunkcall-failed-by", b"upstream"))
        await reply.begin(self._status, head)
        await reply.finish(self._body)
