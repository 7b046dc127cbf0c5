"""The log on stderr: text or JSON lines, each with its request's id; a file of ours is put aside when it is large."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall.core.log import log, request_id
from trunkcall.core.log_lines import OWN_LINES

LARGEST: Final = 10 * 2**20
"""Bytes after which the file is put aside."""
KEPT: Final = 4
"""Files that were put aside: FILE.1 is the newest."""


def start(level: str, as_json: bool, own_file: Path) -> None:
    """Send the log to stderr, in this form and from this level on; called again, it changes both.

    own_file: put aside whenever it gets large, where stderr is that file.
    """
    handler = _KeptSmall(own_file) if _is_stderr(own_file) else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    kept = _LastLines()
    kept.setFormatter(TextLines())
    for logger in (log, logging.getLogger("asyncio")):
        logger.handlers[:] = [handler, kept]
        logger.propagate = False
    log.setLevel(level.upper())


class JsonLines(logging.Formatter):
    """One JSON object per line, for log collectors; what an access line tells are fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {"time": record.created, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = _utf8(record.getMessage())
        request = request_id()
        if request:
            line["request"] = request
        fields: dict[str, Any] = getattr(record, "fields", {})
        line.update((name, _utf8(value) if isinstance(value, str) else value) for name, value in fields.items())
        if record.exc_info:
            line["traceback"] = _utf8(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """A line for people; what follows on further lines is indented, so that no text from outside looks like a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the request's id after its words."""
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        if fields is not None:
            record.message = " ".join(f"{name}={_word(value)}" for name, value in fields.items())
        elif (request := request_id()) and request not in record.message:
            record.message = f"{record.message} (request {request})"
        record.message = "\n    ".join(record.message.translate(_ESCAPED).splitlines())
        return super().formatMessage(record)


_ESCAPED: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\t\n"}


def _word(value: Any) -> str:
    """A value that cannot be taken for two."""
    if not isinstance(value, str):
        return str(value)
    if value.isprintable() and not any(character in value for character in ' "='):
        return value or "-"
    return msgspec.json.encode(_utf8(value)).decode()


def _utf8(text: str) -> str:
    """Text that JSON can hold: callers send halves of surrogate pairs too."""
    return text.encode("utf-8", "backslashreplace").decode()


class _LastLines(logging.Handler):
    """Keeps the last lines for administration."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; one that cannot be written is told of by the other handler."""
        with contextlib.suppress(Exception):
            OWN_LINES.add(_utf8(self.format(record)))


class _KeptSmall(logging.StreamHandler[Any]):
    """Writes to stderr; when its file is large, a new one takes its place under stdout and stderr."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._stuck = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        super().emit(record)
        try:
            if os.fstat(2).st_size >= LARGEST and not self._stuck:
                self._turn()
        except OSError as error:
            self._stuck = True
            log.warning("%s cannot be put aside and grows: %s", self._path, error.strerror)

    def _turn(self) -> None:
        for number in range(KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        fresh = open_file(self._path)
        try:
            sys.stdout.flush()
            for standard in (1, 2):
                os.dup2(fresh, standard)
        finally:
            os.close(fresh)


def open_file(path: Path) -> int:
    """A descriptor that appends to a log of ours, which nobody else may read. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_stderr(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(2), path.stat())
    except OSError:
        return False
