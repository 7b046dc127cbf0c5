"""Reading FastChat's answers: texts that grow from object to object become events."""

from __future__ import annotations

from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.events import UNLIKELY, Event, Fault, Finish, Notice, PromptTokens, Text, TokenLogprob
from trunkcall.core.requests import Generate, TextPrompt
from trunkcall.protocols.fastchat_errors import error_of
from trunkcall.protocols.fastchat_frames import Frame, FrameCutter, WireLogprobs, read_frame
from trunkcall.protocols.fastchat_parameters import is_echoed
from trunkcall.protocols.fastchat_words import OK

_HALF: Final = "\ufffd"


class FrameReader:
    """Reads the bytes of one answer, however they are split; its events are all of choice `index`.

    A text grows from object to object, and what is new in it is an event, without half characters as long as they
    may become whole. Where a later text is another, its new length counts, as for FastChat's own clients.
    """

    def __init__(self, request: Generate, index: int = 0) -> None:
        self._index = index
        self._choices = request.sampling.n or 1
        self._cutter = FrameCutter()
        self._told = 0
        """Characters of the text that are events already."""
        self._tokens = 0
        self._echo = request.prompt.texts[0] if is_echoed(request) and isinstance(request.prompt, TextPrompt) else ""
        self._last: Frame | None = None
        self._over = False

    @property
    def complete(self) -> bool:
        """The worker has said how the answer ended, or that it failed."""
        return self._over or (self._last is not None and self._last.finish_reason is not None)

    def feed(self, data: bytes) -> list[Event]:
        """The events of the objects that are complete now; nothing after a Fault."""
        if self._over:
            return []
        events: list[Event] = []
        try:
            for one in self._cutter.feed(data):
                self._read(read_frame(one), events)
        except ServingError as error:
            self._over = True
            events.append(Fault(error))
        return events

    def end(self) -> list[Event]:
        """The events that close the answer: a Usage if one was told and a Finish, or a Fault."""
        if self._over:
            return []
        events: list[Event] = []
        self._over = True
        try:
            rest = self._cutter.end()
            if rest:
                self._read(read_frame(rest), events)
        except ServingError as error:
            return [*events, Fault(error)]
        last = self._last
        if last is None:
            return [
                Fault(
                    ServingError(
                        "upstream_error",
                        "the FastChat worker gave an empty answer; its log may say which parameter it did not take",
                    )
                )
            ]
        self._tell(last, len(last.text), events)
        events += [Notice("warning" if one.level == "warning" else "info", one.text) for one in last.notices or ()]
        if last.counts is not None:
            events.append(last.counts)
        events.append(Finish(self._index, last.reason))
        return events

    def _read(self, frame: Frame, events: list[Event]) -> None:
        if frame.error_code != OK:
            raise error_of(frame.error_code, frame.text)
        if self._echo:
            self._cut_echo(frame, events)
        self._last = frame
        whole = len(frame.text)
        while whole and frame.text[whole - 1] == _HALF:
            whole -= 1
        self._tell(frame, whole, events)

    def _cut_echo(self, frame: Frame, events: list[Event]) -> None:
        """Take the prompt out, once and for all; its log probabilities become PromptTokens."""
        echo, self._echo = self._echo, ""
        if not frame.text.startswith(echo):
            return
        self._told = len(echo)
        tokens = _tokens(frame.logprobs)
        reached = 0
        while self._tokens < len(tokens) and reached < len(echo):
            reached += len(tokens[self._tokens].token)
            self._tokens += 1
        if self._tokens and self._index % self._choices == 0:
            events.append(PromptTokens(tokens[: self._tokens]))

    def _tell(self, frame: Frame, until: int, events: list[Event]) -> None:
        tokens = _tokens(frame.logprobs)[self._tokens :]
        if until <= self._told and not tokens:
            return
        events.append(Text(self._index, frame.text[self._told : until], None, tokens or None))
        self._told = max(self._told, until)
        self._tokens += len(tokens)


def _tokens(told: WireLogprobs | None) -> tuple[TokenLogprob, ...]:
    if told is None or not told.tokens:
        return ()
    values = told.token_logprobs or []
    tops = told.top_logprobs or []
    made: list[TokenLogprob] = []
    for place, token in enumerate(told.tokens):
        top = (tops[place] if place < len(tops) else None) or {}
        best = sorted(((other, _or_unlikely(value)) for other, value in top.items()), key=lambda item: -item[1])
        value = _or_unlikely(values[place] if place < len(values) else None)
        made.append(TokenLogprob(token, value, None, tuple(TokenLogprob(*one) for one in best)))
    return tuple(made)


def _or_unlikely(value: float | None) -> float:
    return UNLIKELY if value is None else value
