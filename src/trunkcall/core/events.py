"""What a generation says while it runs: deltas, never cumulative.

Order: one Start; nothing for an index after its Finish; Usage at most once; the stream
ends with a Finish for every index or with one Fault.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from trunkcall.core.errors import ServingError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled"]


UNLIKELY: Final = -9999.0
"""What OpenAI says for a probability too small to tell; also stands for one that nobody told."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token's natural-log probability; `top` holds the best alternatives, best first.

    token: its text, with U+FFFD for what is not whole characters; bytes_: what it writes, None where only the text is
    known; id: None where the engine does not tell it; special: a mark of the model's, such as the end of an answer,
    which is no part of the text that it comes with.
    """

    token: str
    logprob: float
    bytes_: tuple[int, ...] | None = None
    top: tuple[TokenLogprob, ...] = ()
    id: int | None = None
    special: bool = False


class Start(msgspec.Struct, frozen=True):
    """The replica accepted the request; `id` and `created` (unix seconds) name the answer.

    seen: the caller has it already, in these words, and `model` in them too.
    """

    id: str
    model: str
    created: int
    fingerprint: str | None = None
    seen: bool = False


class Queue(msgspec.Struct, frozen=True):
    """The request waits; `position` counts those in front, 0 is next; loading: how far the model is, in words."""

    position: int
    loading: str = ""


class Text(msgspec.Struct, frozen=True):
    """A piece of answer text for choice `index`.

    token_ids and logprobs, where they were asked for, are those of the same tokens; a token goes out with its first
    character, and one that writes nothing (a special one, a stop string that was cut off) with an empty text.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None


class Thinking(msgspec.Struct, frozen=True):
    """A piece of reasoning text, shown apart from the answer."""

    index: int
    text: str


class Refusal(msgspec.Struct, frozen=True):
    """A piece of a refusal, which some models say apart from the answer text."""

    index: int
    text: str


class ToolCall(msgspec.Struct, frozen=True):
    """A fragment of a tool call in `slot`; id and name come with the first fragment."""

    index: int
    slot: int
    arguments: str
    id: str | None = None
    name: str | None = None


class PromptTokens(msgspec.Struct, frozen=True):
    """The prompt as the engine saw it, for echo and prompt logprobs."""

    tokens: tuple[TokenLogprob, ...]


class PromptIds(msgspec.Struct, frozen=True):
    """Which tokens prompt number `place` has, where they were asked for; comes before the choices that answer it."""

    place: int
    ids: tuple[int, ...]


class Notice(msgspec.Struct, frozen=True):
    """Something the caller should know that is not part of the answer."""

    level: Literal["info", "warning"]
    text: str


class Usage(msgspec.Struct, frozen=True):
    """Token counts of the whole request; None means that the engine did not say."""

    prompt: int
    completion: int
    cached: int | None = None
    reasoning: int | None = None


class Finish(msgspec.Struct, frozen=True):
    """Choice `index` is complete."""

    index: int
    reason: FinishReason
    matched_stop: str | None = None


class Fault(msgspec.Struct, frozen=True):
    """The generation failed after it had begun."""

    error: ServingError


Event = (
    Start | Queue | Text | Thinking | Refusal | ToolCall | PromptTokens | PromptIds | Notice | Usage | Finish | Fault
)
