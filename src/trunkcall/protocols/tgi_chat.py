"""Conversations for a TGI server, whose /v1/chat/completions knows fewer words than OpenAI's and means some else."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from trunkcall.core.events import Event, Finish, Text
from trunkcall.core.requests import Count, Generate, MessagesPrompt
from trunkcall.protocols.openai_calls import emit_chat as emit_openai
from trunkcall.protocols.openai_messages import emit_messages
from trunkcall.protocols.tgi_grammar import emit_grammar
from trunkcall.protocols.tgi_stops import StopCutter
from trunkcall.protocols.tgi_words import MODEL, PROTOCOL

_TAKEN: Final = frozenset(
    "model messages stream stream_options max_tokens frequency_penalty presence_penalty seed stop temperature top_p"
    " logprobs top_logprobs tools tool_choice response_format".split()
)
_NO_DIFFERENCE: Final = frozenset({"n", "user", "include_stop_str_in_output"})
"""One answer is asked for; stop strings stay in it anyway."""

_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode


def emit_chat(request: Generate, *, adapter: str = "", room: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """The body for one streamed answer, and the names of fields that had to be dropped.

    adapter: the LoRA that answers; room: the tokens that an answer may have where the request does not say.

    Raises ServingError (unsupported) when the prompt is not a conversation.
    """
    shape = request.shape.format
    bare = msgspec.structs.replace(
        request,
        shape=msgspec.structs.replace(request.shape, format=UNSET),
        reporting=msgspec.structs.replace(request.reporting, stream=True, usage_in_stream=True, token_ids=False),
        extra={name: fields for name, fields in request.extra.items() if name != PROTOCOL},
    )
    body, dropped = emit_openai(bare, adapter or MODEL)
    fields: dict[str, Any] = dict(_fields.decode(body))
    if "max_completion_tokens" in fields:
        fields["max_tokens"] = fields.pop("max_completion_tokens")
    dropped += tuple(name for name in fields if name not in _TAKEN and name not in _NO_DIFFERENCE)
    made = {name: raw for name, raw in fields.items() if name in _TAKEN and raw != Raw(b"null")}
    if request.sampling.top_p in (0, 1):
        # Refused, though it changes nothing.
        made.pop("top_p", None)
    if "max_tokens" not in made and room is not None:
        made["max_tokens"] = room
    if shape:
        grammar = emit_grammar(shape)
        if grammar is not None:
            made["response_format"] = grammar
        elif shape.kind != "text":
            dropped += ("response_format",)
    if request.reporting.token_ids:
        dropped += ("return_token_ids",)
    return _encode(made), dropped


def emit_chat_count(request: Count, prompt: MessagesPrompt) -> bytes:
    """The body for /chat_tokenize."""
    return _encode({"model": request.model, "messages": emit_messages(prompt.messages, {}, [])})


class _Tokenized(msgspec.Struct):
    tokenize_response: Raw


_tokenized: Final = msgspec.json.Decoder(_Tokenized)


def tokens_in(body: bytes) -> bytes:
    """The list of tokens in the answer of /chat_tokenize; the answer itself where it has none."""
    try:
        return bytes(_tokenized.decode(body).tokenize_response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


class Cut:
    """Takes the stop string out of an answer's events, as OpenAI has it; for choice `index` of the caller's."""

    def __init__(self, stops: tuple[str, ...], index: int) -> None:
        self._cutter = StopCutter(stops)
        self._index = index

    def feed(self, event: Event) -> list[Event]:
        """What the caller is told."""
        match event:
            case Text():
                text = self._cutter.feed(event.text)
                return [Text(self._index, text, event.token_ids, event.logprobs)] if text or event.logprobs else []
            case Finish():
                rest = self._cutter.end()
                made: list[Event] = [Text(self._index, rest)] if rest else []
                return [*made, Finish(self._index, event.reason, self._cutter.matched or event.matched_stop)]
            case _:
                if self._index and hasattr(event, "index"):
                    return [msgspec.structs.replace(event, index=self._index)]
                return [event]
