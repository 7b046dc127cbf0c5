"""Reading Anthropic answers: the events of a stream become ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, FinishReason, Notice, Start, Text, Thinking, ToolCall, Usage
from trunkcall.protocols.anthropic_errors import read_error

Keep = Callable[[str, bytes], None]
"""Takes the id of a tool call and the answer it came in, as JSON blocks, when signed thoughts are among them."""

_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_SHOWN: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
_EMPTY: Final = Raw(b"{}")


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = _EMPTY


class _Details(msgspec.Struct):
    category: str | None = None
    explanation: str | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _Details | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_event = msgspec.json.Decoder(_Event)
_models = msgspec.json.Decoder(_Models)
_encode = msgspec.json.Encoder().encode


class _Written:
    """A block of the answer as far as it has come; slot: of a tool call, among the answer's."""

    __slots__ = ("block", "pieces", "signature", "slot")

    def __init__(self, block: _Block, slot: int) -> None:
        self.block = block
        self.slot = slot
        self.pieces: list[str] = [block.text or block.thinking]
        self.signature = block.signature
        if block.input != _EMPTY:
            self.pieces.append(bytes(block.input).decode())

    def as_sent(self) -> dict[str, Any]:
        """The block as the API takes it back."""
        block, text = self.block, "".join(self.pieces)
        match block.type:
            case "thinking":
                return {"type": "thinking", "thinking": text, "signature": self.signature}
            case "redacted_thinking":
                return {"type": "redacted_thinking", "data": block.data}
            case "tool_use":
                return {"type": "tool_use", "id": block.id, "name": block.name, "input": Raw(text.encode() or b"{}")}
            case _:
                return {"type": "text", "text": text}


class MessageReader:
    """Reads the payloads of one streamed answer. created: unix seconds, which the protocol does not tell."""

    def __init__(self, created: int, keep: Keep) -> None:
        self._created = created
        self._keep = keep
        self._started = False
        self._over = False
        self._blocks: dict[int, _Written] = {}
        self._calls = 0
        self._unshown: set[str] = set()
        self._counts = _Usage()
        self._finish: Finish | None = None

    def feed(self, payload: bytes) -> list[Event]:
        """The events of one payload, the data of one server-sent event; nothing after a Fault or message_stop.

        Kinds of events unknown to us are passed over, because the API may add some at any time.
        """
        if self._over:
            return []
        try:
            told = _event.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._fail(
                ServingError(
                    "upstream_error", f"the upstream sent an unreadable answer: {error}", upstream=(200, payload)
                )
            )
        match told:
            case _Event(type="error"):
                return self._fail(read_error(200, payload))
            case _Event(type="message_start", message=_Message() as message) if not self._started:
                self._started = True
                self._count(message.usage)
                return [Start(message.id, message.model, self._created)]
            case _Event(type="content_block_start", content_block=_Block() as block):
                return self._open(told.index, block)
            case _Event(type="content_block_delta", delta=_Delta() as delta):
                return self._extend(told.index, delta)
            case _Event(type="content_block_stop"):
                return self._close(told.index)
            case _Event(type="message_delta", delta=_Delta() as delta):
                self._count(told.usage)
                return self._stop(delta)
            case _Event(type="message_stop"):
                return self.end()
            case _:
                return []

    def end(self) -> list[Event]:
        """The events that close the answer; a Fault when the upstream stopped in the middle."""
        if self._over:
            return []
        if not self._started or self._finish is None:
            return self._fail(ServingError("upstream_error", "the upstream's answer ended early"))
        self._over = True
        written = [self._blocks[index] for index in sorted(self._blocks)]
        calls = [one.block.id for one in written if one.block.type == "tool_use"]
        if calls and any(one.block.type.endswith("thinking") for one in written):
            self._keep(calls[0], _encode([one.as_sent() for one in written]))
        return [self._usage(), self._finish]

    def _fail(self, error: ServingError) -> list[Event]:
        self._over = True
        return [Fault(error)]

    def _open(self, index: int, block: _Block) -> list[Event]:
        if not self._started:
            return self._fail(ServingError("upstream_error", "the upstream's answer has no beginning"))
        if block.type not in _SHOWN:
            if block.type in self._unshown:
                return []
            self._unshown.add(block.type)
            return [Notice("warning", f"the answer holds a {block.type} block, which cannot be shown here")]
        written = self._blocks[index] = _Written(block, self._calls)
        text = "".join(written.pieces)
        match block.type:
            case "tool_use":
                self._calls += 1
                return [ToolCall(0, written.slot, text, block.id, block.name)]
            case "text" if text:
                return [Text(0, text)]
            case "thinking" if text:
                return [Thinking(0, text)]
            case _:
                return []

    def _extend(self, index: int, delta: _Delta) -> list[Event]:
        written = self._blocks.get(index)
        if written is None:
            return []
        written.signature += delta.signature
        text = delta.text or delta.thinking or delta.partial_json
        if not text:
            return []
        written.pieces.append(text)
        match delta.type:
            case "text_delta":
                return [Text(0, text)]
            case "thinking_delta":
                return [Thinking(0, text)]
            case _:
                return [ToolCall(0, written.slot, text)]

    def _close(self, index: int) -> list[Event]:
        """A call without arguments comes without a word of JSON; its reader needs an object."""
        written = self._blocks.get(index)
        if written is None or written.block.type != "tool_use" or any(written.pieces):
            return []
        written.pieces.append("{}")
        return [ToolCall(0, written.slot, "{}")]

    def _stop(self, delta: _Delta) -> list[Event]:
        word = delta.stop_reason
        if word is None:
            return []
        self._finish = Finish(0, _REASONS.get(word, "stop"), delta.stop_sequence)
        if word == "refusal":
            return [Notice("warning", f"the upstream cut the answer off: {_because(delta.stop_details)}")]
        if word == "pause_turn" or word not in _REASONS:
            return [Notice("info", f"the upstream ended the answer: {word}")]
        return []

    def _count(self, told: _Usage | None) -> None:
        """Counts are cumulative; what is not told again stays."""
        if told is not None:
            for name in told.__struct_fields__:
                value = getattr(told, name)
                if value is not None:
                    setattr(self._counts, name, value)

    def _usage(self) -> Usage:
        counts = self._counts
        cached = counts.cache_read_input_tokens
        details = counts.output_tokens_details
        return Usage(
            (counts.input_tokens or 0) + (counts.cache_creation_input_tokens or 0) + (cached or 0),
            counts.output_tokens or 0,
            cached,
            details.thinking_tokens if details is not None else None,
        )


def _because(details: _Details | None) -> str:
    if details is None:
        return "refusal"
    said = f"refusal ({details.category})" if details.category else "refusal"
    return f"{said}: {details.explanation}" if details.explanation else said


def read_models(body: bytes) -> tuple[str, ...]:
    """The names in a list of models; raises ServingError (upstream_error)."""
    try:
        return tuple(model.id for model in _models.decode(body).data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "upstream_error", f"the upstream sent an unreadable list of models: {error}", upstream=(200, body)
        ) from None
