"""Reading Gemini answers: an upstream's chunks or whole answers become events."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    FinishReason,
    Notice,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.core.requests import Tokens, Vectors
from trunkcall.protocols.gemini_errors import read_error

T = TypeVar("T")

Keep = Callable[[str, bytes], None]
"""Takes the id of a tool call and what the model wants to see again with it."""

_ENDS: Final[dict[str, FinishReason]] = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length"}

_FILTERED: Final = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
    }
)

_FAILED: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "PUP_LIMITED_DISABLED",
    }
)
"""Ends that leave no answer to work with."""


class _Call(msgspec.Struct):
    name: str = ""
    id: str = ""
    args: Raw = Raw(b"{}")


class _Blob(msgspec.Struct):
    mimeType: str = ""


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool = False
    thoughtSignature: str | None = None
    functionCall: _Call | None = None
    inlineData: _Blob | None = None
    fileData: _Blob | None = None
    executableCode: Raw = Raw(b"")
    codeExecutionResult: Raw = Raw(b"")
    toolCall: Raw = Raw(b"")
    toolResponse: Raw = Raw(b"")

    @property
    def unsaid(self) -> str:
        """What the part holds that events have no word for; empty for nothing."""
        blob = self.inlineData or self.fileData
        if blob is not None:
            return f"a file of type {blob.mimeType or 'unknown'}"
        if self.executableCode or self.codeExecutionResult:
            return "code that the upstream ran"
        return "a tool call that the upstream answered itself" if self.toolCall or self.toolResponse else ""


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Rating(msgspec.Struct):
    category: str = ""
    probability: str = ""
    blocked: bool = False


class _Token(msgspec.Struct):
    token: str = ""
    logProbability: float = 0.0


class _Tops(msgspec.Struct):
    candidates: list[_Token] = []


class _Logprobs(msgspec.Struct):
    chosenCandidates: list[_Token] = []
    topCandidates: list[_Tops] = []

    def tokens(self) -> tuple[TokenLogprob, ...]:
        """The neutral form."""
        tops = [[_logprob(one) for one in step.candidates] for step in self.topCandidates]
        return tuple(
            TokenLogprob(one.token, one.logProbability, None, tuple(tops[place]) if place < len(tops) else ())
            for place, one in enumerate(self.chosenCandidates)
        )


class _Candidate(msgspec.Struct):
    index: int = 0
    content: _Content | None = None
    finishReason: str | None = None
    finishMessage: str | None = None
    safetyRatings: list[_Rating] | None = None
    logprobsResult: _Logprobs | None = None
    continuationToken: str | None = None


class _Feedback(msgspec.Struct):
    blockReason: str | None = None
    blockReasonMessage: str | None = None
    safetyRatings: list[_Rating] | None = None


class _Usage(msgspec.Struct):
    promptTokenCount: int = 0
    toolUsePromptTokenCount: int = 0
    candidatesTokenCount: int = 0
    cachedContentTokenCount: int | None = None
    thoughtsTokenCount: int | None = None

    def counts(self) -> Usage:
        """The neutral form, in which an answer's tokens hold those of its thoughts."""
        return Usage(
            self.promptTokenCount + self.toolUsePromptTokenCount,
            self.candidatesTokenCount + (self.thoughtsTokenCount or 0),
            self.cachedContentTokenCount,
            self.thoughtsTokenCount,
        )


class _Answer(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _Feedback | None = None
    usageMetadata: _Usage | None = None
    modelVersion: str | None = None
    responseId: str | None = None
    error: Raw = Raw(b"")


class _Embedding(msgspec.Struct):
    values: tuple[float, ...]


class _EmbeddingUsage(msgspec.Struct):
    promptTokenCount: int = 0


class _Embeddings(msgspec.Struct):
    embeddings: list[_Embedding]
    usageMetadata: _EmbeddingUsage | None = None


class _Count(msgspec.Struct):
    totalTokens: int = 0


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Model] = []


_answer = msgspec.json.Decoder(_Answer)
_embeddings = msgspec.json.Decoder(_Embeddings)
_count = msgspec.json.Decoder(_Count)
_models = msgspec.json.Decoder(_Models)


