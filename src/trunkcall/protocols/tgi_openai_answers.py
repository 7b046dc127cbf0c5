"""OpenAI's answers as TGI gives them: no id, a role in each piece, and its own reasons for an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Notice, Queue, Refusal, Start, Text, Thinking, ToolCall, Usage
from trunkcall.core.requests import Generate
from trunkcall.protocols.frames import DONE_FRAME, comment, sse
from trunkcall.protocols.openai_whole import Collected, chat_logprobs, completion_logprobs, usage_of
from trunkcall.protocols.tgi_errors import failure, incomplete, message_of, status_of
from trunkcall.protocols.tgi_limits import VERSIONS, Compat
from trunkcall.protocols.tgi_words import STOP

_encode: Final = msgspec.json.Encoder().encode

_WITH_DONE: Final = frozenset({"2", "3"})
_NO_LABEL: Final = "native"


class Manner(msgspec.Struct, frozen=True):
    """How answers are told. model: the name in them; compat: the edition, older ones of which have no [DONE]."""

    model: str
    compat: Compat

    @property
    def fingerprint(self) -> str:
        """As TGI makes it of its version and image."""
        return f"{VERSIONS[self.compat]}-{_NO_LABEL}"


class Reasons:
    """Why each choice has ended: an end that a stop sequence made is not called `stop`."""

    __slots__ = ("_longest", "_stops", "_tails")

    def __init__(self, request: Generate) -> None:
        self._stops = tuple(stop for stop in request.stops.strings or () if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._tails: dict[int, str] = {}

    def take(self, event: Text) -> None:
        """A piece of text."""
        if self._stops:
            self._tails[event.index] = (self._tails.get(event.index, "") + event.text)[-self._longest :]

    def of(self, finish: Finish) -> str:
        """The reason in TGI's words."""
        if finish.reason in ("stop", "cancelled"):
            return STOP if finish.matched_stop is not None or self._stopped(finish.index) else "stop"
        return finish.reason

    def missing(self, finish: Finish) -> str:
        """The stop sequence, where an engine has cut off what stays in the text here."""
        return "" if finish.matched_stop is None or self._stopped(finish.index) else finish.matched_stop

    def _stopped(self, index: int) -> bool:
        return bool(self._stops) and self._tails.get(index, "").endswith(self._stops)


def fault_frame(error: ServingError) -> bytes:
    """An error in a stream of these routes."""
    return sse(_encode({"error": {"message": message_of(error), "http_status_code": status_of(error)}}))


class _Counted:
    """How many tokens there were; pieces stand for them where the engine does not count."""

    def __init__(self) -> None:
        self.pieces = 0
        self.usage: Usage | None = None

    @property
    def input_tokens(self) -> int | None:
        """Of the prompt; None where the engine does not tell."""
        return None if self.usage is None else self.usage.prompt

    @property
    def generated_tokens(self) -> int:
        """Of the answer."""
        return self.pieces if self.usage is None else self.usage.completion


class _Whole(_Counted):
    """What both whole answers share; fits core.ports.Emitter, and raises the error of a Fault."""

    content_type = b"application/json"

    def __init__(
        self, request: Generate, manner: Manner, object: str, entry: Callable[[Collected, int], dict[str, Any]]
    ) -> None:
        super().__init__()
        self._manner = manner
        self._object = object
        self._entry = entry
        self._whole = Collected()
        self._reasons = Reasons(request)
        self._ends: dict[int, str] = {}

    def feed(self, event: Event) -> bytes:
        """Nothing to send yet."""
        self._whole.add(event)
        if isinstance(event, Text):
            self.pieces += 1
            self._reasons.take(event)
        elif isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Finish):
            self._ends[event.index] = self._reasons.of(event)
            self._whole.add(Text(event.index, self._reasons.missing(event)))
        return b""

    def end(self) -> bytes:
        """The whole answer; raises ServingError when the engine has not said that it was done."""
        whole = self._whole
        if not whole.choices or whole.choices.keys() != self._ends.keys():
            raise incomplete(stream=False)
        made: dict[str, Any] = {
            "object": self._object,
            "id": "",
            "created": whole.start.created,
            "model": self._manner.model,
            "system_fingerprint": self._manner.fingerprint,
            "choices": [
                {"index": index, **self._entry(whole, index), "finish_reason": self._ends[index]}
                for index in sorted(whole.choices)
            ],
        }
        if self.usage is not None:
            made["usage"] = usage_of(self.usage)
        return _encode(made)

    def fault(self, error: ServingError) -> bytes:
        """The error as the answer."""
        return failure(error).body


class ChatWhole(_Whole):
    """A whole chat completion."""

    def __init__(self, request: Generate, manner: Manner) -> None:
        super().__init__(request, manner, "chat.completion", _chat_choice)


class CompletionWhole(_Whole):
    """A whole completion."""

    def __init__(self, request: Generate, manner: Manner) -> None:
        super().__init__(request, manner, "text_completion", _completion_choice)


