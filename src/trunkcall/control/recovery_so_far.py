"""What an answer has said so far, put together from its events."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trunkcall.core.events import Event, Finish, PromptIds, PromptTokens, Refusal, Start, Text, Thinking, ToolCall


class Said(msgspec.Struct, frozen=True):
    """One choice. pieces: its texts in order, each with its tokens, None where they were not told; plain: it is text
    and nothing else."""

    pieces: tuple[tuple[str, tuple[int, ...] | None], ...] = ()
    tokens: int = 0
    plain: bool = True
    finished: bool = False

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(text for text, _ in self.pieces)

    @property
    def ids(self) -> tuple[int, ...] | None:
        """All its tokens; None where some are not known."""
        found: list[int] = []
        for text, ids in self.pieces:
            if ids is None and text:
                return None
            found += ids or ()
        return tuple(found)


class SoFar(msgspec.Struct, frozen=True):
    """The choices that have said something, by index; started: its head has been told; prompted: so has the prompt."""

    choices: dict[int, Said]
    started: bool = False
    prompted: bool = False

    @property
    def tokens(self) -> int:
        """Of all choices; pieces of text count where tokens are not told."""
        return sum(said.tokens for said in self.choices.values())


def so_far(events: Sequence[Event]) -> SoFar:
    """What these events say; tokens that write nothing count with the text before them."""
    started = prompted = False
    pieces: dict[int, list[tuple[str, tuple[int, ...] | None]]] = {}
    tokens: dict[int, int] = {}
    others: set[int] = set()
    finished: set[int] = set()
    for event in events:
        match event:
            case Text(index, text, ids, logprobs):
                pieces.setdefault(index, []).append((text, ids))
                tokens[index] = tokens.get(index, 0) + (len(ids or logprobs or ()) or bool(text))
            case Thinking(index) | Refusal(index) | ToolCall(index):
                pieces.setdefault(index, [])
                tokens[index] = tokens.get(index, 0) + 1
                others.add(index)
            case Finish(index):
                pieces.setdefault(index, [])
                finished.add(index)
            case Start():
                started = True
            case PromptIds() | PromptTokens():
                prompted = True
            case _:
                pass
    return SoFar(
        {
            index: Said(tuple(said), tokens.get(index, 0), index not in others, index in finished)
            for index, said in sorted(pieces.items())
        },
        started,
        prompted,
    )
