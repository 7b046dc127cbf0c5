"""The one exception family, and what each kind of failure means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

Kind = Literal[
    "bad_request",
    "unsupported",
    "unauthenticated",
    "forbidden",
    "no_model",
    "no_route",
    "conflict",
    "too_long",
    "too_large",
    "rate_limited",
    "quota",
    "overloaded",
    "no_capacity",
    "loading",
    "unreachable",
    "upstream_error",
    "upstream_timeout",
    "cancelled",
    "deadline",
    "draining",
    "out_of_memory",
    "bug",
]

STATUS: Final[dict[Kind, int]] = {
    "bad_request": 400,
    "unsupported": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "no_model": 404,
    "no_route": 404,
    "conflict": 409,
    "too_long": 400,
    "too_large": 413,
    "rate_limited": 429,
    "quota": 429,
    "overloaded": 429,
    "no_capacity": 503,
    "loading": 503,
    "unreachable": 502,
    "upstream_error": 502,
    "upstream_timeout": 504,
    "cancelled": 499,
    "deadline": 408,
    "draining": 503,
    "out_of_memory": 507,
    "bug": 500,
}

_BY_UPSTREAM: Final[frozenset[Kind]] = frozenset({"unreachable", "upstream_error", "upstream_timeout"})
_TOLD_OF_ITSELF: Final[frozenset[Kind]] = frozenset(
    {"draining", "loading", "no_capacity", "overloaded", "rate_limited", "out_of_memory"}
)


class ServingError(Exception):
    """A failure that a caller may be told about.

    kind: what went wrong; decides the status and each protocol's words.
    message: one or two sentences for the caller, with the remedy.
    param: the request field at fault, in the caller's own spelling, if one is.
    retry_after: seconds until another try makes sense.
    upstream: (status, body) as the upstream said it, for kind upstream_error.
    detail: for the log only, never sent to a client.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        upstream: tuple[int, bytes] | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.upstream = upstream
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status that belongs to the kind."""
        return STATUS[self.kind]

    @property
    def is_of_replica(self) -> bool:
        """Whether another replica may do better: this one broke off, failed, or said that it cannot go on."""
        if self.kind == "upstream_error" and self.upstream is not None:
            return not 400 <= self.upstream[0] < 500
        return self.kind in _BY_UPSTREAM or (self.upstream is not None and self.kind in _TOLD_OF_ITSELF)

    @property
    def failed_by(self) -> str:
        """Who failed: `client`, `gateway` or `upstream`; sent as x-trunkcall-failed-by."""
        if self.kind in _BY_UPSTREAM:
            return "upstream"
        return "gateway" if self.status >= 500 or self.status == 429 else "client"


class WrongMethod(ServingError):
    """A path that is there answers other methods than the caller's, which HTTP tells by the status 405."""

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__("bad_request", f"{path} answers {', '.join(allowed)}, not {method}")
