"""Prompts that came as token ids, as text for models that are asked in text only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from trunkcall.core.errors import ServingError

_USUAL: Final = "cl100k_base"
"""What clients take for models whose names they do not know."""
_SECONDS: Final = 60.0
"""The first use of an encoding may fetch it."""


async def texts_of(prompts: Sequence[Sequence[int]], model: str, param: str) -> tuple[str, ...]:
    """The texts that tiktoken's ids stand for, in the encoding that it has for a model's name, else in cl100k_base.

    param: the request's field. Raises ServingError: unsupported without the package or the encoding's file,
    bad_request for an id that the encoding does not have.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await asyncio.to_thread(_decode, prompts, model, param)
    except TimeoutError:
        raise _unsupported("the encoding could not be fetched in time", param) from None


def _decode(prompts: Sequence[Sequence[int]], model: str, param: str) -> tuple[str, ...]:
    try:
        tiktoken: Any = import_module("tiktoken")
    except ImportError:
        raise _unsupported("the Python package tiktoken is not installed", param) from None
    try:
        try:
            encoding: Any = tiktoken.encoding_for_model(model)
        except KeyError:
            encoding = tiktoken.get_encoding(_USUAL)
    except (OSError, ValueError) as error:
        raise _unsupported(f"tiktoken could not fetch its encoding ({type(error).__name__})", param) from None
    try:
        return tuple(str(encoding.decode(list(ids))) for ids in prompts)
    except (KeyError, OverflowError):
        raise ServingError(
            "bad_request", f"{param}: has an id that the encoding {encoding.name} does not have", param=param
        ) from None


def _unsupported(reason: str, param: str) -> ServingError:
    return ServingError(
        "unsupported",
        f"{param}: this model is asked in text, and token ids cannot be turned into it: {reason}. Send text "
        "(LangChain: check_embedding_ctx_length=False), or `pip install tiktoken` on the server",
        param=param,
    )
