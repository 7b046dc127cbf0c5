"""What a TGI client asks for: the bytes of a request, checked as far as that needs no tokens, become Asked."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from trunkcall.core.requests import Format
from trunkcall.protocols.openai_decode import check_text, decode, known_keys
from trunkcall.protocols.openai_paths import NULL, Fields, keep_unmodelled
from trunkcall.protocols.tgi_checks import Parameters, check, invalid
from trunkcall.protocols.tgi_grammar import Grammar
from trunkcall.protocols.tgi_limits import Compat, Limits

_MAX_NEW_TOKENS: Final[dict[Compat, int | None]] = {"0.8": 20, "1": 100, "2": 100, "3": None}
"""Of a request that does not say; None is what fits."""

OLDEST: Final[Compat] = "0.8"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request to generate, with its edition's defaults in place.

    samples: tokens are drawn, else the likeliest is taken; max_new_tokens: None for what fits, a number once the
    prompt's tokens are known; stop: what ends an answer and stays in it; return_full_text: the answer begins with the
    prompt; truncate: the most tokens of the prompt, its last ones; best_of: answers made, of which the likeliest
    counts; adapter_id: empty for none; format: of the grammar, once it has been read; input_tokens: None while they
    are not known; extra: parameters that this protocol does not have.
    """

    inputs: str
    stream: bool = False
    samples: bool = False
    best_of: int = 1
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    max_new_tokens: int | None = None
    return_full_text: bool = False
    stop: tuple[str, ...] = ()
    truncate: int | None = None
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: int | None = None
    top_n_tokens: int = 0
    grammar: Grammar | None = None
    adapter_id: str = ""
    format: Format | UnsetType = UNSET
    input_tokens: int | None = None
    extra: Fields = {}


class Body(msgspec.Struct, frozen=True):
    """A request whose JSON has the right shape, before any rule is looked at."""

    inputs: str
    parameters: Parameters | None = None
    stream: bool | None = None
    extra: Fields = {}


class _Body(msgspec.Struct):
    inputs: str
    parameters: Raw = Raw(b"")
    stream: bool | None = None


_body: Final = msgspec.json.Decoder(_Body)
_parameters: Final = msgspec.json.Decoder(Parameters)
_KEYS: Final = known_keys(Parameters)


def read_asked(
    body: bytes, compat: Compat, limits: Limits, *, streaming: bool | None, full_text: bool = False
) -> Asked:
    """The body of /generate, /generate_stream and /.

    streaming: whether the answer is a stream, None where the body says so; full_text: what return_full_text is
    unless the body says it.

    Raises ServingError (bad_request) with TGI's text and the field at fault in `param`: for the first rule that is
    violated, in TGI's order.
    """
    return check_asked(read_body(body), compat, limits, streaming=streaming, full_text=full_text)


def read_body(body: bytes) -> Body:
    """Raises ServingError (bad_request) for what is no JSON, or has a wrong type in it, naming the field."""
    check_text(body)
    read = decode(_body, body)
    if not read.parameters or read.parameters == NULL:
        return Body(read.inputs, None, read.stream)
    extra: Fields = {}
    given = decode(_parameters, read.parameters, "parameters")
    keep_unmodelled(extra, read.parameters, "", _KEYS)
    return Body(read.inputs, given, read.stream, extra)


def check_asked(
    read: Body, compat: Compat, limits: Limits, *, streaming: bool | None, full_text: bool = False
) -> Asked:
    """The second half of read_asked: the rules and the defaults."""
    stream = bool(read.stream) if streaming is None else streaming
    given = Parameters(do_sample=compat != OLDEST) if read.parameters is None else read.parameters
    check(given, limits, stream=stream)
    if not read.inputs:
        raise invalid("`inputs` cannot be empty", "inputs")
    truncate = given.truncate
    if truncate is not None and not 0 < truncate <= limits.max_input_tokens:
        raise invalid(
            f"`truncate` must be strictly positive and less than {limits.max_input_tokens}. Given: {truncate}",
            "truncate",
        )
    details = bool(given.details)
    return Asked(
        inputs=read.inputs,
        stream=stream,
        samples=_samples(given),
        best_of=given.best_of or 1,
        temperature=given.temperature,
        repetition_penalty=given.repetition_penalty,
        frequency_penalty=given.frequency_penalty,
        top_k=given.top_k,
        top_p=given.top_p,
        typical_p=given.typical_p,
        max_new_tokens=max_new_tokens(given.max_new_tokens, compat),
        return_full_text=full_text if given.return_full_text is None else given.return_full_text,
        stop=tuple(text for text in given.stop or () if text),
        truncate=truncate,
        watermark=bool(given.watermark),
        details=details,
        decoder_input_details=bool(given.decoder_input_details) or (details and not stream and compat == OLDEST),
        seed=given.seed,
        top_n_tokens=given.top_n_tokens or 0,
        grammar=given.grammar,
        adapter_id=given.adapter_id or "",
        extra=read.extra,
    )


def max_new_tokens(given: int | None | UnsetType, compat: Compat) -> int | None:
    """The most tokens of an answer; None is what fits, which the oldest edition does not know."""
    if given is UNSET or (given is None and compat == OLDEST):
        return _MAX_NEW_TOKENS[compat]
    return given


def _samples(given: Parameters) -> bool:
    """A value that changes nothing does not make an answer random."""
    return bool(
        given.do_sample
        or given.temperature not in (None, 1.0)
        or given.top_k is not None
        or given.top_p is not None
        or given.typical_p is not None
    )
