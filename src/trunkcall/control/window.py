"""Amounts of the last minute against a limit, and what callers are told of them in headers."""

from __future__ import annotations

import math
from typing import Final, Literal

from trunkcall.core.ports import Header

What = Literal["requests", "tokens"]

_SLOTS: Final = 61
"""Seconds that a window looks back: one more than a minute, as the oldest and the newest are parts of one."""


def header_seconds(seconds: float) -> bytes:
    """A duration as OpenAI's headers have it: `0s`, `12s`, `1m1s`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def _resets(what: What) -> tuple[Header, ...]:
    return tuple((b"x-ratelimit-reset-" + what.encode(), header_seconds(seconds)) for seconds in range(_SLOTS + 1))


_RESETS: Final[dict[What, tuple[Header, ...]]] = {"requests": _resets("requests"), "tokens": _resets("tokens")}
"""Made beforehand, as each answer has one of each."""


class Window:
    """Amounts of the last minute, by second; their sum covers any 60 seconds that end now.

    Times are monotonic seconds that do not run backwards.
    """

    __slots__ = ("_amounts", "_left", "_limited", "_newest", "_resets", "_what", "limit", "second", "total")

    def __init__(self, what: What, limit: int, now: float) -> None:
        self._amounts = [0] * _SLOTS
        self.second = self._newest = int(now)
        """The second up to which it has forgotten."""
        self.total = 0
        self._what: What = what
        self._left = b"x-ratelimit-remaining-" + what.encode()
        self._resets = _RESETS[what]
        self.allow(limit)

    def allow(self, limit: int) -> None:
        """Another limit from now on."""
        self.limit = limit
        self._limited: Header = (b"x-ratelimit-limit-" + self._what.encode(), b"%d" % limit)

    def forget(self, second: int) -> None:
        """Let go of what is older than a minute in this second."""
        gone = second - self.second
        if gone <= 0:
            return
        self.second = second
        if not self.total:
            return
        for old in range(second - min(gone, _SLOTS) + 1, second + 1):
            self.total -= self._amounts[old % _SLOTS]
            self._amounts[old % _SLOTS] = 0

    def add(self, amount: int) -> None:
        """Count an amount now."""
        second = self._newest = self.second
        self._amounts[second % _SLOTS] += amount
        self.total += amount

    def give_back(self, amount: int, second: int) -> None:
        """Part of what was added in that second was not needed."""
        if self.second - second < _SLOTS:
            self._amounts[second % _SLOTS] -= amount
            self.total -= amount

    def wait(self, excess: int, now: float) -> float:
        """Seconds until the sum is smaller by `excess`, which is at most the sum."""
        for second in range(self.second - _SLOTS + 1, self.second + 1):
            excess -= self._amounts[second % _SLOTS]
            if excess <= 0:
                return second + _SLOTS - now
        return float(_SLOTS)

    def headers(self, second: int) -> tuple[Header, ...]:
        """The limit, what remains of it, and in how long all of it is there again, as OpenAI says it."""
        left = self.limit - self.total
        seconds = self._newest + _SLOTS - second if self.total else 0
        return (
            self._limited,
            (self._left, b"%d" % (left if left > 0 else 0)),
            self._resets[0 if seconds < 0 else seconds if seconds < _SLOTS else _SLOTS],
        )
