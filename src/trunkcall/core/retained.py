"""The bytes of a stream that are kept for going on elsewhere, up to a limit."""

from __future__ import annotations

from typing import Final

RETAINED_LIMIT: Final = 8 << 20
"""Most bytes of one stream."""


class Retained:
    """What has passed so far, in its pieces."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Keep one more piece; over the limit nothing is kept any more."""
        self._size += len(data)
        if self._size <= RETAINED_LIMIT:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    @property
    def data(self) -> bytes | None:
        """All of it; None when it was more than the limit."""
        return b"".join(self._pieces) if self._size <= RETAINED_LIMIT else None
