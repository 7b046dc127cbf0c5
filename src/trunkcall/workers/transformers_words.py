"""A model's tokenizer and chat template: conversations and texts to tokens, tokens to text and bytes."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from trunkcall.core.errors import ServingError
from trunkcall.workers.transformers_tools import OPEN

_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_UNDERLINE: Final = "\u2581"
"""How SentencePiece writes a space."""


class Words:
    """The tokenizer of one model; size: tokens that the model has a row for.

    template: the chat template's own text when the one of the folder is not to be used.
    """

    def __init__(self, tokenizer: Any, size: int, template: str = "") -> None:
        self._tokenizer = tokenizer
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is not None:
            # tokenizer.json may ask for both, for training; texts would be cut in silence.
            self._fast.no_truncation()
            self._fast.no_padding()
        self.size = size
        self.fast = self._fast
        """As the tokenizers library has it; None for a tokenizer in Python."""
        if template:
            tokenizer.chat_template = template
        found = tokenizer.chat_template
        self._template = json.dumps(found) if isinstance(found, dict) else str(found or "")
        self.takes_tools = "tools" in self._template
        self.takes_effort = "reasoning_effort" in self._template
        self._reserved = frozenset(inspect.signature(tokenizer.apply_chat_template).parameters) | {
            "messages",
            "add_generation_prompt",
        }
        special: Sequence[str] = tokenizer.all_special_tokens
        self._special = frozenset(tokenizer.all_special_ids)
        self._calls_are_special = OPEN in special
        self._bytes = _byte_of_letter() if "ByteLevel" in repr(getattr(self._fast, "decoder", "")) else None

    def tokens(self, text: str, *, special: bool) -> tuple[int, ...]:
        """The tokens of a text; special: with those that the model puts around one."""
        if self._fast is not None:
            # Not by the tokenizer's own call, which sets its padding anew and cannot be called by two threads.
            return tuple(self._fast.encode(text, add_special_tokens=special).ids)
        return tuple(self._tokenizer.encode(text, add_special_tokens=special))

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None,
        arguments: dict[str, Any],
        *,
        unfinished: bool,
    ) -> str:
        """A conversation by the model's template; unfinished: its last message is to be continued.

        Raises ServingError (bad_request) when there is no template or it refuses the conversation.
        """
        if not self._template:
            raise ServingError(
                "unsupported",
                "this model has no chat template; send texts to /v1/completions, or start it with the option template",
            )
        taken = sorted(self._reserved & arguments.keys())
        if taken:
            name = f"chat_template_kwargs.{taken[0]}"
            raise ServingError("bad_request", f"{name}: this is not the template's to set", param=name)
        try:
            return self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,
                tokenize=False,
                add_generation_prompt=not unfinished,
                continue_final_message=unfinished,
                **arguments,
            )
        except Exception as error:
            # A template is a program of the model's authors: it raises what Python says to what it did not foresee.
            raise ServingError(
                "bad_request", f"messages: the model's chat template refuses them: {error}", param="messages"
            ) from error

    def decoder(self, *, calls: bool) -> Callable[[Sequence[int]], str]:
        """How tokens become text; calls: marks of tool calls are part of it, where the model has tokens for them."""
        skip = not (calls and self._calls_are_special)
        if self._fast is not None:
            return partial(_decode_fast, self._fast, skip)
        return partial(self._tokenizer.decode, skip_special_tokens=skip)

    def is_special(self, token: int) -> bool:
        """Whether a token is a mark that is no part of an answer's text."""
        return token in self._special

    def raw(self, token: int) -> bytes:
        """The bytes of one token, which need not be whole characters."""
        text = self._tokenizer.convert_ids_to_tokens(token)
        if text is None:
            return b""
        if self._bytes is not None:
            try:
                return bytes(self._bytes[letter] for letter in text)
            except KeyError:
                # Tokens that were added later are written as they are.
                return text.encode()
        byte = _BYTE.fullmatch(text)
        return bytes([int(byte[1], 16)]) if byte else text.replace(_UNDERLINE, " ").encode()


def _decode_fast(fast: Any, skip: bool, ids: Sequence[int]) -> str:
    return fast.decode(list(ids), skip_special_tokens=skip)


def _byte_of_letter() -> dict[str, int]:
    """Byte-level tokenizers (GPT-2's) write each byte as a letter: printable ones as themselves, others from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}
