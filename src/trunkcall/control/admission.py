"""Whether a caller may have what it asks for: held at the start of a request, settled at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from trunkcall.control.calls import Call, EmbedCall
from trunkcall.control.counting import BYTES_PER_TOKEN, estimate
from trunkcall.control.keyring import Keyring
from trunkcall.control.limits import FREE, Held, cost
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings
from trunkcall.core.ports import Exchange
from trunkcall.core.requests import Generate, MessagesPrompt, TextPart, answer_count

_LONG: Final = 64 * 1024
"""Bytes of a body from which on it is decoded: what is long may be an image, which is no such number of tokens."""
_PART_TOKENS: Final = 1000
"""What an image or another part that is no text is taken for."""


class Spent(Protocol):
    """What a key has used before this process, as the ledger sums it up."""

    @property
    def key(self) -> str: ...
    @property
    def tokens_today(self) -> int: ...
    @property
    def tokens_this_month(self) -> int: ...
    @property
    def money_today(self) -> float: ...
    @property
    def money_this_month(self) -> float: ...


class Admission:
    """Without keys everybody may have everything.

    find: the settings of a model by its name, None where there is none.
    """

    def __init__(
        self, keyring: Keyring | None = None, find: Callable[[str], ModelSettings | None] = lambda name: None
    ) -> None:
        self._keyring = keyring or Keyring()
        self._find = find

    @property
    def closed(self) -> bool:
        """Whether a caller needs a key."""
        return self._keyring.closed

    def may_look_inside(self, principal: str) -> bool:
        """Whether a caller of an open page may be told of the server's own paths and addresses."""
        return not self.closed or self._keyring.administers(principal)

    def may_ask(self, principal: str, model: str) -> bool:
        """Whether a caller may ask for this name, as lists of models need it; who needs no key may ask for all.

        A key for a model is one for its aliases too.
        """
        if not principal:
            return True
        account = self._keyring.find(principal)
        if account is None:
            return False
        if account.models is None or model in account.models:
            return True
        found = self._find(model)
        return found is not None and found.name in account.models

    def may_see(self, principal: str, model: str) -> bool:
        """Whether a caller of an open page may be told of this name: without a key only where none is needed."""
        return (bool(principal) or not self.closed) and self.may_ask(principal, model)

    def check_model(self, principal: str, model: str) -> None:
        """Raises ServingError (forbidden) for a caller who may not ask for this name."""
        if not self.may_ask(principal, model):
            raise ServingError("forbidden", f"the key {principal!r} may not ask for the model {model!r}", param="model")

    def reseed(self, spent: Iterable[Spent], at: float) -> None:
        """Go on from what the ledger says was used, `at` in unix seconds; once, before the first request."""
        for one in spent:
            account = self._keyring.find(one.key)
            if account is not None:
                account.credits.seed(one.tokens_today, one.tokens_this_month, one.money_today, one.money_this_month, at)

    def admit(self, exchange: Exchange, meter: Meter, model: ModelSettings | None, call: Call) -> None:
        """Hold what the request may use, in `meter.reserved`; tell the caller what remains, in its answer's headers.

        model: of what was asked for, None where there is no such. Raises ServingError: forbidden, rate_limited and
        quota, with retry_after where waiting helps.
        """
        price = FREE if model is None else model.price
        if not meter.key:
            meter.reserved = Held(None, price)
            return
        account = self._keyring.find(meter.key)
        if account is None:
            raise ServingError("unauthenticated", f"the API key {meter.key!r} was removed")
        if account.models is not None and meter.model not in account.models:
            self.check_model(meter.key, meter.model)
        if meter.priority > 0 and account.entry.role != "admin":
            # Who shares a queue with others may let them go first, not push in.
            meter.priority = 0
        credits = account.credits
        prompt, most = _size(call) if credits.weighs else (0, None)
        try:
            meter.reserved = credits.hold(price, prompt, most, meter.started, meter.opened_at)
        finally:
            if credits.limited:
                exchange.extra_headers += credits.headers(meter.started)

    def settle(self, meter: Meter, call: Call) -> None:
        """Count what was used instead of what was held, and set the cost.

        An answer that broke off counts for the pieces that came and the prompt's estimate, one that its caller left
        for the latter at least; a failure before the first byte costs nothing.
        """
        held = meter.reserved
        if not isinstance(held, Held):
            return
        usage = meter.usage
        if usage is not None:
            prompt, completion, cached = usage.prompt, usage.completion, usage.cached or 0
            if prompt < 0 or completion < 0 or cached < 0:
                # What an upstream says is not to be believed below nothing.
                prompt, completion, cached = max(0, prompt), max(0, completion), max(0, cached)
        else:
            if meter.chunks or (meter.granted is not None and meter.error == "cancelled"):
                meter.prompt = _read_prompt(call)
            prompt, completion, cached = meter.prompt, meter.chunks, 0
        price = held.price
        if meter.served != meter.model:
            served = self._find(meter.served)
            price = price if served is None else served.price
        meter.cost = cost(price, prompt, completion, cached)
        if held.credits is not None:
            now = meter.ended if meter.ended is not None else time.monotonic()
            held.credits.settle(held, prompt + completion, meter.cost, now)
        meter.reserved = None


def _size(call: Call) -> tuple[int, int | None]:
    """About how many tokens the prompt has, and the most that the answers may have; None where the caller sets no
    limit.
    """
    body = len(call.wire.body)
    if isinstance(call, EmbedCall):
        return body // BYTES_PER_TOKEN + 1, 0
    if call.most is not None and (call.prompt_tokens is not None or body < _LONG):
        return call.prompt_tokens or body // BYTES_PER_TOKEN + 1, call.most()
    request = call.read()
    return _prompt_tokens(request), most_tokens(request)


def _read_prompt(call: Call) -> int:
    """About how many tokens a prompt has that an engine has begun with."""
    try:
        return _size(call)[0]
    except ServingError:
        # The replica could read it, which is of its own protocol.
        return len(call.wire.body) // BYTES_PER_TOKEN + 1


def most_tokens(request: Generate) -> int | None:
    """The most completion tokens of all of a request's choices together; None where it sets no limit."""
    sampling = request.sampling
    if not isinstance(sampling.max_tokens, int):
        return None
    return max(0, sampling.max_tokens) * answer_count(request)


def _prompt_tokens(request: Generate) -> int:
    prompt = request.prompt
    tokens = estimate(prompt) + 1
    if isinstance(prompt, MessagesPrompt):
        parts = (part for message in prompt.messages for part in message.parts)
        tokens += sum(_PART_TOKENS for part in parts if not isinstance(part, TextPart))
    return tokens
