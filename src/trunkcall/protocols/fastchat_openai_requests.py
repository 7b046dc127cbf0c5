"""Requests to FastChat's OpenAI server: OpenAI's with FastChat's defaults, ranges and prompts.

A conversation may be one string, which is a prompt that no template is put around. What is out of range is
told in the words that clients of FastChat compare.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from trunkcall.core.requests import Embed, Generate, TextPrompt
from trunkcall.protocols import openai_requests
from trunkcall.protocols.fastchat_openai_errors import OutOfRange
from trunkcall.protocols.openai_decode import check_text, decode
from trunkcall.protocols.openai_paths import NULL

_COMPLETION_TOKENS: Final = 16

_Number = float | None | UnsetType
_Whole = int | None | UnsetType


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model is asked with where a request does not say; None leaves it to the model."""

    temperature: float | None = None
    top_p: float | None = None


USUAL: Final = Defaults(temperature=0.7)


class _Ranged(msgspec.Struct):
    max_tokens: _Whole = UNSET
    n: _Whole = UNSET
    temperature: _Number = UNSET
    top_p: _Number = UNSET
    top_k: _Whole = UNSET


_ranged = msgspec.json.Decoder(_Ranged)
_fields = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode

_NO_TURNS: Final = Raw(b'[{"role":"user","content":""}]')
"""Stands for a prompt that is no conversation while the rest is read."""


def read_chat(body: bytes, defaults: Defaults = USUAL) -> Generate:
    """The body of POST /v1/chat/completions and /api/v1/chat/completions.

    Without max_tokens an answer may fill what the prompt leaves of the context.
    Raises ServingError (bad_request) with the field at fault in `param`, OutOfRange among them.
    """
    _check(body)
    fields = decode(_fields, body)
    messages = fields.get("messages", Raw(b""))
    if not bytes(messages).startswith(b'"'):
        return _with_defaults(openai_requests.read_chat(body), defaults)
    prompt = TextPrompt((decode(_text, messages, "messages"),))
    request = openai_requests.read_chat(_encode({**fields, "messages": _NO_TURNS}))
    if request.sampling.max_tokens is UNSET:
        # For completions, which a bare prompt becomes, nothing means 16 tokens and null the rest of the context.
        sampling = msgspec.structs.replace(request.sampling, max_tokens=None)
        request = msgspec.structs.replace(request, sampling=sampling)
    return _with_defaults(msgspec.structs.replace(request, prompt=prompt), defaults)


def read_completion(body: bytes, defaults: Defaults = USUAL) -> Generate:
    """The body of POST /v1/completions.

    Raises ServingError as read_chat does.
    """
    _check(body)
    request = openai_requests.read_completion(body)
    if request.sampling.max_tokens in (None, UNSET):
        sampling = msgspec.structs.replace(request.sampling, max_tokens=_COMPLETION_TOKENS)
        request = msgspec.structs.replace(request, sampling=sampling)
    return _with_defaults(request, defaults)


def read_embedding(body: bytes, model: str = "") -> Embed:
    """The body of POST /v1/embeddings, or of /v1/engines/MODEL/embeddings, where the body may leave `model` out.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    if model:
        fields = decode(_fields, body)
        if fields.get("model", NULL) == NULL:
            body = _encode({**fields, "model": model})
    return openai_requests.read_embedding(body)


def only_allowed(models: Iterable[str], asked: str) -> str:
    """What is said to who asks for a model that is not there."""
    names = "&&".join(sorted(models))
    if not names:
        return f"No model is served now, your model {asked}. Start one, or a worker that registers, and ask again"
    return f"Only {names} allowed now, your model {asked}"


def _check(body: bytes) -> None:
    check_text(body)
    asked = decode(_ranged, body)
    _within("max_tokens", asked.max_tokens, minimum=1)
    _within("n", asked.n, minimum=1)
    _within("temperature", asked.temperature, minimum=0, maximum=2)
    _within("top_p", asked.top_p, minimum=0, maximum=1)
    if asked.top_k is not None and asked.top_k is not UNSET and asked.top_k != -1 and asked.top_k < 1:
        raise OutOfRange(f"{asked.top_k} is out of Range. Either set top_k to -1 or >=1.", "top_k")


def _within(name: str, value: _Number, *, minimum: int, maximum: int | None = None) -> None:
    if value is None or value is UNSET:
        return
    if value < minimum:
        raise OutOfRange(f"{value} is less than the minimum of {minimum} - '{name}'", name)
    if maximum is not None and value > maximum:
        raise OutOfRange(f"{value} is greater than the maximum of {maximum} - '{name}'", name)


def _with_defaults(request: Generate, defaults: Defaults) -> Generate:
    given = {
        name: value
        for name, value in (("temperature", defaults.temperature), ("top_p", defaults.top_p))
        if value is not None and getattr(request.sampling, name) is UNSET
    }
    if not given:
        return request
    return msgspec.structs.replace(request, sampling=msgspec.structs.replace(request.sampling, **given))
