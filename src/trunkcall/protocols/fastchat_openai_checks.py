"""FastChat's question whether prompts fit their models: /api/v1/token_check, both ways."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trunkcall.protocols.openai_decode import check_text, decode


class Asked(msgspec.Struct, frozen=True):
    """One prompt, and how many tokens its answer is to have."""

    model: str
    prompt: str
    max_tokens: int


class _Question(msgspec.Struct):
    prompts: list[Asked]


class Checked(msgspec.Struct, frozen=True, rename="camel"):
    """Whether prompt and answer fit; tokens of the prompt, and of the context that both must fit into."""

    fits: bool
    token_count: int
    context_length: int


_question = msgspec.json.Decoder(_Question)


def read_token_check(body: bytes) -> list[Asked]:
    """The prompts, in order.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    return decode(_question, body).prompts


def emit_checked(checked: Iterable[Checked]) -> bytes:
    """The answer, in the order of the question."""
    return msgspec.json.encode({"prompts": list(checked)})
