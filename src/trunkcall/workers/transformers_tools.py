"""Tool calls in the text of an answer, as Hermes and Qwen models write them.

`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of times, with text around them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.workers.transformers_text import begun

OPEN: Final = "<tool_call>"
CLOSE: Final = "</tool_call>"


class Call(msgspec.Struct, frozen=True):
    """A call of the tool `name`; arguments is JSON text as the model wrote it."""

    name: str
    arguments: str


class _Written(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class CallReader:
    """Tells calls from text while both come; what is no call after all is text."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._after_call = False

    def feed(self, text: str) -> list[str | Call]:
        """Texts and calls that are complete now, in their order."""
        self._held += text
        made: list[str | Call] = []
        while True:
            mark = CLOSE if self._inside else OPEN
            before, found, after = self._held.partition(mark)
            if not found:
                break
            self._held = after
            made += self._inner(before, closed=True) if self._inside else self._outer(before)
            self._inside = not self._inside
        if not self._inside:
            keep = begun(self._held, OPEN)
            if self._after_call and not self._held[: len(self._held) - keep].strip():
                # Space between calls may turn out to be nothing else.
                return made
            shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            made += self._outer(shown)
        return made

    def flush(self) -> list[str | Call]:
        """What has been held back, when the answer is over; a call may lack its end mark."""
        held, self._held = self._held, ""
        if self._inside:
            return self._inner(held, closed=False)
        return self._outer(held)

    def _outer(self, text: str) -> list[str | Call]:
        if not text or (self._after_call and not text.strip()):
            return []
        self._after_call = False
        return [text]

    def _inner(self, text: str, *, closed: bool) -> list[str | Call]:
        try:
            written = msgspec.json.decode(text, type=_Written)
        except (msgspec.DecodeError, RecursionError):
            return [OPEN + text + (CLOSE if closed else "")]
        self._after_call = True
        arguments = bytes(written.arguments).decode()
        # Some models write the arguments as JSON in a string.
        return [Call(written.name, msgspec.json.decode(arguments) if arguments.startswith('"') else arguments)]
