"""Emitting OpenAI answers: events become what a client of chat or completions reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    Notice,
    PromptIds,
    PromptTokens,
    Queue,
    Refusal,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.core.requests import Generate
from trunkcall.protocols.frames import DONE_FRAME, comment
from trunkcall.protocols.openai_errors import failure, fault_frame
from trunkcall.protocols.openai_whole import (
    Collected,
    chat_answer,
    chat_finish,
    chat_logprobs,
    completion_answer,
    completion_finish,
    completion_logprobs,
    echo_of,
    named,
    notices_of,
    usage_of,
)

_encode = msgspec.json.Encoder().encode

_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"
_UNFINISHED: Final = b'},"logprobs":null,"finish_reason":null}]}\n\n'
"""What follows the last member of a delta."""


_Make = Callable[[Collected, Generate], dict[str, Any]]


class _Answer:
    """What both answers share: their state, and how they end. answer: makes the whole one."""

    def __init__(self, request: Generate, stream: bool, answer: _Make) -> None:
        self.content_type = _EVENTS if stream else _JSON
        self._request = request
        self._whole = None if stream else Collected()
        self._head = b""
        self._heads: dict[int, bytes] = {}
        self._answer = answer
        self._usage: Usage | None = None
        self._early: list[Notice] = []
        self._reason = b"null"
        self._over = False

    def end(self) -> bytes:
        """The usage when it was asked for and [DONE], or the whole answer."""
        if self._whole is not None:
            return _encode(self._answer(self._whole, self._request))
        if self._over:
            return b""
        self._over = True
        if self._usage is None or not self._request.reporting.usage_in_stream:
            return DONE_FRAME
        return b'%b"choices":[],"usage":%b}\n\n%b' % (self._head, _encode(usage_of(self._usage)), DONE_FRAME)

    def fault(self, error: ServingError) -> bytes:
        """The error as the stream tells it, and [DONE], so that no client goes on waiting."""
        if self._whole is not None:
            return failure(error).body
        self._over = True
        return fault_frame(error) + DONE_FRAME

    def _stop_reason(self, finish: Finish) -> bytes:
        """The member that names a stop string, as vLLM has it, for callers who asked for more than the public API."""
        if finish.matched_stop is None or not self._request.reporting.token_ids:
            return b""
        return b',"stop_reason":%b' % _encode(finish.matched_stop)

    def _notice(self, notice: Notice, nothing: bytes) -> bytes:
        """A chunk that adds nothing to choice 0, because no SDK shows a comment; `nothing` is its empty member.

        The notice stands in front, so that the chunk ends as others do, which watchers of a stream count on.
        """
        return b'%b"notices":%b,"choices":[{"index":0,%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
            self._head,
            _encode(notices_of((notice,))),
            nothing,
            self._reason,
        )


class ChatEmitter(_Answer):
    """Emits one chat answer, streamed or whole; fits core.ports.Emitter.

    A whole answer's `feed` raises the error of a Fault, because its head is not sent yet.
    """

    def __init__(self, request: Generate, stream: bool) -> None:
        super().__init__(request, stream, chat_answer)
        self._prompt = b""

    def feed(self, event: Event) -> bytes:
        """Bytes to send now; empty for a whole answer that is still growing."""
        if self._whole is not None:
            self._whole.add(event)
            return b""
        if type(event) is Text:
            head = self._heads.get(event.index)
            if head is not None and event.logprobs is None and event.token_ids is None:
                return b'%b{"content":%b%b' % (head, _encode(event.text), _UNFINISHED)
        return self._feed(event)

    def _feed(self, event: Event) -> bytes:
        match event:
            case Text():
                token_ids = event.token_ids if self._request.reporting.token_ids else None
                if not event.text and token_ids is None and _special_only(event.logprobs):
                    return b""
                return self._delta(event.index, {"content": event.text}, event.logprobs, token_ids)
            case Thinking():
                return self._delta(event.index, {"reasoning_content": event.text})
            case Refusal():
                return self._delta(event.index, {"refusal": event.text})
            case ToolCall():
                return self._delta(event.index, {"tool_calls": [_call_fragment(event)]})
            case Finish():
                opened = self._open(event.index)
                reason = _encode(chat_finish(event.reason))
                if event.index == 0:
                    self._reason = reason
                end = reason + self._stop_reason(event)
                return b'%b%b{},"logprobs":null,"finish_reason":%b}]}\n\n' % (opened, self._heads[event.index], end)
            case Start():
                chunk = _chunk_head("chatcmpl-", "chat.completion.chunk", self._request.model, event)
                self._head = b"data: %b" % chunk
                return b"".join([self._feed(notice) for notice in self._early])
            case Usage():
                self._usage = event
                return b""
            case Fault():
                return self.fault(event.error)
            case Queue():
                return comment_frame(event)
            case Notice() if not self._head:
                self._early.append(event)
                return b""
            case Notice():
                return self._open(0) + self._notice(event, b'"delta":{}')
            case PromptIds():
                if self._request.reporting.token_ids:
                    self._prompt = b'"prompt_token_ids":%b,' % _encode(event.ids)
                return b""
            case PromptTokens():
                return b""

    def _open(self, index: int) -> bytes:
        """The chunk that begins a choice, the first time it is needed; the first of all tells the prompt's tokens."""
        if index in self._heads:
            return b""
        prompt, self._prompt = self._prompt, b""
        delta = b'"choices":[{"index":%d,"delta":' % index
        self._heads[index] = self._head + delta
        return b'%b%b%b{"role":"assistant","content":""%b' % (self._head, prompt, delta, _UNFINISHED)

    def _delta(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: tuple[TokenLogprob, ...] | None = None,
        token_ids: tuple[int, ...] | None = None,
    ) -> bytes:
        opened = self._open(index)
        head = self._heads[index]
        if logprobs is None and token_ids is None:
            return b"%b%b%b%b" % (opened, head, _encode(delta)[:-1], _UNFINISHED)
        return b'%b%b%b,"logprobs":%b,%b"finish_reason":null}]}\n\n' % (
            opened,
            head,
            _encode(delta),
            _encode(chat_logprobs(logprobs, self._request.reporting.token_ids)),
            b'"token_ids":%b,' % _encode(token_ids) if token_ids is not None else b"",
        )


