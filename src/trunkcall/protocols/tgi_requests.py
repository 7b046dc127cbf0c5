"""TGI's requests and the neutral ones: Asked becomes Generate, and Generate the body for a TGI server."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, Reporting, Sampling, Shape, Stops, TextPrompt
from trunkcall.protocols.openai_calls import requested_fields
from trunkcall.protocols.tgi_asked import OLDEST, Asked
from trunkcall.protocols.tgi_checks import settle
from trunkcall.protocols.tgi_grammar import emit_grammar, read_grammar
from trunkcall.protocols.tgi_limits import Compat, Limits
from trunkcall.protocols.tgi_words import PROTOCOL

_TRUE: Final = Raw(b"true")
_SEEDS: Final = 2**63
"""Elsewhere a seed has a sign: what is above it goes on as another number, always the same."""

_HONOURED: Final = frozenset(
    "best_of do_sample echo frequency_penalty include_stop_str_in_output logprobs max_tokens max_completion_tokens"
    " prompt_logprobs repetition_penalty return_token_ids seed stop temperature top_k top_logprobs top_p typical_p"
    " user".split()
)
"""By OpenAI's names: what can be said to a TGI, or makes no difference there."""

_NOT_IN_OLDEST: Final = frozenset({"frequency_penalty", "prompt_logprobs"})

_OWN: Final = frozenset({"watermark", "adapter_id", "truncate"})
"""What only this protocol has words for, which Generate carries among its extras."""

_encode: Final = msgspec.json.Encoder().encode


def check_tokens(asked: Asked, input_tokens: int | None, limits: Limits, compat: Compat) -> Asked:
    """The request with its answer's length settled, and its grammar read.

    input_tokens: of the whole prompt, None where it cannot be counted.

    Raises ServingError (bad_request) with TGI's text: too many tokens in all, then in the prompt, then a grammar
    that is none.
    """
    if input_tokens is not None and asked.truncate is not None:
        input_tokens = min(input_tokens, asked.truncate)
    max_new_tokens = settle(asked.max_new_tokens, input_tokens, limits, compat)
    return msgspec.structs.replace(
        asked,
        max_new_tokens=max_new_tokens,
        input_tokens=input_tokens,
        format=UNSET if asked.grammar is None else read_grammar(asked.grammar),
    )


def to_generate(asked: Asked, model: str) -> Generate:
    """The neutral request, whose prompt is whole: `truncate` is the caller's to apply, who knows its tokens.

    Token ids and log probabilities are asked for where the answer needs them. A greedy request has temperature 0; a
    sampling one that says no temperature has 1, because engines differ there.
    """
    told = asked.stream or asked.details or asked.best_of > 1
    temperature = (1.0 if asked.temperature is None else asked.temperature) if asked.samples else 0.0
    extra = dict(asked.extra)
    if asked.watermark:
        extra["watermark"] = _TRUE
    return Generate(
        model=model,
        prompt=TextPrompt((asked.inputs,)),
        sampling=Sampling(
            max_tokens=asked.max_new_tokens,
            temperature=temperature,
            top_p=UNSET if asked.top_p is None else asked.top_p,
            top_k=UNSET if asked.top_k is None else asked.top_k,
            typical_p=UNSET if asked.typical_p is None else asked.typical_p,
            repetition_penalty=UNSET if asked.repetition_penalty is None else asked.repetition_penalty,
            frequency_penalty=UNSET if asked.frequency_penalty is None else asked.frequency_penalty,
            seed=UNSET if asked.seed is None else asked.seed % _SEEDS,
            n=asked.best_of if asked.best_of > 1 else UNSET,
        ),
        stops=Stops(strings=asked.stop, include=True) if asked.stop else Stops(),
        shape=Shape(format=asked.format),
        reporting=Reporting(
            stream=asked.stream,
            usage_in_stream=asked.stream,
            logprobs=asked.top_n_tokens if told else UNSET,
            prompt_logprobs=asked.details and asked.decoder_input_details,
            token_ids=told,
        ),
        extra={PROTOCOL: extra} if extra else {},
    )


def emit_generate(
    request: Generate, *, compat: Compat = "3", stream: bool = True, room: int | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """The body for /generate_stream, or for /generate, and the names of fields that had to be dropped.

    compat: the server's edition; room: the tokens that are left for an answer, which stand for a max_tokens that
    asks for what fits. One answer to one text is asked for; more are the caller's to ask for one by one.

    Raises ServingError (unsupported) for a prompt that is no text, or several.
    """
    prompt = request.prompt
    if not isinstance(prompt, TextPrompt) or len(prompt.texts) != 1:
        raise ServingError("unsupported", "a TGI server takes one text at a time; send `prompt` as text")
    own = {name: raw for name, raw in request.extra.get(PROTOCOL, {}).items() if name in _OWN}
    honoured = _HONOURED | own.keys()
    if compat == OLDEST:
        honoured -= _NOT_IN_OLDEST
    parameters = _sampling(request.sampling, honoured, room)
    if request.stops.strings:
        parameters["stop"] = request.stops.strings
    shape = request.shape.format
    grammar = emit_grammar(shape) if shape and compat != OLDEST else None
    if grammar is not None:
        parameters["grammar"] = grammar
        honoured |= {"response_format", "guided_regex", "grammar"}
    reporting = request.reporting
    parameters["details"] = True
    if reporting.logprobs and compat != OLDEST:
        parameters["top_n_tokens"] = reporting.logprobs
    if not stream and reporting.prompt_logprobs:
        parameters["decoder_input_details"] = True
    parameters.update(own)
    dropped = tuple(
        name
        for name in requested_fields(request)
        if name not in honoured and not (name == "n" and request.sampling.n in (None, 1))
    )
    return _encode({"inputs": prompt.texts[0], "parameters": parameters}), dropped


def _sampling(sampling: Sampling, honoured: frozenset[str], room: int | None) -> dict[str, Any]:
    """Values that TGI refuses although they change nothing are left out."""
    made: dict[str, Any] = {}
    temperature = sampling.temperature
    greedy = isinstance(temperature, int | float) and temperature <= 0
    made["do_sample"] = not greedy
    if not greedy and isinstance(temperature, int | float):
        made["temperature"] = temperature
    for name, value in (("top_p", sampling.top_p), ("typical_p", sampling.typical_p)):
        if not greedy and isinstance(value, int | float) and 0 < value < 1:
            made[name] = value
    if not greedy and isinstance(sampling.top_k, int) and sampling.top_k > 0:
        made["top_k"] = sampling.top_k
    if isinstance(sampling.repetition_penalty, int | float) and sampling.repetition_penalty > 0:
        made["repetition_penalty"] = sampling.repetition_penalty
    if "frequency_penalty" in honoured and isinstance(sampling.frequency_penalty, int | float):
        made["frequency_penalty"] = sampling.frequency_penalty
    if isinstance(sampling.seed, int):
        made["seed"] = sampling.seed % _SEEDS
    limit = sampling.max_tokens if isinstance(sampling.max_tokens, int) else room
    if limit is not None:
        made["max_new_tokens"] = limit
    return made
