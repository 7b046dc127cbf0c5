"""Reading a TGI server's answers: what it streams and what it answers at once become events."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import UNLIKELY, Event, Finish, FinishReason, PromptTokens, Start, Text, TokenLogprob, Usage
from trunkcall.protocols.tgi_errors import STATUS_OK, incomplete, read_error
from trunkcall.protocols.tgi_stops import StopCutter
from trunkcall.protocols.tgi_words import LENGTH, STOP

_REASONS: Final[dict[str, FinishReason]] = {LENGTH: "length"}
"""All others are `stop`."""


class _Token(msgspec.Struct):
    id: int
    text: str
    logprob: float | None = None
    special: bool | None = None


class _Details(msgspec.Struct):
    finish_reason: str
    generated_tokens: int
    input_length: int | None = None
    prefill: list[_Token] = []
    tokens: list[_Token] = []
    top_tokens: list[list[_Token]] | None = None


class _Event(msgspec.Struct):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    top_tokens: list[_Token] | None = None
    error: str | None = None


class _Whole(msgspec.Struct):
    generated_text: str
    details: _Details | None = None


_event: Final = msgspec.json.Decoder(_Event)
_whole: Final[msgspec.json.Decoder[_Whole | list[_Whole]]] = msgspec.json.Decoder(_Whole | list[_Whole])


class StreamReader:
    """Reads the payloads of one stream's server-sent events into the events of choice `index`.

    start: told before anything else; stops: of the request; kept: they stay in the text, as TGI has it, else they
    are cut off; input_tokens: of the prompt, where the caller knows them; detailed: tokens are told with their ids and
    log probabilities.
    """

    def __init__(
        self,
        start: Start | None,
        *,
        index: int = 0,
        stops: tuple[str, ...] = (),
        kept: bool = False,
        input_tokens: int | None = None,
        detailed: bool = True,
    ) -> None:
        self._start = start
        self._index = index
        self._stops = stops
        self._cutter = None if kept or not stops else StopCutter(stops)
        self._input_tokens = input_tokens
        self._detailed = detailed
        self._count = 0
        self._text = ""
        self.finished = False
        """The server has said that the answer is complete."""

    def feed(self, payload: bytes) -> list[Event]:
        """The events in one payload.

        Raises ServingError: what the server says has gone wrong, upstream_error for what is no event of TGI's.
        """
        if self.finished or payload == b"[DONE]":
            return []
        try:
            read = _event.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(str(error), payload) from None
        if read.error is not None:
            raise read_error(STATUS_OK, payload)
        if read.token is None:
            raise _unreadable("an event has no token", payload)
        events = self._begin()
        token = read.token
        self._count += 1
        text = "" if token.special else token.text
        if self._cutter is not None:
            text = self._cutter.feed(text)
        elif self._stops:
            self._text = (self._text + text)[-max(map(len, self._stops)) :]
        if self._detailed:
            one = _logprob(token, read.top_tokens)
            events.append(Text(self._index, text, (token.id,), (one,)))
        elif text:
            events.append(Text(self._index, text))
        if read.generated_text is not None:
            self._end(read, events)
        return events

    def end(self) -> list[Event]:
        """Nothing more; raises ServingError (upstream_error) when the answer was not complete."""
        if not self.finished:
            raise incomplete(stream=True)
        return []

    def _begin(self) -> list[Event]:
        start, self._start = self._start, None
        return [] if start is None else [start]

    def _end(self, read: _Event, events: list[Event]) -> None:
        self.finished = True
        details = read.details
        rest = "" if self._cutter is None else self._cutter.end()
        if rest:
            events.append(Text(self._index, rest))
        reason = "" if details is None else details.finish_reason
        events.append(Finish(self._index, _REASONS.get(reason, "stop"), self._matched(reason)))
        prompt = self._input_tokens if details is None or details.input_length is None else details.input_length
        if prompt is not None:
            events.append(Usage(prompt, self._count if details is None else details.generated_tokens))

    def _matched(self, reason: str) -> str | None:
        if self._cutter is not None:
            return self._cutter.matched
        if reason != STOP:
            return None
        return next((stop for stop in self._stops if self._text.endswith(stop)), None)


def read_whole(
    body: bytes,
    start: Start,
    *,
    stops: tuple[str, ...] = (),
    kept: bool = False,
    input_tokens: int | None = None,
) -> list[Event]:
    """The events of a whole answer, from /generate or /.

    The arguments are StreamReader's. Raises ServingError (upstream_error) for what is no answer of TGI's.
    """
    try:
        read = _whole.decode(body)
        whole = read[0] if isinstance(read, list) else read
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError) as error:
        raise _unreadable(str(error), body) from None
    details = whole.details
    events: list[Event] = [start]
    text = whole.generated_text
    matched: str | None = None
    if stops and not kept:
        cutter = StopCutter(stops)
        text = cutter.feed(text) + cutter.end()
        matched = cutter.matched
    if details is None:
        return [*events, *([Text(0, text)] if text else []), Finish(0, "stop", matched)]
    if details.prefill:
        events.append(PromptTokens(tuple(_logprob(token, None) for token in details.prefill)))
    tops = details.top_tokens or []
    told = tuple(
        _logprob(token, tops[place] if place < len(tops) else None) for place, token in enumerate(details.tokens)
    )
    if told or text:
        events.append(Text(0, text, tuple(token.id for token in details.tokens) or None, told or None))
    if matched is None and details.finish_reason == STOP:
        matched = next((stop for stop in stops if text.endswith(stop)), None)
    events.append(Finish(0, _REASONS.get(details.finish_reason, "stop"), matched))
    prompt = details.input_length or len(details.prefill) or input_tokens
    if prompt is not None:
        events.append(Usage(prompt, details.generated_tokens))
    return events


def _logprob(token: _Token, top: list[_Token] | None) -> TokenLogprob:
    return TokenLogprob(
        token.text,
        UNLIKELY if token.logprob is None else token.logprob,
        top=tuple(_logprob(other, None) for other in top or ()),
        id=token.id,
        special=bool(token.special),
    )


def _unreadable(reason: str, body: bytes) -> ServingError:
    return ServingError(
        "upstream_error",
        f"the answer is not that of a TGI server ({reason}); check that its address is right",
        upstream=(STATUS_OK, body),
    )
