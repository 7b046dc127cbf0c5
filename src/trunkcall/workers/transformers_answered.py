"""What the batch says becomes events: tokens to text, stop strings, tool calls, logprobs and usage."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence

import msgspec

from trunkcall.core.events import (
    UNLIKELY,
    Event,
    Finish,
    FinishReason,
    PromptIds,
    PromptTokens,
    Start,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.workers.transformers_asked import Asked
from trunkcall.workers.transformers_text import Alignment, Detokenizer, Stopper
from trunkcall.workers.transformers_tools import Call, CallReader
from trunkcall.workers.transformers_wanted import Chosen, Said
from trunkcall.workers.transformers_words import Words

_BEFORE = 5
"""Tokens of the prompt that decide how the first one of an answer is written."""


class Answers:
    """All answers to one request; `complete` once each has its Finish.

    scored: the tokens of each prompt with their probabilities, where they are told.
    """

    def __init__(self, asked: Asked, words: Words, scored: Sequence[Sequence[Chosen]] = ()) -> None:
        self._asked = asked
        self._words = words
        self._scored = scored
        self._choices = [_Choice(index, asked, words) for index in range(len(asked.wanted))]
        self._open = len(self._choices)

    @property
    def complete(self) -> bool:
        """Nothing more will come."""
        return self._open == 0

    def begin(self) -> list[Event]:
        """The events before all others."""
        start = Start(secrets.token_hex(12), self._asked.request.model, int(time.time()))
        told = self._asked.prompts if self._asked.request.reporting.token_ids else ()
        scored = [PromptTokens(tuple(told_of(one, self._words) for one in tokens)) for tokens in self._scored]
        return [start, *(PromptIds(place, ids) for place, ids in enumerate(told)), *scored]

    def feed(self, said: Said) -> list[Event]:
        """The events of one token; the choice's `over` tells whether it was the last one of its answer."""
        choice = self._choices[said.index]
        if choice.over:
            # One more token was on its way when the stop string was found.
            return []
        events = choice.feed(said)
        if choice.over:
            self._open -= 1
            if self.complete:
                events.insert(-1, self._usage())
        return events

    def over(self, index: int) -> bool:
        """This answer has its Finish."""
        return self._choices[index].over

    def _usage(self) -> Usage:
        prompts = sum(len(prompt) for prompt in self._asked.prompts)
        return Usage(prompts, sum(choice.count for choice in self._choices))


class _Choice:
    """One answer while it comes."""

    def __init__(self, index: int, asked: Asked, words: Words) -> None:
        self._index = index
        self._words = words
        self._logprobs = asked.wanted[index].rules.logprobs is not None
        self._ids = asked.request.reporting.token_ids
        self._detokenizer = Detokenizer(words.decoder(calls=asked.calls), asked.wanted[index].prompt[-_BEFORE:])
        self._stopper = Stopper(asked.stops, include=asked.request.stops.include)
        self._alignment = Alignment() if self._logprobs or self._ids else None
        self._calls = CallReader() if asked.calls else None
        self._ends = asked.wanted[index].ends
        self._called = 0
        self._untold: tuple[Chosen, ...] = ()
        """Tokens that go out with the next text."""
        self.count = 0
        """Tokens, the one that ended the answer among them."""
        self.over = False

    def feed(self, said: Said) -> list[Event]:
        self.count += 1
        text = ""
        if said.over == "end":
            if self._ids and self._alignment is not None:
                self._alignment.add(said.chosen, "")
        else:
            text = self._detokenizer.feed(said.chosen.token)
            if self._alignment is not None:
                self._alignment.add(said.chosen, text)
        shown = self._stopper.feed(text)
        if self._stopper.matched is not None:
            return [*self._show(shown, last=True), self._finish("stop")]
        if said.over is None:
            return self._show(shown)
        rest = self._stopper.feed(self._detokenizer.flush())
        if self._stopper.matched is None:
            rest += self._stopper.flush()
        reason: FinishReason = "length" if said.over == "length" and self._stopper.matched is None else "stop"
        return [*self._show(shown + rest, last=True), self._finish(reason)]

    def _show(self, text: str, *, last: bool = False) -> list[Event]:
        if self._alignment is not None:
            self._untold += self._alignment.show(text)
            if last and (self._ids or self._stopper.matched is None):
                self._untold += self._alignment.rest()
        pieces: Iterable[str | Call] = (text,) if text else ()
        if self._calls is not None:
            pieces = [*self._calls.feed(text), *(self._calls.flush() if last else ())]
        events: list[Event] = []
        for piece in pieces:
            if isinstance(piece, Call):
                call = f"call_{secrets.token_hex(12)}"
                events.append(ToolCall(self._index, self._called, piece.arguments, call, piece.name))
                self._called += 1
            else:
                events.append(self._text(piece))
        if last and self._untold:
            events.append(self._text(""))
        return events

    def _text(self, text: str) -> Text:
        if not self._untold:
            return Text(self._index, text)
        tokens, self._untold = self._untold, ()
        return Text(
            self._index,
            text,
            token_ids=tuple(chosen.token for chosen in tokens) if self._ids else None,
            logprobs=tuple(told_of(chosen, self._words, self._ends) for chosen in tokens) if self._logprobs else None,
        )

    def _finish(self, reason: FinishReason) -> Finish:
        self.over = True
        if self._called and reason == "stop":
            reason = "tool_calls"
        return Finish(self._index, reason, self._stopper.matched)


def told_of(chosen: Chosen, words: Words, ends: frozenset[int] = frozenset()) -> TokenLogprob:
    """A token as it is told, with its alternatives; ends: tokens that are no part of the text either."""
    top = tuple(_logprob(token, logprob, words, ends) for token, logprob in chosen.top)
    told = _logprob(chosen.token, UNLIKELY if chosen.logprob is None else chosen.logprob, words, ends)
    return msgspec.structs.replace(told, top=top)


def _logprob(token: int, logprob: float, words: Words, ends: frozenset[int]) -> TokenLogprob:
    raw = words.raw(token)
    # JSON has no infinity: a token that cannot come gets the least that a float32 holds.
    least = max(logprob, -3.4e38)
    special = token in ends or words.is_special(token)
    return TokenLogprob(raw.decode(errors="replace"), least, tuple(raw), id=token, special=special)
