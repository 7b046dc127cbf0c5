"""What a key may still spend: requests and tokens of the last minute, tokens and money of the day and the month."""

from __future__ import annotations

import calendar
import math
import time
from typing import Final

import msgspec

from trunkcall.control.window import Window
from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.core.models import Price
from trunkcall.core.ports import Header

PRESUMED: Final = 1024
"""Completion tokens that are held for a request which sets no limit of its own, or what remains when that is less."""
FREE: Final = Price()

_DAY: Final = 86400


class Held(msgspec.Struct, frozen=True, gc=False):
    """What one request holds of a key's limits until it is settled.

    credits: whose, None where there is no key; prompt and tokens count tokens; window: where the tokens are counted,
    in `second`; day and month: to which they belong.
    """

    credits: Credits | None
    price: Price
    prompt: int = 0
    tokens: int = 0
    money: float = 0.0
    window: Window | None = None
    second: int = 0
    day: int = 0
    month: int = 0


class Credits:
    """What one key has spent and holds in this process; one owner spends it, on the event loop's thread.

    Days and months are UTC's, and belong to the moment at which a request was opened. A wall clock that is set back
    gives no second budget: the period stays until the next one begins, and after a jump over more than a day the
    budget that ran goes on.
    """

    __slots__ = (
        "_day",
        "_entry",
        "_held_money",
        "_held_tokens",
        "_month",
        "_requests",
        "_tokens",
        "limited",
        "money_this_month",
        "money_today",
        "tokens_this_month",
        "tokens_today",
        "weighs",
    )

    def __init__(self, entry: KeyEntry) -> None:
        self._requests: Window | None = None
        self._tokens: Window | None = None
        self._held_tokens = 0
        self._held_money = 0.0
        self._day = 0
        self._month = 0
        self.tokens_today = self.tokens_this_month = 0
        self.money_today = self.money_this_month = 0.0
        self.change(entry)

    def change(self, entry: KeyEntry) -> None:
        """Other limits from now on; what was spent stays spent."""
        self._entry = entry
        self.weighs = not (
            entry.tokens_per_minute is None
            and entry.tokens_per_day is None
            and entry.tokens_per_month is None
            and entry.money_per_day is None
            and entry.money_per_month is None
        )
        """Whether it matters how many tokens a request may come to."""
        self.limited = self.weighs or entry.requests_per_minute is not None
        """Whether there is a limit at all."""
        if entry.requests_per_minute is None:
            self._requests = None
        elif self._requests is not None:
            self._requests.allow(entry.requests_per_minute)
        if entry.tokens_per_minute is None:
            self._tokens = None
        elif self._tokens is not None:
            self._tokens.allow(entry.tokens_per_minute)

    def seed(
        self, tokens_today: int, tokens_this_month: int, money_today: float, money_this_month: float, at: float
    ) -> None:
        """What the ledger says was spent before this process, at `at` in unix seconds."""
        self.turn(at)
        self.tokens_today += tokens_today
        self.tokens_this_month += tokens_this_month
        self.money_today += money_today
        self.money_this_month += money_this_month

    def turn(self, unix: float) -> None:
        """Begin the day and the month of this moment, where they are new."""
        day = int(unix // _DAY)
        if day == self._day:
            return
        if day > self._day:
            self.tokens_today, self.money_today = 0, 0.0
            month = _month_of(unix)
            if month > self._month:
                self.tokens_this_month, self.money_this_month = 0, 0.0
                self._month = month
            self._day = day
        elif day < self._day - 1:
            self._day = day
            self._month = _month_of(unix)

    def hold(self, price: Price, prompt: int, most: int | None, started: float, opened_at: float) -> Held:
        """Set apart what a request may use: its prompt and `most` completion tokens, None where it sets no limit.

        started: monotonic seconds; opened_at: unix seconds. Raises ServingError: rate_limited, quota, with retry_after
        where waiting helps. Nothing is held then.
        """
        if opened_at // _DAY != self._day:
            self.turn(opened_at)
        if not self.limited:
            return Held(self, price, prompt, 0, 0.0, None, 0, self._day, self._month)
        second = int(started)
        limit = self._entry.requests_per_minute
        requests = None
        if limit is not None:
            requests = self._requests
            if requests is None:
                requests = self._requests = Window("requests", limit, started)
            requests.forget(second)
            if requests.total >= limit:
                raise self._too_many_requests(requests, limit, started)
        if self.weighs:
            held = self._weigh(price, prompt, most, started, second, opened_at)
        else:
            held = Held(self, price, prompt, 0, 0.0, None, 0, self._day, self._month)
        if requests is not None:
            requests.add(1)
        return held

    def settle(self, held: Held, tokens: int, money: float, now: float) -> None:
        """Count what was used instead of what was held; now: monotonic seconds."""
        more = tokens
        second = int(now)
        window = held.window
        if window is not None:
            window.forget(second)
            more -= held.tokens
            if more < 0:
                window.give_back(-more, held.second)
        window = self._tokens
        if window is not None and more > 0:
            window.forget(second)
            window.add(more)
        held_tokens = self._held_tokens - held.tokens
        held_money = self._held_money - held.money
        self._held_tokens = held_tokens if held_tokens > 0 else 0
        self._held_money = held_money if held_tokens > 0 and held_money > 0 else 0.0
        if held.day == self._day:
            self.tokens_today += tokens
            self.money_today += money
        if held.month == self._month:
            self.tokens_this_month += tokens
            self.money_this_month += money

    def headers(self, now: float) -> tuple[Header, ...]:
        """What remains of the minute's limits, for the caller to see."""
        second = int(now)
        requests, tokens = self._requests, self._tokens
        if requests is None:
            return () if tokens is None else tokens.headers(second)
        return requests.headers(second) if tokens is None else requests.headers(second) + tokens.headers(second)

    def _weigh(
        self, price: Price, prompt: int, most: int | None, started: float, second: int, opened_at: float
    ) -> Held:
        entry = self._entry
        window = None
        if entry.tokens_per_minute is not None:
            window = self._tokens
            if window is None:
                window = self._tokens = Window("tokens", entry.tokens_per_minute, started)
            window.forget(second)
        tokens = prompt + (self._presumed(price, prompt, window) if most is None else most)
        money = (prompt * price.prompt + (tokens - prompt) * price.completion) / 1e6
        if window is not None and window.total + tokens > window.limit:
            raise self._too_many_tokens(window, window.total + tokens - window.limit, tokens, started)
        held_tokens = self._held_tokens + tokens
        if entry.tokens_per_day is not None and self.tokens_today + held_tokens > entry.tokens_per_day:
            raise self._out_of_tokens(entry.tokens_per_day, self.tokens_today, tokens, "day", opened_at)
        if entry.tokens_per_month is not None and self.tokens_this_month + held_tokens > entry.tokens_per_month:
            raise self._out_of_tokens(entry.tokens_per_month, self.tokens_this_month, tokens, "month", opened_at)
        if money:
            held_money = self._held_money + money
            if entry.money_per_day is not None and self.money_today + held_money > entry.money_per_day:
                raise self._out_of_money(entry.money_per_day, self.money_today, money, "day", opened_at)
            if entry.money_per_month is not None and self.money_this_month + held_money > entry.money_per_month:
                raise self._out_of_money(entry.money_per_month, self.money_this_month, money, "month", opened_at)
            self._held_money = held_money
        self._held_tokens = held_tokens
        if window is not None:
            second = window.second
            window.add(tokens)
        return Held(self, price, prompt, tokens, money, window, second, self._day, self._month)

    def _presumed(self, price: Price, prompt: int, window: Window | None) -> int:
        """Completion tokens to hold for a request that sets no limit: what remains, so that small budgets are usable
        to their end, but one at least, so that an empty one refuses.
        """
        entry = self._entry
        left: float = PRESUMED
        if window is not None:
            left = min(left, window.limit - window.total - prompt)
        if entry.tokens_per_day is not None:
            left = min(left, entry.tokens_per_day - self.tokens_today - self._held_tokens - prompt)
        if entry.tokens_per_month is not None:
            left = min(left, entry.tokens_per_month - self.tokens_this_month - self._held_tokens - prompt)
        if price.completion > 0:
            for limit, used in (
                (entry.money_per_day, self.money_today),
                (entry.money_per_month, self.money_this_month),
            ):
                if limit is not None:
                    money = limit - used - self._held_money - prompt * price.prompt / 1e6
                    left = min(left, money / price.completion * 1e6)
        return max(1, int(left))

    def _too_many_requests(self, window: Window, limit: int, now: float) -> ServingError:
        name = self._entry.name
        if not limit:
            return ServingError("rate_limited", f"the key {name!r} may make no requests; have its limit raised")
        wait = window.wait(window.total - limit + 1, now)
        return ServingError(
            "rate_limited",
            f"the key {name!r} may make {limit} requests per minute and has made them; try again in {_seconds(wait)}",
            retry_after=wait,
        )

    def _too_many_tokens(self, window: Window, excess: int, tokens: int, now: float) -> ServingError:
        said = (
            f"the key {self._entry.name!r} may use {window.limit} tokens per minute; {window.total} are used or held, "
            f"and this request may need {tokens}"
        )
        if excess > window.total:
            return ServingError("rate_limited", f"{said}: ask for fewer (max_tokens) or have the limit raised")
        wait = window.wait(excess, now)
        return ServingError("rate_limited", f"{said}; try again in {_seconds(wait)}", retry_after=wait)

    def _out_of_tokens(self, limit: float, used: float, need: float, period: str, at: float) -> ServingError:
        return self._exhausted("tokens", limit, used, self._held_tokens, need, period, at)

    def _out_of_money(self, limit: float, used: float, need: float, period: str, at: float) -> ServingError:
        return self._exhausted("money", limit, used, self._held_money, need, period, at)

    def _exhausted(
        self, unit: str, limit: float, used: float, held: float, need: float, period: str, at: float
    ) -> ServingError:
        said = f"the key {self._entry.name!r} may use {_amount(limit, unit)} per {period}, and this request may need "
        if need > limit:
            return ServingError(
                "quota", f"{said}{_amount(need, unit)}: ask for fewer (max_tokens) or have the budget raised"
            )
        end = _end_of(period, at)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
        running = f", {_amount(held, unit)} held by requests that run" if held else ""
        return ServingError(
            "quota",
            f"{said}{_amount(need, unit)}; {_amount(used, unit)} used{running}. It starts anew at {when}; until then "
            "ask for fewer tokens (max_tokens) or have the budget raised",
            # What is held comes back when the requests that run have ended.
            retry_after=1.0 if held and used + need <= limit else end - at,
        )


def cost(price: Price, prompt: int, completion: int, cached: int = 0) -> float:
    """What tokens come to; cached: of the prompt's."""
    if price is FREE:
        return 0.0
    if cached:
        cheap = price.prompt if price.cached is None else price.cached
        cached = min(cached, prompt)
        return ((prompt - cached) * price.prompt + cached * cheap + completion * price.completion) / 1e6
    return (prompt * price.prompt + completion * price.completion) / 1e6


def _month_of(unix: float) -> int:
    moment = time.gmtime(unix)
    return moment.tm_year * 12 + moment.tm_mon - 1


def _end_of(period: str, unix: float) -> float:
    """When the day or the month of a moment ends, in unix seconds."""
    if period == "day":
        return (unix // _DAY + 1) * _DAY
    year, month = divmod(_month_of(unix) + 1, 12)
    return calendar.timegm((year, month + 1, 1, 0, 0, 0))


def _seconds(wait: float) -> str:
    return f"{max(1, math.ceil(wait))} s"


def _amount(value: float, unit: str) -> str:
    return f"{value:.6g}" if unit == "money" else f"{int(value)} tokens"
