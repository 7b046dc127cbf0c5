"""The model that a request means, its limits, its prompts' tokens, and how many requests are at work at once."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.control.admission import Admission
from trunkcall.control.counting import CONTEXT, READY_SECONDS, count_by
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool
from trunkcall.control.readiness import ready_backend
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend, Exchange
from trunkcall.core.requests import Count, MessagesPrompt, TextPrompt, Tokens
from trunkcall.protocols import tgi as codec
from trunkcall.protocols.tgi_words import MODEL

SPECIAL_TOKENS: Final = 16
"""What a model puts around a text, or its chat template around a message, at most."""
_PROBE: Final = TextPrompt((".",))


class Served:
    """One listener's model, or its models where the path names them; remembers how much each holds."""

    def __init__(self, dispatch: Dispatch, admission: Admission, options: TgiOptions) -> None:
        self._dispatch = dispatch
        self._admission = admission
        self._options = options
        self._contexts: dict[str, tuple[Backend, int | None]] = {}
        self._running = 0

    def pool(self, exchange: Exchange) -> Pool:
        """The model that a path means.

        Raises ServingError: no_model with the remedy, forbidden where the caller's key is not for it.
        """
        pool = self._meant(exchange)
        self._admission.check_model(exchange.principal, pool.settings.name)
        return pool

    def _meant(self, exchange: Exchange) -> Pool:
        name = exchange.parameters.get("model") or self._options.model
        if name:
            return self._dispatch.pool(name)
        pools = self._dispatch.pools
        adapters = {name for pool in pools.values() for name in pool.adapters}
        models = [name for name in pools if name not in adapters]
        if len(models) != 1:
            raise ServingError(
                "no_model",
                f"this server has {', '.join(models) or 'no models'}, and a TGI listener serves one: name it with the"
                " listener's option model",
                param="model",
            )
        return pools[models[0]]

    def adapted(self, pool: Pool, asked: str, *, strict: bool) -> str:
        """The name of the model with the adapter that is asked for; strict: what is no adapter is an error.

        Raises ServingError (bad_request) naming the adapters that there are.
        """
        name = pool.settings.name
        if asked in pool.adapters:
            return asked
        if strict and asked not in ("", MODEL, name):
            there = ", ".join(pool.adapters) or "none is loaded"
            raise ServingError(
                "bad_request", f"`adapter_id` {asked!r} is not an adapter of this model: {there}", param="adapter_id"
            )
        return name

    async def backend(self, model: str) -> Backend:
        """A replica that is ready, started when there is none; raises ServingError as ready_backend does."""
        return await ready_backend(self._dispatch, model, READY_SECONDS)

    def stand_ins(self, model: str) -> tuple[str, ...]:
        """The models that are asked in turn when this one cannot answer."""
        return self._dispatch.fallbacks(model)

    def doubt(self, model: str, backend: Backend) -> None:
        """A replica could not be reached: the next question is another's, or waits until it is there again."""
        pool = self._dispatch.pool(model)
        for replica in pool.replicas:
            lease = self._dispatch.lease_on(pool, replica) if replica.backend is backend else None
            if lease is not None:
                lease.release("unreachable")

    async def limits(self, model: str, backend: Backend) -> codec.Limits:
        """What a request to the model may ask for."""
        known, context = self._contexts.get(model, (None, None))
        if known is not backend:
            context = (await count_by(backend, Count(model=model, prompt=_PROBE))).context
            self._contexts[model] = (backend, context)
        limits = self._options.limits(context) or self._options.limits(CONTEXT)
        assert limits is not None
        return limits

    async def known_limits(self, model: str) -> codec.Limits | None:
        """The same without starting the model; None while it is not known."""
        for replica in self._dispatch.pool(model).replicas:
            if replica.state == "ready" and replica.backend is not None:
                return await self.limits(model, replica.backend)
        return self._options.limits(self._contexts.get(model, (None, None))[1])

    def surely_fits(self, model: str, limits: codec.Limits, most: int, wanted: int | None) -> bool:
        """Whether a prompt of so many tokens at most need not be counted.

        wanted: tokens of the answer; None for what fits, which a model sees to whose context is the limit.
        """
        if most > limits.max_input_tokens:
            return False
        if wanted is not None:
            return most + wanted <= limits.max_total_tokens
        return self._contexts.get(model, (None, None))[1] == limits.max_total_tokens

    @contextmanager
    def admitted(self) -> Generator[None]:
        """Take one of the places for requests at work; raises ServingError (overloaded) when there is none."""
        if self._running >= self._options.max_concurrent_requests:
            raise codec.overloaded()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def size(text: str) -> int:
    """Tokens that a text cannot have more of: each stands for a byte at least."""
    return len(text.encode(errors="surrogatepass"))


async def counted(backend: Backend, model: str, prompt: TextPrompt | MessagesPrompt) -> Tokens | None:
    """A prompt's tokens; None where the backend can only estimate them."""
    tokens = await count_by(backend, Count(model=model, prompt=prompt))
    return None if tokens.ids is None and tokens.context is None else tokens
