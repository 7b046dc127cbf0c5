"""What a client asks workers and controllers of FastChat beside generating, and their answers."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final, TypeVar

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Vectors
from trunkcall.protocols.fastchat_errors import error_of
from trunkcall.protocols.fastchat_words import OK

T = TypeVar("T")


class _Failed(msgspec.Struct):
    error_code: int = OK
    text: str = ""


class _Count(msgspec.Struct):
    count: int


class _Details(msgspec.Struct):
    context_length: int


class _Vectors(msgspec.Struct):
    embedding: list[tuple[float, ...] | str]
    token_num: int | None = None


class _Address(msgspec.Struct):
    address: str


class _Models(msgspec.Struct):
    models: tuple[str, ...]


_failed: Final = msgspec.json.Decoder(_Failed)
_count: Final = msgspec.json.Decoder(_Count)
_details: Final = msgspec.json.Decoder(_Details)
_vectors: Final = msgspec.json.Decoder(_Vectors)
_address: Final = msgspec.json.Decoder(_Address)
_models: Final = msgspec.json.Decoder(_Models)
_encode: Final = msgspec.json.Encoder().encode


def ask_about(model: str) -> bytes:
    """The question for an address, a template or details of a model."""
    return _encode({"model": model})


def ask_count(model: str, prompt: str) -> bytes:
    """The body for /count_token."""
    return _encode({"model": model, "prompt": prompt})


def ask_vectors(model: str, texts: tuple[str, ...]) -> bytes:
    """The body for /worker_get_embeddings; workers of old give numbers all the same."""
    return _encode({"model": model, "input": texts, "encoding_format": "base64"})


def read_count(body: bytes) -> int:
    """How many tokens a prompt has; raises ServingError (upstream_error, or what the worker says)."""
    return _read(_count, body, "count").count


def read_details(body: bytes) -> int:
    """The most tokens that prompt and answer may have; raises ServingError as read_count does."""
    return _read(_details, body, "details").context_length


def read_vectors(body: bytes) -> Vectors:
    """Vectors as numbers or base64 of little-endian float32; raises ServingError as read_count does."""
    told = _read(_vectors, body, "embeddings")
    try:
        vectors = tuple(_vector(one) for one in told.embedding)
    except (binascii.Error, ValueError, struct.error) as error:
        raise _unreadable("embeddings", body, error) from None
    return Vectors(vectors, told.token_num or 0)


def read_address(body: bytes) -> str:
    """The worker that a controller names for a model; empty for none.

    Raises ServingError (upstream_error).
    """
    return _read(_address, body, "address").address


def read_models(body: bytes) -> tuple[str, ...]:
    """The models that a controller lists; raises ServingError (upstream_error)."""
    return _read(_models, body, "list of models").models


def _vector(told: tuple[float, ...] | str) -> tuple[float, ...]:
    if not isinstance(told, str):
        return told
    data = base64.b64decode(told, validate=True)
    return struct.unpack(f"<{len(data) // 4}f", data)


def _read(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    try:
        failed = _failed.decode(body)
        if failed.error_code != OK:
            raise error_of(failed.error_code, failed.text)
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(what, body, error) from None


def _unreadable(what: str, body: bytes, error: Exception) -> ServingError:
    return ServingError(
        "upstream_error",
        f"the {what} that FastChat answered cannot be read ({error}); check that the address is right",
        upstream=(200, body),
    )
