"""The circuit breaker of a replica: whom an error blames, and when a replica that fails is left alone."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import BreakerView

IN_A_ROW: Final = 5
"""So many failures one after the other open it."""
REMEMBERED: Final = 20
OFTEN: Final = 10
"""So many failures among those that are remembered open it too."""
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0
BUSY_SECONDS: Final = 60.0
"""What a Retry-After can come to at most."""
LOCKED_SECONDS: Final = 30.0
"""How long an upstream that does not accept our key is left alone."""

_ALL: Final = (1 << REMEMBERED) - 1
_ROW: Final = (1 << IN_A_ROW) - 1
_SENT_AWAY: Final = frozenset({429, 503})

Verdict = Literal["nobody", "well", "failed", "busy", "locked"]
"""nobody: says nothing of the replica; well: it works; busy: it said when to come back; locked: not with our key."""


def judge(error: ServingError) -> Verdict:
    """What an error tells of the replica that gave it. The caller's mistakes and ours are not the replica's."""
    status = error.upstream[0] if error.upstream is not None else None
    if status in (401, 403) and error.kind == "upstream_error":
        return "locked"
    if status in _SENT_AWAY and error.retry_after is not None:
        return "busy"
    if error.kind in ("unreachable", "upstream_timeout"):
        return "failed"
    if error.kind == "upstream_error":
        return "failed" if status is None or status >= 500 or status < 400 else "well"
    if status is None or error.kind in ("cancelled", "bug", "out_of_memory"):
        return "nobody"
    return "failed" if status >= 500 else "well"


class Breaker(msgspec.Struct, frozen=True):
    """How a replica stands; times are `time.monotonic()` seconds.

    history: a bit for each of the last answers, 1 for a failure, the latest one lowest; until: while it is before, no
    request goes there, and then one at a time until one succeeds; 0 while it is closed; times: how often in a row it
    was opened; busy: the replica itself said when to come back.
    """

    history: int = 0
    until: float = 0.0
    times: int = 0
    busy: bool = False
    why: str = ""

    def shut(self, now: float) -> bool:
        """No request may go there."""
        return now < self.until

    @property
    def probing(self) -> bool:
        """Once it is not shut, one request at a time shows whether the replica works again."""
        return self.until > 0

    def view(self, now: float) -> BreakerView:
        """A snapshot for people."""
        state = "open" if self.shut(now) else "half_open" if self.probing else "closed"
        return BreakerView(
            state=state,
            seconds=round(max(0.0, self.until - now), 3),
            failures=self.history.bit_count(),
            why=self.why,
        )


CLOSED: Final = Breaker()


def after(breaker: Breaker, verdict: Verdict, now: float, why: str, seconds: float, jitter: float) -> Breaker:
    """The breaker after an answer; the same object when nothing changes.

    why: of a failure, for people; seconds: what a busy replica said; jitter: from 0 up to 1, spreads the next try by
    a quarter.
    """
    match verdict:
        case "nobody":
            return breaker
        case "well":
            return _after_success(breaker, now)
        case "busy":
            until = now + min(BUSY_SECONDS, seconds)
            return Breaker(breaker.history, max(until, breaker.until), breaker.times, True, why)
        case "locked":
            return Breaker(breaker.history, now + LOCKED_SECONDS, breaker.times, False, why)
        case "failed":
            return _after_failure(breaker, now, why, jitter)


def _after_success(breaker: Breaker, now: float) -> Breaker:
    if breaker.shut(now):
        # It began before the failures.
        return breaker
    history = 0 if breaker.probing else (breaker.history << 1) & _ALL
    return Breaker(history, why=breaker.why) if history else CLOSED


def _after_failure(breaker: Breaker, now: float, why: str, jitter: float) -> Breaker:
    history = (breaker.history << 1 | 1) & _ALL
    if breaker.shut(now):
        return breaker
    if not breaker.probing and history & _ROW != _ROW and history.bit_count() < OFTEN:
        return Breaker(history, why=why)
    seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2**breaker.times)
    return Breaker(history, now + seconds * (1 + jitter / 4), breaker.times + 1, False, why)
