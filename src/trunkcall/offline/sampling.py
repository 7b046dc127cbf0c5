"""How answers are chosen, in vLLM's words, and the requests that prompts and conversations become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.models import convert_options
from trunkcall.core.requests import Embed, Generate
from trunkcall.protocols import openai as codec

COMPLETION_TOKENS: Final = 16
"""Of an answer to a prompt, where nothing is said: as in vLLM, and in OpenAI's completions."""

Prompt = str | Sequence[int] | Mapping[str, Any]
"""A text, token ids, or one of the two as {"prompt": …} or {"prompt_token_ids": …}."""
Conversation = Sequence[Mapping[str, Any]]
"""Messages in OpenAI's shape, oldest first."""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where nothing is said the engine's own default holds.

    logprobs: so many alternatives beside each token; max_tokens: None is no limit; 16 for a prompt
    where nothing is said. Ranges are checked when a request is made.
    """

    n: int | UnsetType = UNSET
    best_of: int | None | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    repetition_penalty: float | UnsetType = UNSET
    logit_bias: dict[str, float] | None | UnsetType = UNSET
    seed: int | None | UnsetType = UNSET
    stop: str | Sequence[str] | None | UnsetType = UNSET
    stop_token_ids: Sequence[int] | None | UnsetType = UNSET
    include_stop_str_in_output: bool | UnsetType = UNSET
    ignore_eos: bool | UnsetType = UNSET
    max_tokens: int | None | UnsetType = UNSET
    min_tokens: int | UnsetType = UNSET
    logprobs: int | None | UnsetType = UNSET
    grammar: str | UnsetType = UNSET


Sampling = SamplingParams | Mapping[str, Any]


def read_sampling(given: Sampling | None) -> SamplingParams:
    """The parameters, also where they come as a mapping.

    Raises ServingError (bad_request) naming an unknown one.
    """
    if isinstance(given, SamplingParams):
        return given
    return convert_options(dict(given or {}), SamplingParams, "sampling")


def completion(model: str, prompt: Prompt, sampling: SamplingParams) -> Generate:
    """The request for what goes on after a prompt.

    Raises ServingError (bad_request) with the parameter at fault in `param`.
    """
    fields = _fields(sampling)
    fields.setdefault("max_tokens", COMPLETION_TOKENS)
    return codec.read_completion(_body({**fields, "model": model, "prompt": _plain(prompt), "return_token_ids": True}))


def chat(model: str, messages: Conversation, sampling: SamplingParams, more: Mapping[str, Any]) -> Generate:
    """The request for the answer to a conversation; more: further fields of OpenAI's request, such as tools.

    Raises ServingError (bad_request) with the parameter at fault in `param`.
    """
    fields = _fields(sampling)
    alternatives = fields.pop("logprobs", None)
    if alternatives is not None:
        fields |= {"logprobs": True, "top_logprobs": alternatives}
    return codec.read_chat(
        _body({**fields, **more, "model": model, "messages": list(messages), "return_token_ids": True})
    )


def embedding(model: str, texts: Sequence[Prompt]) -> Embed:
    """The request for the vectors of some texts; raises ServingError (bad_request)."""
    return codec.read_embedding(_body({"model": model, "input": [_plain(text) for text in texts]}))


def _fields(sampling: SamplingParams) -> dict[str, Any]:
    return msgspec.to_builtins(sampling)


def _plain(prompt: Prompt) -> Any:
    if not isinstance(prompt, Mapping):
        return prompt if isinstance(prompt, str) else list(prompt)
    for name in ("prompt_token_ids", "prompt"):
        if prompt.get(name) is not None:
            return prompt[name]
    raise ServingError(
        "bad_request", "a prompt that is a mapping needs a member prompt or prompt_token_ids", param="prompts"
    )


def _body(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except (TypeError, ValueError) as error:
        raise ServingError("bad_request", f"the request cannot be written as JSON: {error}") from None
