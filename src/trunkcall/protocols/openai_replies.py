"""Reading OpenAI answers: an upstream's chunks or whole answers become events."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    UNLIKELY,
    Event,
    Fault,
    Finish,
    FinishReason,
    Notice,
    PromptIds,
    PromptTokens,
    Refusal,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.core.requests import Generate, TextPrompt, Vectors
from trunkcall.protocols.frames import DONE
from trunkcall.protocols.openai_errors import read_error
from trunkcall.protocols.openai_paths import NULL

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "max_tokens": "length",
    "abort": "cancelled",
    "cancelled": "cancelled",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Token(msgspec.Struct):
    token: str
    logprob: float | None = None
    bytes_: tuple[int, ...] | None = msgspec.field(default=None, name="bytes")
    top_logprobs: list[_Token] | None = None
    id: int | None = None
    special: bool | None = None


class _Logprobs(msgspec.Struct):
    """Both shapes: `content` is that of chat, the others are those of legacy completions; ours has both, see there."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    stop_reason: str | int | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """`usage` as upstreams send it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def counts(self) -> Usage:
        """The neutral form."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            self.prompt_tokens or 0,
            self.completion_tokens or 0,
            prompt.cached_tokens if prompt is not None else None,
            completion.reasoning_tokens if completion is not None else None,
        )


class _Answer(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: float | None = None
    system_fingerprint: str | None = None
    choices: list[_Choice] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    usage: WireUsage | None = None
    error: Raw = Raw(b"")
    notices: Raw = Raw(b"")


class _Notice(msgspec.Struct):
    text: str
    level: str = "info"


class _Embedding(msgspec.Struct):
    embedding: tuple[float, ...] | str
    index: int = 0


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: WireUsage | None = None


_answer = msgspec.json.Decoder(_Answer)
_notices = msgspec.json.Decoder(list[_Notice])
_embeddings = msgspec.json.Decoder(_Embeddings)
_encode = msgspec.json.Encoder().encode


def reason_of(word: str) -> FinishReason:
    """The neutral reason for an upstream's finish_reason; words unknown to us mean a normal end."""
    return _REASONS.get(word, "stop")


