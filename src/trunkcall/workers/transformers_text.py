"""Text of an answer from its tokens: characters that span tokens stay whole, and stop strings are found across them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from trunkcall.workers.transformers_wanted import Chosen

_BROKEN: Final = "\ufffd"
_LONGEST_CHARACTER: Final = 4
"""Tokens; after so many a broken character is what the model meant to say."""

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Text of tokens one after the other.

    A token's text depends on those before it (spaces at the beginning, characters in pieces), so the
    tokens since the last whole text are decoded with it; `before` are the last ones of the prompt.
    """

    def __init__(self, decode: Decode, before: Sequence[int]) -> None:
        self._decode = decode
        self._known = list(before)
        self._known_text = decode(before)
        self._pending: list[int] = []

    def feed(self, token: int) -> str:
        """The text that this token makes complete; empty while a character is not."""
        self._pending.append(token)
        text = self._decode(self._known + self._pending)
        if text.endswith(_BROKEN) and len(self._pending) < _LONGEST_CHARACTER:
            return ""
        new = text[len(self._known_text) :]
        self._known, self._pending = self._pending, []
        self._known_text = self._decode(self._known)
        return new

    def flush(self) -> str:
        """What has been held back, without the beginning of a character whose end never came."""
        if not self._pending:
            return ""
        return self._decode(self._known + self._pending)[len(self._known_text) :].rstrip(_BROKEN)


class Stopper:
    """Passes text on but for what may be the beginning of a stop string; `matched` is the one that was found.

    include: the stop string itself is passed on too, so that nothing is held back.
    """

    def __init__(self, stops: Sequence[str], *, include: bool) -> None:
        self._stops = [stop for stop in stops if stop]
        self._include = include
        self._held = ""
        """The end of the text that may be the beginning of a stop string, shown already where those are included."""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """What may be shown now; nothing follows once `matched` is set."""
        if not self._stops:
            return text
        shown = len(self._held) if self._include else 0
        text = self._held + text
        found = [(text.find(stop), -len(stop), stop) for stop in self._stops if stop in text]
        if found:
            at, _, stop = min(found)
            self._held = ""
            self.matched = stop
            return text[shown : at + len(stop)] if self._include else text[:at]
        keep = max(begun(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[shown:] if self._include else text[: len(text) - keep]

    def flush(self) -> str:
        """What has been held back, when the answer is over."""
        held, self._held = self._held, ""
        return "" if self._include else held


def begun(text: str, word: str) -> int:
    """How many characters at the end of `text` are the beginning of `word`, which is not complete there."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0


class Alignment:
    """Which tokens belong to the text that is shown: a token goes out with its first character."""

    def __init__(self) -> None:
        self._tokens: deque[tuple[int, Chosen]] = deque()
        self._written = 0
        self._shown = 0

    def add(self, chosen: Chosen, text: str) -> None:
        """A token, and the text that it made complete."""
        self._tokens.append((self._written, chosen))
        self._written += len(text)

    def show(self, text: str) -> tuple[Chosen, ...]:
        """The tokens of a text that is shown, which follows what was shown before."""
        self._shown += len(text)
        shown: list[Chosen] = []
        while self._tokens and self._tokens[0][0] < self._shown:
            shown.append(self._tokens.popleft()[1])
        return tuple(shown)

    def rest(self) -> tuple[Chosen, ...]:
        """The tokens that had no text, when the answer is over."""
        rest = tuple(chosen for _, chosen in self._tokens)
        self._tokens.clear()
        return rest
