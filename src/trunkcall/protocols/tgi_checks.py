"""TGI's rules for a request, in the order and with the texts that its clients know."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.protocols.tgi_grammar import Grammar
from trunkcall.protocols.tgi_limits import Compat, Limits

ROUND: Final = 1024
"""The newest edition counts no more tokens of an answer than these when it asks whether they fit."""


class Parameters(msgspec.Struct):
    """As they came. A null is as good as absent, but for max_new_tokens."""

    best_of: int | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool | None = None
    max_new_tokens: int | None | UnsetType = UNSET
    return_full_text: bool | None = None
    stop: tuple[str, ...] | None = None
    truncate: int | None = None
    watermark: bool | None = None
    details: bool | None = None
    decoder_input_details: bool | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_n_tokens: int | None = None
    grammar: Grammar | None = None
    adapter_id: str | None = None


def check(given: Parameters, limits: Limits, *, stream: bool) -> None:
    """All rules that need neither the prompt nor its tokens.

    Raises ServingError (bad_request) for the first that is violated.
    """
    best_of = 1 if given.best_of is None else given.best_of
    if stream:
        if best_of != 1:
            raise invalid("`best_of` != 1 is not supported when streaming tokens", "best_of")
        if given.decoder_input_details:
            raise invalid(
                "`decoder_input_details` == true is not supported when streaming tokens", "decoder_input_details"
            )
    if best_of != 1:
        _check_best_of(given, best_of, limits.max_best_of)
    if given.temperature is not None and not given.temperature > 0:
        raise invalid("`temperature` must be strictly positive", "temperature")
    if given.repetition_penalty is not None and not given.repetition_penalty > 0:
        raise invalid("`repetition_penalty` must be strictly positive", "repetition_penalty")
    if given.frequency_penalty is not None and not -2 <= given.frequency_penalty <= 2:
        raise invalid("`frequency_penalty` must be >= -2.0 and <= 2.0", "frequency_penalty")
    if given.top_p is not None and not 0 < given.top_p < 1:
        raise invalid("`top_p` must be > 0.0 and < 1.0", "top_p")
    if given.typical_p is not None and not 0 < given.typical_p < 1:
        raise invalid("`typical_p` must be > 0.0 and < 1.0", "typical_p")
    if given.top_k is not None and given.top_k <= 0:
        raise invalid("`top_k` must be strictly positive", "top_k")
    if given.max_new_tokens is not None and given.max_new_tokens is not UNSET and given.max_new_tokens <= 0:
        raise invalid("`max_new_tokens` must be strictly positive", "max_new_tokens")
    check_stops(len(given.stop or ()), limits)
    if given.seed is not None and best_of > 1:
        raise invalid("`seed` must not be set when `best_of` > 1", "seed")
    check_top_n(given.top_n_tokens or 0, limits)


def check_stops(count: int, limits: Limits) -> None:
    """Raises ServingError (bad_request) for more stop sequences than are allowed."""
    most = limits.max_stop_sequences
    if count > most:
        raise invalid(f"`stop` supports up to {most} stop sequences. Given: {count}", "stop")


def check_top_n(count: int, limits: Limits) -> None:
    """Raises ServingError (bad_request) for more alternatives to a token than are allowed."""
    most = limits.max_top_n_tokens
    if not 0 <= count <= most:
        raise invalid(f"`top_n_tokens` must be >= 0 and <= {most}. Given: {count}", "top_n_tokens")


def settle(max_new_tokens: int | None, input_tokens: int | None, limits: Limits, compat: Compat) -> int | None:
    """How many tokens an answer may have, where it was asked for so many, or for what fits.

    input_tokens: None where the prompt cannot be counted; None is given where it is not known what fits.

    Raises ServingError (bad_request) when prompt and answer are over the limits.
    """
    total = limits.max_total_tokens
    if input_tokens is None:
        if max_new_tokens is not None and max_new_tokens > total:
            raise invalid(f"`max_new_tokens` must be <= {total}. Given: {max_new_tokens}", "max_new_tokens")
        return max_new_tokens
    room = total - input_tokens
    if max_new_tokens is not None:
        counted = min(max_new_tokens, ROUND) if compat == "3" else max_new_tokens
        if counted > room:
            raise invalid(
                f"`inputs` tokens + `max_new_tokens` must be <= {total}. Given: {input_tokens} `inputs` tokens and"
                f" {max_new_tokens} `max_new_tokens`",
                "max_new_tokens",
            )
    if input_tokens > limits.max_input_tokens:
        raise invalid(f"`inputs` must have less than {limits.max_input_tokens} tokens. Given: {input_tokens}", "inputs")
    return room if max_new_tokens is None else min(max_new_tokens, room)


def invalid(text: str, param: str) -> ServingError:
    """A rule that was violated; the wire puts `Input validation error: ` before it."""
    return ServingError("bad_request", text, param=param)


def _check_best_of(given: Parameters, best_of: int, most: int) -> None:
    if most == 1:
        raise invalid("`best_of` != 1 is not allowed for this endpoint", "best_of")
    if not 0 < best_of <= most:
        raise invalid(f"`best_of` must be > 0 and <= {most}. Given: {best_of}", "best_of")
    sampling = given.do_sample or any(
        value is not None for value in (given.temperature, given.top_k, given.top_p, given.typical_p)
    )
    if not sampling:
        raise invalid("you must use sampling when `best_of` is > 1", "best_of")
