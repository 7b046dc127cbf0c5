"""Writing FastChat's answers: events become objects whose text is the whole answer so far."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    FinishReason,
    Notice,
    PromptTokens,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    Usage,
)
from trunkcall.core.requests import Generate
from trunkcall.protocols.fastchat_errors import JSON_TYPE, STREAM_TYPE, fault_frame
from trunkcall.protocols.fastchat_words import END, OK

_THOUGHTS: Final = ("<think>\n", "\n</think>\n\n")
"""What models that think put around it in their own text, which is all that a worker of FastChat shows."""

_WORDS: Final = {"length": "length", "cancelled": "abort"}

_encode: Final = msgspec.json.Encoder().encode


class FrameEmitter:
    """Emits one answer as a worker does; fits core.ports.Emitter.

    stream: an object for each piece, each ended by a zero byte, the last repeating the text with its finish_reason;
    else one object. before: what the text begins with (`echoed`); interval: pieces of the answer to an object, after
    the first, which is sent at once; presumed: tokens of the prompt, until or unless the replica tells them.
    The last object names notices in a member of our own, which other readers pass over.
    """

    def __init__(
        self, request: Generate, stream: bool, *, before: str = "", interval: int = 1, presumed: int = 0
    ) -> None:
        self.content_type = STREAM_TYPE if stream else JSON_TYPE
        self._stream = stream
        self._interval = interval
        self._text = before
        self._prompt_tokens = presumed
        self._tokens = 0
        self._unsent = 0
        self._due = 1
        """Pieces to the next object."""
        self._thinking = False
        self._usage: Usage | None = None
        self._reason: FinishReason = "stop"
        self._notices: list[dict[str, str]] = []
        self._logprobs = _Logprobs() if isinstance(request.reporting.logprobs, int) else None
        self._before = before

    def feed(self, event: Event) -> bytes:
        """Bytes to send now; raises the error of a Fault while a whole answer can still be replaced by it."""
        match event:
            case Text() if event.index == 0:
                return self._add(event.text, event.logprobs, len(event.token_ids or event.logprobs or (0,)))
            case Refusal() if event.index == 0:
                return self._add(event.text)
            case Thinking() if event.index == 0:
                return self._add(event.text, thinking=True)
            case PromptTokens():
                self._prompt_tokens = len(event.tokens)
                if self._logprobs is not None and self._before:
                    self._logprobs.extend(event.tokens, first=True)
            case Usage():
                self._usage = event
            case Finish() if event.index == 0:
                self._reason = event.reason
            case Notice():
                self._notices.append({"level": event.level, "text": event.text})
            case Fault():
                if not self._stream:
                    raise event.error
                return self.fault(event.error)
            case _:
                # No tools and no further choices can be asked for in this protocol.
                pass
        return b""

    def end(self) -> bytes:
        """The last object; before it the rest of the text, because readers end the answer at one without new text."""
        rest = self._close_thoughts()
        sent = self._frame() if self._stream and (rest or self._unsent) else b""
        return sent + self._frame(_WORDS.get(self._reason, "stop"))

    def fault(self, error: ServingError) -> bytes:
        """The error as an object of the stream."""
        return fault_frame(error)

    def _add(
        self, text: str, logprobs: tuple[TokenLogprob, ...] | None = None, tokens: int = 1, *, thinking: bool = False
    ) -> bytes:
        if thinking and not self._thinking:
            self._text += _THOUGHTS[0]
            self._thinking = True
        elif text and not thinking:
            self._close_thoughts()
        if self._logprobs is not None and logprobs:
            if not self._logprobs.tokens:
                self._logprobs.offset = len(self._text)
            self._logprobs.extend(tuple(token for token in logprobs if not token.special))
        self._text += text
        self._tokens += tokens
        self._unsent += 1
        # Readers take an object without new text for the end.
        if not self._stream or not text or self._unsent < self._due:
            return b""
        self._unsent = 0
        self._due = self._interval
        return self._frame()

    def _close_thoughts(self) -> bool:
        """Whether there were any open."""
        if not self._thinking:
            return False
        self._thinking = False
        self._text += _THOUGHTS[1]
        return True

    def _frame(self, reason: str | None = None) -> bytes:
        usage = self._usage or Usage(self._prompt_tokens, self._tokens)
        fields: dict[str, Any] = {
            "text": self._text,
            "error_code": OK,
            "usage": {
                "prompt_tokens": usage.prompt,
                "completion_tokens": usage.completion,
                "total_tokens": usage.prompt + usage.completion,
            },
            "finish_reason": reason,
            "logprobs": None if self._logprobs is None else self._logprobs.fields(),
        }
        if reason is not None and self._notices:
            fields["notices"] = self._notices
        return _encode(fields) + (END if self._stream else b"")


class _Logprobs:
    """Log probabilities as far as they have come; offsets are in characters of the text."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.offset = 0
        self._offsets: list[int] = []
        self._values: list[float | None] = []
        self._tops: list[dict[str, float]] = []

    def extend(self, tokens: tuple[TokenLogprob, ...], *, first: bool = False) -> None:
        """first: they begin with a prompt's first token, which nothing precedes."""
        for token in tokens:
            self.tokens.append(token.token)
            self._offsets.append(self.offset)
            self.offset += len(token.token)
            self._values.append(None if first else token.logprob)
            self._tops.append({other.token: other.logprob for other in token.top})
            first = False

    def fields(self) -> dict[str, Any]:
        return {
            "text_offset": self._offsets,
            "tokens": self.tokens,
            "token_logprobs": self._values,
            "top_logprobs": self._tops,
        }
