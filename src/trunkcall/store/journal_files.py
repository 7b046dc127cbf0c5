"""The journal's files as their reader finds them: which there are, whose writer lives, and the rows in them."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec

from trunkcall.store.journal import MOST, Close, Row

_log = logging.getLogger("trunkcall.importer")

NAME: Final = re.compile(r"([\w-]+\.[\w-]+)\.(\d+)\.jsonl", re.ASCII)
"""WRITER.EPOCH.PART.jsonl, as FileJournal names its files."""
_BLOCK: Final = 256 * 1024
"""Bytes that are read at a time: their rows stay in the processor's cache until they are entered."""


class Epoch:
    """The journal files of one writer's life: parts by number, and whether it has ended."""

    def __init__(self, directory: Path, name: str) -> None:
        self.writer, self.epoch = name.split(".")
        self.lock = directory / f"{name}.lock"
        self.parts: dict[int, Path] = {}
        self.ended = _ended(self.lock)


def _ended(lock: Path) -> bool:
    """Whether the writer is gone: the system takes its lock away however it ends."""
    try:
        file = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def find_epochs(directory: Path) -> list[Epoch]:
    """What lies in the directory, oldest first. Locks are looked at before files: an ended epoch is complete."""
    epochs = {match[1]: Epoch(directory, match[1]) for _, match in _parts(directory)}
    for path, match in _parts(directory):
        if match[1] in epochs:
            epochs[match[1]].parts[int(match[2])] = path
    return list(epochs.values())


def _parts(directory: Path) -> list[tuple[Path, re.Match[str]]]:
    found = ((path, NAME.fullmatch(path.name)) for path in sorted(directory.iterdir()))
    return [(path, match) for path, match in found if match is not None]


def read_blocks(path: Path, position: int) -> Generator[tuple[list[Row], int]]:
    """A file's whole lines from a position on, some at a time, each time with the position after them."""
    with path.open("rb") as file:
        while True:
            file.seek(position)
            data = file.read(_BLOCK) + file.readline()
            data = data[: data.rfind(b"\n") + 1]
            if not data:
                return
            position += len(data)
            yield _rows(data), position


_decoder: Final = msgspec.json.Decoder(Row)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_COUNTS: Final = [1 + Close.__struct_fields__.index(f"{name}_tokens") for name in ("prompt", "completion", "cached")]
"""Places in a line, whose first is the row's tag."""


def _rows(data: bytes) -> list[Row]:
    """Whole lines as rows; lines that are none (torn by a full disk, or not ours) are left out."""
    # PostgreSQL's text cannot hold a NUL. To look for one character is ten times as fast.
    if b"\\" in data:
        data = data.replace(b"\\u0000", b"\\ufffd")
    try:
        return _decoder.decode_lines(data)
    except _UNREADABLE:
        pass
    rows: list[Row] = []
    for line in data.splitlines():
        try:
            rows.append(_row(line))
        except _UNREADABLE as error:
            _log.warning("a line of the journal is not readable: %s", error)
    return rows


def _row(line: bytes) -> Row:
    """A line's row, with counts that can be believed; raises what _UNREADABLE says."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        values = msgspec.json.decode(line, type=list[str | int | float | bool | None])
        for place in _COUNTS:
            count = values[place] if place < len(values) else None
            if isinstance(count, int) and abs(count) < 2**63:
                values[place] = min(max(count, 0), MOST)
        return msgspec.convert(values, Row)
