"""What a FastChat worker is asked beside generating, and what it answers: vectors, counts and the model's length."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Embed, Vectors
from trunkcall.protocols.fastchat_words import OK
from trunkcall.protocols.openai_decode import check_text, decode


class _Model(msgspec.Struct):
    model: str | None | UnsetType = UNSET


class _Prompt(msgspec.Struct):
    prompt: str | UnsetType = UNSET


class _Embeddings(msgspec.Struct):
    input: str | list[str] | UnsetType = UNSET
    encoding_format: str | None | UnsetType = UNSET


_model = msgspec.json.Decoder(_Model)
_prompt = msgspec.json.Decoder(_Prompt)
_embeddings = msgspec.json.Decoder(_Embeddings)
_encode = msgspec.json.Encoder().encode


def read_model(body: bytes) -> str:
    """The model that a body of any route names; empty where it names none, as questions about a status do.

    Raises ServingError (bad_request) for a body that is no JSON object, and for a name that is no text.
    """
    if not body.strip():
        return ""
    return decode(_model, body).model or ""


def read_prompt(body: bytes) -> str:
    """The prompt of /count_token and of a generation.

    Raises ServingError (bad_request) where there is none.
    """
    check_text(body)
    prompt = decode(_prompt, body).prompt
    if prompt is UNSET:
        raise ServingError("bad_request", "prompt: this field is required; send the prompt as text", param="prompt")
    return prompt


def read_embeddings(body: bytes, model: str) -> Embed:
    """The body of /worker_get_embeddings, whose input is a list of texts, or one.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    asked = decode(_embeddings, body)
    if asked.input is UNSET or not asked.input:
        raise ServingError("bad_request", "input: send a list of texts, one at least", param="input")
    if asked.encoding_format not in (UNSET, None, "float", "base64"):
        raise ServingError(
            "bad_request",
            f"encoding_format: {asked.encoding_format!r} is neither float nor base64; leave it out for numbers",
            param="encoding_format",
        )
    return Embed(
        model=model,
        inputs=(asked.input,) if isinstance(asked.input, str) else tuple(asked.input),
        encoding="base64" if asked.encoding_format == "base64" else "float",
    )


def emit_embeddings(vectors: Vectors, request: Embed) -> bytes:
    """The answer of /worker_get_embeddings: vectors of unit length, as numbers or base64 of little-endian float32."""
    units = [_unit(vector) for vector in vectors.vectors]
    shown: list[Any] = units
    if request.encoding == "base64":
        shown = [base64.b64encode(struct.pack(f"<{len(unit)}f", *unit)).decode() for unit in units]
    return _encode({"embedding": shown, "token_num": vectors.prompt_tokens})


def emit_count(tokens: int) -> bytes:
    """The answer of /count_token."""
    return _encode({"count": tokens, "error_code": OK})


def emit_details(context: int) -> bytes:
    """The answer of /model_details; context: the most tokens that prompt and answer may have together."""
    return _encode({"context_length": context})


def _unit(vector: tuple[float, ...]) -> tuple[float, ...]:
    length = math.hypot(*vector)
    return tuple(number / length for number in vector) if length else vector