class CompletionEmitter(_Answer):
    """Emits one answer of legacy completions, streamed or whole; fits core.ports.Emitter.

    The choices of the k-th prompt of a batch have the indexes k*n to k*n + n-1, as in the events.
    Thinking, refusals and tool calls have no place in this protocol and are left out.
    """

    def __init__(self, request: Generate, stream: bool) -> None:
        super().__init__(request, stream, completion_answer)
        self._offsets: dict[int, int] = {}
        self._prompts: list[tuple[TokenLogprob, ...]] = []
        self._prompt_ids: dict[int, tuple[int, ...]] = {}

    def feed(self, event: Event) -> bytes:
        """Bytes to send now; empty for a whole answer that is still growing.

        Raises the error of a Fault while nothing of a whole answer has been sent.
        """
        if self._whole is not None:
            self._whole.add(event)
            return b""
        if type(event) is Text:
            head = self._heads.get(event.index)
            if head is not None and event.logprobs is None and event.token_ids is None:
                return b'%b%b,"logprobs":null,"finish_reason":null}]}\n\n' % (head, _encode(event.text))
        return self._feed(event)

    def _feed(self, event: Event) -> bytes:
        match event:
            case Text():
                token_ids = event.token_ids if self._request.reporting.token_ids else None
                if not event.text and token_ids is None and _special_only(event.logprobs):
                    return b""
                told = b"" if token_ids is None else b'"token_ids":%b,' % _encode(token_ids)
                return self._open(event.index) + self._piece(event.index, event.text, event.logprobs, told)
            case Finish():
                opened = self._open(event.index)
                reason = _encode(completion_finish(event.reason))
                if event.index == 0:
                    self._reason = reason
                end = reason + self._stop_reason(event)
                return b'%b%b"","logprobs":null,"finish_reason":%b}]}\n\n' % (opened, self._heads[event.index], end)
            case Start():
                chunk = _chunk_head("cmpl-", "text_completion", self._request.model, event)
                self._head = b"data: %b" % chunk
                return b"".join([self._feed(notice) for notice in self._early])
            case Usage():
                self._usage = event
                return b""
            case PromptTokens():
                self._prompts.append(event.tokens)
                return b""
            case PromptIds():
                if self._request.reporting.token_ids:
                    self._prompt_ids[event.place] = event.ids
                return b""
            case Fault():
                return self.fault(event.error)
            case Queue():
                return comment_frame(event)
            case Notice() if not self._head:
                self._early.append(event)
                return b""
            case Notice():
                return self._notice(event, b'"text":""')
            case Thinking() | Refusal() | ToolCall():
                return b""

    def _open(self, index: int) -> bytes:
        """The prompt's tokens and its echo where they were asked for, the first time a choice speaks."""
        if index in self._heads:
            return b""
        self._heads[index] = b'%b"choices":[{"index":%d,"text":' % (self._head, index)
        text, tokens = echo_of(self._request, self._prompts, index)
        ids = self._prompt_ids.get(index // (self._request.sampling.n or 1))
        told = b"" if ids is None else b'"prompt_token_ids":%b,' % _encode(ids)
        return self._piece(index, text, tokens or None, told, first=True) if text or told else b""

    def _piece(
        self,
        index: int,
        text: str,
        logprobs: tuple[TokenLogprob, ...] | None,
        ids: bytes,
        *,
        first: bool = False,
    ) -> bytes:
        """ids: the members that tell tokens, with a comma behind each."""
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(text)
        return b'%b%b,"logprobs":%b,%b"finish_reason":null}]}\n\n' % (
            self._heads[index],
            _encode(text),
            _encode(completion_logprobs(logprobs, offset, first, self._request.reporting.token_ids)),
            ids,
        )


def comment_frame(event: Queue) -> bytes:
    """That the request waits, as a comment in the stream."""
    return comment(f"queue position {event.position}" + (f", {event.loading}" if event.loading else ""))


def _special_only(tokens: tuple[TokenLogprob, ...] | None) -> bool:
    """Nothing that is shown where nobody asked for ids."""
    return all(token.special for token in tokens or ())


def _chunk_head(prefix: str, object: str, model: str, start: Start) -> bytes:
    """The members that all chunks of a stream share, without the closing brace; prefix: of the id."""
    id = start.id if start.seen else named(prefix, start.id)
    model = start.model if start.seen else model
    fields: dict[str, Any] = {"id": id, "object": object, "created": start.created, "model": model}
    if start.fingerprint is not None:
        fields["system_fingerprint"] = start.fingerprint
    return _encode(fields)[:-1] + b","


def _call_fragment(call: ToolCall) -> dict[str, Any]:
    function: dict[str, str] = {"arguments": call.arguments}
    if call.name is not None:
        function["name"] = call.name
    made: dict[str, Any] = {"index": call.slot, "function": function}
    if call.id is not None:
        made["id"] = call.id
        made["type"] = "function"
    return made
