"""Answers of FastChat's OpenAI server: OpenAI's, with FastChat's ids and order of the usage, and its model cards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Start
from trunkcall.core.requests import Generate
from trunkcall.protocols.fastchat_openai_errors import ErrorWords
from trunkcall.protocols.openai_answers import ChatEmitter, CompletionEmitter
from trunkcall.protocols.openai_whole import Collected, chat_answer, completion_answer

_OWNER: Final = "fastchat"
_USAGE: Final = ("prompt_tokens", "total_tokens", "completion_tokens")

_encode = msgspec.json.Encoder().encode


class _Answer:
    """What both answers share; fits core.ports.Emitter.

    id, created: of the answer, whatever the replica calls it; created in unix seconds. A stream has all members in
    each chunk, also those that the original's chunks lack.
    """

    def __init__(
        self,
        streamed: ChatEmitter | CompletionEmitter | None,
        whole: Callable[[Collected, Generate], dict[str, Any]],
        request: Generate,
        words: ErrorWords,
        id: str,
        created: int,
    ) -> None:
        self.content_type = b"application/json" if streamed is None else b"text/event-stream"
        self._streamed = streamed
        self._whole = whole
        self._request = request
        self._words = words
        self._start = Start(id, request.model, created)
        self._collected = Collected()

    def feed(self, event: Event) -> bytes:
        """Bytes to send now; raises the error of a Fault while a whole answer can still be replaced by it."""
        if type(event) is Start:
            event = self._start
        if self._streamed is not None:
            return self._streamed.feed(event)
        self._collected.add(event)
        return b""

    def end(self) -> bytes:
        """The end of the stream, or the whole answer."""
        if self._streamed is not None:
            return self._streamed.end()
        made = self._whole(self._collected, self._request)
        usage: dict[str, Any] | None = made.get("usage")
        if usage is not None:
            made["usage"] = {name: usage[name] for name in _USAGE} | usage
        return _encode(made)

    def fault(self, error: ServingError) -> bytes:
        """The error as the stream tells it, or in place of the whole answer."""
        return self._words.failure(error).body if self._streamed is None else self._words.fault(error)


class ChatAnswer(_Answer):
    """One chat answer, streamed or whole."""

    def __init__(self, request: Generate, stream: bool, words: ErrorWords, id: str, created: int) -> None:
        streamed = ChatEmitter(request, True) if stream else None
        super().__init__(streamed, chat_answer, request, words, f"chatcmpl-{id}", created)


class CompletionAnswer(_Answer):
    """One answer of completions, streamed or whole."""

    def __init__(self, request: Generate, stream: bool, words: ErrorWords, id: str, created: int) -> None:
        streamed = CompletionEmitter(request, True) if stream else None
        super().__init__(streamed, completion_answer, request, words, f"cmpl-{id}", created)


def model_cards(models: Iterable[tuple[str, int]], fresh: Callable[[], str]) -> bytes:
    """The answer of GET /v1/models: cards by name. A model is its name and its creation in unix seconds; fresh: ids."""
    return _encode({"object": "list", "data": [_card(name, created, fresh()) for name, created in sorted(models)]})


def model_card(name: str, created: int, id: str) -> bytes:
    """One card; id: of its permission."""
    return _encode(_card(name, created, id))


def _card(name: str, created: int, id: str) -> dict[str, Any]:
    permission = {
        "id": f"modelperm-{id}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": True,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": _OWNER,
        "root": name,
        "parent": None,
        "permission": [permission],
    }