class ChatStreamReader:
    """Reads the payloads of one streamed chat answer.

    Tolerates missing usage, role-only deltas, empty choices, empty or unknown finish
    reasons and a missing [DONE]; what cannot be read or carries an error becomes a Fault.
    """

    def __init__(self) -> None:
        self._started = False
        self._done = False
        self._over = False
        self._open: set[int] = {0}
        self._finished: set[int] = set()
        self._slots: dict[int, list[str]] = {}
        self._usage: WireUsage | None = None
        self._echoes: dict[int, str] = {}
        self._held: dict[int, tuple[str, tuple[TokenLogprob, ...]]] = {}
        self._per_prompt = 1
        self._prompts: dict[int, tuple[int, ...]] = {}

    def feed(self, payload: bytes) -> list[Event]:
        """The events of one payload, the data of one server-sent event; nothing after a Fault or [DONE]."""
        if self._over:
            return []
        if payload == DONE:
            self._done = True
            return self.end()
        try:
            answer = _answer.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._fail(
                ServingError(
                    "upstream_error", f"the upstream sent an unreadable answer: {error}", upstream=(200, payload)
                )
            )
        if answer.error and answer.error != NULL:
            return self._fail(read_error(200, payload))
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(
                Start(answer.id or "", answer.model or "", int(answer.created or 0), answer.system_fingerprint)
            )
        if answer.notices:
            events.extend(_read_notices(answer.notices))
        if answer.prompt_token_ids is not None:
            self._prompt_ids(0, answer.prompt_token_ids, events)
        for choice in answer.choices or ():
            if choice.index not in self._finished:
                self._open.add(choice.index)
                self._read(choice, events)
        if answer.usage is not None:
            self._usage = answer.usage
        return events

    def end(self) -> list[Event]:
        """The events that close the answer; a Fault when the upstream stopped in the middle."""
        if self._over:
            return []
        waiting = sorted(self._open - self._finished)
        if not self._started or (waiting and not self._done):
            return self._fail(ServingError("upstream_error", "the upstream's answer ended early"))
        self._over = True
        events: list[Event] = []
        # Held until now because some upstreams report more than once, the last time in full.
        if self._usage is not None:
            events.append(self._usage.counts())
        events.extend(Finish(index, "stop") for index in waiting)
        return events

    def _fail(self, error: ServingError) -> list[Event]:
        self._over = True
        return [Fault(error)]

    def _prompt_ids(self, place: int, ids: tuple[int, ...], events: list[Event]) -> None:
        if place not in self._prompts:
            self._prompts[place] = ids
            events.append(PromptIds(place, ids))

    def _read(self, choice: _Choice, events: list[Event]) -> None:
        index = choice.index
        if choice.prompt_token_ids is not None:
            self._prompt_ids(index // self._per_prompt, choice.prompt_token_ids, events)
        delta = choice.delta or choice.message
        text = choice.text
        if delta is not None:
            text = delta.content
            thinking = delta.reasoning_content or delta.reasoning
            if thinking:
                events.append(Thinking(index, thinking))
            if delta.refusal:
                events.append(Refusal(index, delta.refusal))
        logprobs = _token_logprobs(choice.logprobs) if choice.logprobs is not None else None
        if text and index in self._echoes:
            text, left = self._without_echo(index, text, logprobs or (), events)
            logprobs = left or None
        if logprobs is not None:
            logprobs = _with_ids(logprobs, choice.token_ids)
        if text or logprobs or choice.token_ids:
            events.append(Text(index, text or "", choice.token_ids, logprobs))
        if delta is not None:
            for call in delta.tool_calls or ():
                events.append(self._tool_call(index, call))
            if delta.function_call is not None:
                events.append(self._tool_call(index, _Call(0, None, delta.function_call)))
        if choice.finish_reason:
            if index in self._held:
                text, left = self._held.pop(index)
                events.append(Text(index, text, None, left or None))
            self._finished.add(index)
            matched = choice.stop_reason
            events.append(Finish(index, reason_of(choice.finish_reason), matched if isinstance(matched, str) else None))

    def _tool_call(self, index: int, call: _Call) -> ToolCall:
        """Some upstreams leave the index out; then each new id opens a slot."""
        ids = self._slots.setdefault(index, [])
        slot = call.index
        if slot is None:
            if call.id is not None and call.id in ids:
                slot = ids.index(call.id)
            else:
                slot = len(ids) if call.id is not None or not ids else len(ids) - 1
        known = slot < len(ids)
        name = call.function.name if call.function is not None else None
        identity = call.id
        if not known:
            ids.extend("" for _ in range(slot - len(ids)))
            identity = call.id or f"call_{index}_{slot}"
            ids.append(identity)
        arguments = call.function.arguments if call.function is not None else None
        if isinstance(arguments, dict):
            arguments = _encode(arguments).decode()
        return ToolCall(index, slot, arguments or "", identity or None, name or None)

    def _without_echo(
        self, index: int, text: str, logprobs: tuple[TokenLogprob, ...], events: list[Event]
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """Cut the echoed prompt off; its log probabilities become PromptTokens. Holds what may still be echo."""
        echo = self._echoes[index]
        held, held_logprobs = self._held.pop(index, ("", ()))
        text = held + text
        logprobs = held_logprobs + logprobs
        if len(text) < len(echo) and echo.startswith(text):
            self._held[index] = text, logprobs
            return "", ()
        del self._echoes[index]
        if not text.startswith(echo):
            return text, logprobs
        if logprobs:
            ids = self._prompts.get(index // self._per_prompt)
            count = _count(logprobs, len(echo)) if ids is None else len(ids)
            if index % self._per_prompt == 0:
                events.append(PromptTokens(_with_ids(logprobs[:count], ids)))
            logprobs = logprobs[count:]
        return text[len(echo) :], logprobs


class CompletionStreamReader(ChatStreamReader):
    """Reads the payloads of one streamed completion.

    request: as it was sent; where it asks for an echo of text prompts or for their probabilities, the echo is cut off
    the text, because events never hold the prompt, and its log probabilities become PromptTokens.
    """

    def __init__(self, request: Generate | None = None) -> None:
        super().__init__()
        if request is not None:
            self._per_prompt = request.sampling.n or 1
        echoed = request is not None and (request.reporting.echo or request.reporting.prompt_logprobs)
        if request is not None and echoed and isinstance(request.prompt, TextPrompt):
            for position, text in enumerate(request.prompt.texts):
                if text:
                    first = position * self._per_prompt
                    self._echoes.update((first + offset, text) for offset in range(self._per_prompt))


def read_chat_answer(body: bytes) -> list[Event]:
    """The events of a whole chat answer.

    Raises ServingError (upstream_error, or as the error object in the body says).
    """
    return _whole(ChatStreamReader(), body)


def read_completion_answer(body: bytes, request: Generate | None = None) -> list[Event]:
    """The events of a whole completion; `request` as for CompletionStreamReader.

    Raises ServingError (upstream_error, or as the error object in the body says).
    """
    return _whole(CompletionStreamReader(request), body)


def _whole(reader: ChatStreamReader, body: bytes) -> list[Event]:
    events = reader.feed(body)
    events += reader.feed(DONE)
    for event in events:
        if isinstance(event, Fault):
            raise event.error
    return events


def read_embedding_answer(body: bytes) -> Vectors:
    """The vectors of an embeddings answer, as number lists or base64 of little-endian float32.

    Raises ServingError (upstream_error).
    """
    try:
        answer = _embeddings.decode(body)
        rows = sorted(answer.data, key=lambda row: row.index)
        vectors = tuple(_vector(row.embedding) for row in rows)
    except (msgspec.DecodeError, binascii.Error, struct.error, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "upstream_error", f"the upstream sent unreadable embeddings: {error}", upstream=(200, body)
        ) from None
    return Vectors(vectors, answer.usage.counts().prompt if answer.usage is not None else 0)


def _vector(embedding: tuple[float, ...] | str) -> tuple[float, ...]:
    if not isinstance(embedding, str):
        return embedding
    data = base64.b64decode(embedding, validate=True)
    return struct.unpack(f"<{len(data) // 4}f", data)


def _read_notices(raw: Raw) -> list[Notice]:
    """Those of another Trunkcall; nothing where an upstream means something else by the word."""
    try:
        return [Notice("warning" if one.level == "warning" else "info", one.text) for one in _notices.decode(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _token_logprobs(logprobs: _Logprobs) -> tuple[TokenLogprob, ...] | None:
    if logprobs.content is not None:
        return tuple(_token(token) for token in logprobs.content)
    return tuple(_legacy_tokens(logprobs, logprobs.tokens)) if logprobs.tokens else None


def _with_ids(tokens: tuple[TokenLogprob, ...], ids: tuple[int, ...] | None) -> tuple[TokenLogprob, ...]:
    """ids: of the same tokens, which vLLM tells beside them."""
    if ids is None or len(ids) != len(tokens):
        return tokens
    return tuple(
        token if token.id is not None else msgspec.structs.replace(token, id=id)
        for token, id in zip(tokens, ids, strict=True)
    )


def _count(tokens: tuple[TokenLogprob, ...], length: int) -> int:
    """How many tokens write so many characters."""
    count = reached = 0
    while count < len(tokens) and reached < length:
        reached += 0 if tokens[count].special else len(tokens[count].token)
        count += 1
    return count


def _legacy_tokens(logprobs: _Logprobs, tokens: list[str]) -> Iterator[TokenLogprob]:
    values = logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or []
    for place, token in enumerate(tokens):
        best = (tops[place] if place < len(tops) else None) or {}
        top = tuple(TokenLogprob(other, value) for other, value in sorted(best.items(), key=lambda item: -item[1]))
        yield TokenLogprob(token, _or_unlikely(values[place] if place < len(values) else None), None, top)


def _token(token: _Token) -> TokenLogprob:
    top = tuple(_token(other) for other in token.top_logprobs or ())
    return TokenLogprob(
        token.token, _or_unlikely(token.logprob), token.bytes_, top, id=token.id, special=bool(token.special)
    )


def _or_unlikely(value: float | None) -> float:
    return UNLIKELY if value is None else value
