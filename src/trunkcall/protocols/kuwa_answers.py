"""Kuwa's answers: bare text with blocks for warnings, written from events and read back; and the ids to abort."""

from __future__ import annotations

import codecs
import re
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Notice, Refusal, Text, Thinking, ToolCall
from trunkcall.protocols.kuwa_words import WARNING_CLOSE, WARNING_OPEN

BLOCK_LIMIT: Final = 1 << 20
"""Most characters of one warning, so that a block that never closes cannot fill the memory."""

_MARKS: Final = re.compile(f"{re.escape(WARNING_OPEN)}|{re.escape(WARNING_CLOSE)}")
_ID: Final = r"""-?\d+|'[^'\\]*'|"[^"\\]*\""""
_PYTHON_LIST: Final = re.compile(rf"\s*\[\s*(?:(?:{_ID})\s*(?:,\s*(?:{_ID})\s*)*(?:,\s*)?)?\]\s*")
_ALONE: Final = re.compile(r"[^\s\[\](){},'\"]+")
_ids: Final = msgspec.json.Decoder(list[int | str] | str)


class KuwaEmitter:
    """Emits one answer as Kuwa's stream of text; fits core.ports.Emitter.

    What such a stream cannot show (reasoning, tool calls, further choices) is named in a warning at its end.
    """

    def __init__(self, content_type: bytes = b"text/plain; charset=utf-8") -> None:
        self.content_type = content_type
        self._left_out: dict[str, None] = {}

    def feed(self, event: Event) -> bytes:
        """Bytes to send now."""
        match event:
            case Text() | Refusal() if event.index == 0:
                return event.text.encode()
            case Text() | Refusal():
                self._left_out["further choices"] = None
            case Thinking():
                self._left_out["reasoning"] = None
            case ToolCall():
                self._left_out["tool calls"] = None
            case Notice():
                return _block(event.text)
            case Fault():
                return self.fault(event.error)
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """A warning that names what was left out, if anything was."""
        if not self._left_out:
            return b""
        names = ", ".join(self._left_out)
        self._left_out.clear()
        return _block(f"Left out, because Kuwa's protocol has no place for it: {names}.")

    def fault(self, error: ServingError) -> bytes:
        """The error as a warning; nothing when the caller ended the answer."""
        return b"" if error.kind == "cancelled" else _block(error.message) + self.end()


class BlockReader:
    """Reads the bytes of one answer, however they are split: text as soon as it is there, warnings when they close."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._block: list[str] | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[Text | Notice]:
        """What is complete now; only what may begin a mark is held back.

        Raises ServingError (upstream_error) when one warning is over BLOCK_LIMIT.
        """
        return self._read(self._decoder.decode(data))

    def end(self) -> list[Text | Notice]:
        """The rest; a warning that never closed is given as one."""
        found = self._read(self._decoder.decode(b"", True))
        rest, self._held = self._held, ""
        self._pass(rest, found)
        self._close(found)
        return found

    def _read(self, piece: str) -> list[Text | Notice]:
        found: list[Text | Notice] = []
        text = self._held + piece
        start = 0
        while True:
            mark = WARNING_OPEN if self._block is None else WARNING_CLOSE
            at = text.find(mark, start)
            if at < 0:
                break
            self._pass(text[start:at], found)
            if self._block is None:
                self._block = []
            else:
                self._close(found)
            start = at + len(mark)
        cut = max(start, len(text) - _beginning(text, mark))
        self._held = text[cut:]
        self._pass(text[start:cut], found)
        return found

    def _pass(self, text: str, found: list[Text | Notice]) -> None:
        """Text goes out, or into the open block."""
        if not text:
            return
        if self._block is None:
            found.append(Text(0, text))
            return
        self._block.append(text)
        self._size += len(text)
        if self._size > BLOCK_LIMIT:
            raise ServingError("upstream_error", f"the executor sent a warning of more than {BLOCK_LIMIT} characters")

    def _close(self, found: list[Text | Notice]) -> None:
        warning = "".join(self._block or ()).strip()
        self._block, self._size = None, 0
        if warning:
            found.append(Notice("warning", warning))


def parse_history_ids(text: str) -> tuple[str, ...]:
    """The ids in an abort's `history_id`: a list in JSON or in Python's spelling, or one id alone.

    Raises ServingError (bad_request) for anything else.
    """
    try:
        found = _ids.decode(text)
        return (found,) if isinstance(found, str) else tuple(map(str, found))
    except (msgspec.DecodeError, RecursionError):
        pass
    if _PYTHON_LIST.fullmatch(text):
        return tuple(item[1:-1] if item[0] in "'\"" else item for item in re.findall(_ID, text))
    alone = text.strip()
    if _ALONE.fullmatch(alone):
        return (alone,)
    raise ServingError(
        "bad_request", "history_id: expected one id or a list of ids; send for example [11, 12]", param="history_id"
    )


def _block(text: str) -> bytes:
    return f"{WARNING_OPEN}{_MARKS.sub('', text)}{WARNING_CLOSE}".encode()


def _beginning(text: str, mark: str) -> int:
    """How many characters at the end of the text may be the beginning of the mark."""
    if "<" not in text[1 - len(mark) :]:
        return 0
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)


def whole_characters(data: bytes) -> int:
    """How many bytes of UTF-8 there are before a character at the end that is cut in two."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            size = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if size > back else len(data)
    return len(data)