class _Stream(_Counted):
    """What both streams share; fits core.ports.Emitter."""

    content_type = b"text/event-stream"

    def __init__(self, request: Generate, manner: Manner, object: str) -> None:
        super().__init__()
        self._manner = manner
        self._object = object
        self._tells_usage = request.reporting.usage_in_stream
        self._reasons = Reasons(request)
        self._created = 0
        self._ended = False
        self._over = False

    def feed(self, event: Event) -> bytes:
        """Bytes to send now."""
        match event:
            case Start():
                self._created = event.created
            case Text():
                self.pieces += 1
                self._reasons.take(event)
                return self._text(event)
            case Refusal():
                return self._text(Text(event.index, event.text))
            case Thinking():
                return self._thought(event)
            case ToolCall():
                return self._call(event)
            case Finish():
                self._ended = True
                return self._finish(event.index, self._reasons.missing(event), self._reasons.of(event))
            case Usage():
                self.usage = event
            case Fault():
                return self.fault(event.error)
            case Queue():
                return comment(f"queue position {event.position}")
            case Notice():
                return comment(event.text)
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """The usage where it was asked for, and [DONE] where the edition has it.

        Raises ServingError when the engine has not said that it was done.
        """
        if self._over:
            return b""
        if not self._ended:
            raise incomplete(stream=True)
        self._over = True
        told = b""
        if self._tells_usage and self.usage is not None:
            told = self._chunk([], usage_of(self.usage))
        return told + (DONE_FRAME if self._manner.compat in _WITH_DONE else b"")

    def fault(self, error: ServingError) -> bytes:
        """The error as the stream's last event."""
        self._over = True
        return fault_frame(error)

    def _text(self, event: Text) -> bytes:
        raise NotImplementedError

    def _thought(self, event: Thinking) -> bytes:
        return b""

    def _call(self, event: ToolCall) -> bytes:
        return b""

    def _finish(self, index: int, text: str, reason: str) -> bytes:
        raise NotImplementedError

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        made: dict[str, Any] = {
            "object": self._object,
            "id": "",
            "created": self._created,
            "model": self._manner.model,
            "system_fingerprint": self._manner.fingerprint,
            "choices": choices,
        }
        if self._tells_usage:
            made["usage"] = usage
        return b"data: %b\n\n" % _encode(made)


class ChatStream(_Stream):
    """A streamed chat completion; each delta has the keys that TGI's own client insists on."""

    def __init__(self, request: Generate, manner: Manner) -> None:
        super().__init__(request, manner, "chat.completion.chunk")

    def _text(self, event: Text) -> bytes:
        return self._delta(event.index, {"content": event.text}, chat_logprobs(event.logprobs))

    def _thought(self, event: Thinking) -> bytes:
        return self._delta(event.index, {"content": "", "reasoning_content": event.text})

    def _call(self, event: ToolCall) -> bytes:
        function: dict[str, Any] = {"name": event.name, "arguments": event.arguments}
        call = {"index": event.slot, "id": event.id or "", "type": "function", "function": function}
        return self._delta(event.index, {"tool_calls": [call]})

    def _finish(self, index: int, text: str, reason: str) -> bytes:
        return self._delta(index, {"content": text}, None, reason)

    def _delta(self, index: int, delta: dict[str, Any], logprobs: Any = None, reason: str | None = None) -> bytes:
        told: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": None, **delta}
        return self._chunk([{"index": index, "delta": told, "logprobs": logprobs, "finish_reason": reason}])


class CompletionStream(_Stream):
    """A streamed completion."""

    def __init__(self, request: Generate, manner: Manner) -> None:
        super().__init__(request, manner, "text_completion")
        self._offsets: dict[int, int] = {}

    def _text(self, event: Text) -> bytes:
        offset = self._offsets.get(event.index, 0)
        self._offsets[event.index] = offset + len(event.text)
        return self._piece(event.index, event.text, completion_logprobs(event.logprobs, offset, first=False))

    def _finish(self, index: int, text: str, reason: str) -> bytes:
        return self._piece(index, text, None, reason)

    def _piece(self, index: int, text: str, logprobs: Any, reason: str | None = None) -> bytes:
        return self._chunk([{"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}])


def _chat_choice(whole: Collected, index: int) -> dict[str, Any]:
    choice = whole.choices[index]
    message: dict[str, Any] = {"role": "assistant"}
    if choice.calls:
        message["tool_calls"] = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": "".join(pieces)}}
            for _, (id, name, pieces) in sorted(choice.calls.items())
        ]
    if choice.text or choice.refusal or not choice.calls:
        message["content"] = "".join((*choice.text, *choice.refusal))
    if choice.thinking:
        message["reasoning_content"] = "".join(choice.thinking)
    return {"message": message, "logprobs": chat_logprobs(tuple(choice.logprobs) or None)}


def _completion_choice(whole: Collected, index: int) -> dict[str, Any]:
    choice = whole.choices[index]
    logprobs = completion_logprobs(tuple(choice.logprobs) or None, 0, first=False)
    return {"text": "".join(choice.text), "logprobs": logprobs}
