"""The rest of an answer, told by another replica, as events of the one answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from trunkcall.control.recovery_plan import Going
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, PromptIds, PromptTokens, Start, Text, Usage


class Rest:
    """Takes the events of the continuation; started, prompted: what was told before.

    prompt: tokens of the caller's own prompt, None where only the replica's count tells them.
    """

    def __init__(self, going: Going, *, started: bool, prompted: bool, prompt: int | None) -> None:
        self._going = going
        self._started = started
        self._prompted = prompted or bool(going.how)
        self._prompt = prompt
        self._again = going.again
        self._again_ids = going.again_ids

    async def of(self, events: AsyncIterator[Event]) -> AsyncGenerator[Event]:
        """The events as the caller's answer goes on.

        Raises ServingError (upstream_error) when what has to be said once more is not.
        """
        async for event in events:
            told = self.take(event)
            if told is not None:
                yield told

    def take(self, event: Event) -> Event | None:
        """One event as it is told; None for what was told before. Raises as `of` does."""
        match event:
            case Start() if self._started:
                return None
            case PromptIds() | PromptTokens() if self._prompted:
                return None
            case Text() if self._again or self._again_ids:
                return self._without_again(event)
            case Finish() if self._again:
                raise _differs()
            case Usage():
                return self._counted(event)
            case _:
                return event

    def _counted(self, usage: Usage) -> Usage:
        """The caller's prompt, and the answer as a whole."""
        said = self._going.said
        added = self._going.added
        if added is None:
            prompt = usage.prompt - said if self._prompt is None else self._prompt
        else:
            prompt = usage.prompt - added
        prompt = max(0, prompt)
        cached = None if usage.cached is None else min(usage.cached, prompt)
        return msgspec.structs.replace(usage, prompt=prompt, completion=usage.completion + said, cached=cached)

    def _without_again(self, event: Text) -> Text | None:
        text = event.text
        if not self._again.startswith(text) and not text.startswith(self._again):
            raise _differs()
        shown = text[len(self._again) :]
        self._again = self._again[len(text) :]
        skipped = min(self._again_ids, len(event.token_ids or ()))
        self._again_ids = self._again_ids - skipped if event.token_ids is not None else 0
        ids = event.token_ids[skipped:] if event.token_ids is not None else None
        logprobs = event.logprobs[skipped:] if event.logprobs is not None else None
        if not shown and not ids:
            return None
        return Text(event.index, shown, ids, logprobs)


def _differs() -> ServingError:
    return ServingError("upstream_error", "the replica that went on with the answer says something else")