class GenerateReader:
    """Reads the payloads of one answer: the data of server-sent events, or one whole body.

    created: unix seconds, which the protocol does not tell; choices: how many answers were asked for;
    keep: told of each tool call's signature.
    """

    def __init__(self, created: int, choices: int, keep: Keep) -> None:
        self.continuation = ""
        """The token with which to ask for the rest, when the answer ended in the middle."""
        self._created = created
        self._choices = choices
        self._keep = keep
        self._started = False
        self._over = False
        self._slots: dict[int, int] = {}
        self._finished: set[int] = set()
        self._usage: Usage | None = None
        self._earlier: Usage | None = None
        self._unsaid: set[str] = set()

    def feed(self, payload: bytes) -> list[Event]:
        """The events of one payload; nothing after a Fault."""
        if self._over:
            return []
        try:
            answer = _answer.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._fail(
                ServingError(
                    "upstream_error", f"the upstream sent an unreadable answer: {error}", upstream=(200, payload)
                )
            )
        if answer.error:
            return self._fail(read_error(200, payload))
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(Start(answer.responseId or uuid.uuid4().hex, answer.modelVersion or "", self._created))
        if answer.usageMetadata is not None:
            self._usage = _total(self._earlier, answer.usageMetadata.counts())
        for candidate in answer.candidates or ():
            if candidate.index not in self._finished and not self._over:
                self._read(candidate, events)
        feedback = answer.promptFeedback
        if feedback is not None and feedback.blockReason and not answer.candidates:
            text = _because(feedback.blockReason, feedback.blockReasonMessage, feedback.safetyRatings)
            events.append(Notice("warning", f"the upstream refused the prompt: {text}"))
            events.extend(Finish(index, "content_filter") for index in range(self._choices))
            self._finished.update(range(self._choices))
        return events

    def go_on(self) -> None:
        """The payloads that follow are those of the answer to the continuation token."""
        self.continuation = ""
        self._earlier = self._usage

    def end(self) -> list[Event]:
        """The events that close the answer; a Fault when the upstream stopped in the middle."""
        if self._over:
            return []
        if not self._finished or not self._slots.keys() <= self._finished:
            return self._fail(ServingError("upstream_error", "the upstream's answer ended early"))
        self._over = True
        return [] if self._usage is None else [self._usage]

    def _fail(self, error: ServingError) -> list[Event]:
        self._over = True
        self.continuation = ""
        return [Fault(error)]

    def _read(self, candidate: _Candidate, events: list[Event]) -> None:
        index = candidate.index
        self._slots.setdefault(index, 0)
        logprobs = candidate.logprobsResult.tokens() if candidate.logprobsResult is not None else None
        for part in (candidate.content.parts if candidate.content is not None else None) or ():
            if part.functionCall is not None:
                events.append(self._tool_call(index, part.functionCall, part.thoughtSignature))
            elif part.text and part.thought:
                events.append(Thinking(index, part.text))
            elif part.text:
                events.append(Text(index, part.text, None, logprobs or None))
                logprobs = None
            elif part.unsaid and part.unsaid not in self._unsaid:
                self._unsaid.add(part.unsaid)
                events.append(Notice("warning", f"the answer holds {part.unsaid}, which cannot be shown here"))
        if logprobs:
            events.append(Text(index, "", None, logprobs))
        if candidate.finishReason:
            if candidate.finishReason == "CONTINUATION" and candidate.continuationToken and self._choices == 1:
                self.continuation = candidate.continuationToken
            else:
                self._finish(candidate, candidate.finishReason, events)

    def _tool_call(self, index: int, call: _Call, signature: str | None) -> ToolCall:
        slot = self._slots[index]
        self._slots[index] += 1
        identity = call.id or f"call_{uuid.uuid4().hex}"
        if signature:
            self._keep(identity, signature.encode())
        return ToolCall(index, slot, bytes(call.args).decode(), identity, call.name)

    def _finish(self, candidate: _Candidate, word: str, events: list[Event]) -> None:
        text = _because(word, candidate.finishMessage, candidate.safetyRatings)
        if word in _FAILED:
            events.extend(self._fail(ServingError("upstream_error", f"the upstream gave up the answer: {text}")))
            return
        index = candidate.index
        reason = "content_filter" if word in _FILTERED else _ENDS.get(word, "stop")
        if reason == "content_filter":
            events.append(Notice("warning", f"the upstream cut the answer off: {text}"))
        elif word not in _ENDS:
            events.append(Notice("info", f"the upstream ended the answer: {text}"))
        if reason == "stop" and self._slots[index]:
            reason = "tool_calls"
        self._finished.add(index)
        events.append(Finish(index, reason))


def read_embedding_answer(body: bytes) -> Vectors:
    """The vectors of a batchEmbedContents answer; raises ServingError (upstream_error)."""
    answer = _decode(_embeddings, body, "list of embeddings")
    usage = answer.usageMetadata
    return Vectors(tuple(one.values for one in answer.embeddings), usage.promptTokenCount if usage is not None else 0)


def read_count(body: bytes) -> Tokens:
    """The number of a countTokens answer, which does not say which tokens; raises ServingError (upstream_error)."""
    return Tokens(_decode(_count, body, "count").totalTokens)


def read_models(body: bytes) -> tuple[str, ...]:
    """The names in a list of models; raises ServingError (upstream_error)."""
    return tuple(model.name.removeprefix("models/") for model in _decode(_models, body, "list of models").models)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "upstream_error", f"the upstream sent an unreadable {what}: {error}", upstream=(200, body)
        ) from None


def _total(earlier: Usage | None, latest: Usage) -> Usage:
    """The prompt is counted once, however many requests the answer took."""
    if earlier is None:
        return latest
    reasoning = None if latest.reasoning is None else latest.reasoning + (earlier.reasoning or 0)
    return Usage(earlier.prompt, earlier.completion + latest.completion, earlier.cached, reasoning)


def _because(word: str, message: str | None, ratings: list[_Rating] | None) -> str:
    """An end in the upstream's words, with the categories that caused it."""
    blocked = [rating.category.removeprefix("HARM_CATEGORY_") for rating in ratings or () if rating.blocked]
    said = f"{word} ({', '.join(blocked)})" if blocked else word
    return f"{said}: {message}" if message else said


def _logprob(one: _Token) -> TokenLogprob:
    return TokenLogprob(one.token, one.logProbability)
