"""Counting tokens in vLLM's words, which OpenAI's API has none for: POST /tokenize beside /v1, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Count, MessagesPrompt, Tokens
from trunkcall.protocols.openai_messages import emit_messages


class _Answer(msgspec.Struct):
    count: int
    tokens: tuple[int, ...]
    max_model_len: int | None = None
    pieces: tuple[tuple[Annotated[int, msgspec.Meta(ge=0, le=255)], ...], ...] | None = None


_answer = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode


def emit_count(request: Count, model: str) -> bytes:
    """The body for POST /tokenize; `return_pieces` is our own word, which our engines' hosts know.

    Parts that only other protocols know are left out, as emit_chat leaves them out of what is generated from.

    Raises ServingError (bad_request) for more texts than one.
    """
    prompt = request.prompt
    fields: dict[str, Any] = {"model": model}
    if request.pieces:
        fields["return_pieces"] = True
    if isinstance(prompt, MessagesPrompt):
        return _encode({**fields, "messages": emit_messages(prompt.messages, {}, [])})
    if len(prompt.texts) != 1:
        raise ServingError(
            "bad_request", "prompt: tokens are counted for one text at a time; send each on its own", param="prompt"
        )
    return _encode({**fields, "prompt": prompt.texts[0], "add_special_tokens": request.special})


def read_tokens(body: bytes) -> Tokens:
    """The answer of POST /tokenize.

    Raises ServingError (unsupported) when it is another server's: llama.cpp has the path too, ignores
    the fields of this request and answers with no tokens.
    """
    try:
        answer = _answer.decode(body)
        pieces = None
        if answer.pieces is not None and len(answer.pieces) == len(answer.tokens):
            pieces = tuple(bytes(piece) for piece in answer.pieces)
        return Tokens(len(answer.tokens), answer.tokens, answer.max_model_len, pieces)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "unsupported",
            f"the upstream does not count tokens as vLLM does ({error}); count them elsewhere, or use another upstream",
            upstream=(200, body),
        ) from None


def emit_tokens(tokens: Sequence[int], context: int, pieces: Sequence[bytes] | None = None) -> bytes:
    """The answer of POST /tokenize.

    context: the most tokens that prompt and answer may have; pieces: what each token writes, where it is asked for.
    """
    made: dict[str, Any] = {"count": len(tokens), "max_model_len": context, "tokens": tokens}
    if pieces is not None:
        made["pieces"] = [tuple(piece) for piece in pieces]
    return _encode(made)
