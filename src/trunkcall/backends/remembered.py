"""What an upstream wants to see again with the result of a tool call, kept by the call's id.

Gemini signs its calls and Anthropic the thoughts before them, and both refuse a conversation that comes back
without; clients that speak another protocol have no field to carry it in.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

LIMIT: Final = 16 << 20
"""Bytes that one replica keeps; the longest unused go first."""


class Remembered:
    """Values by id, within `limit` bytes."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()

    def keep(self, id: str, value: bytes) -> None:
        """Keep a value, and let go of old ones where the limit asks for it."""
        self._size += len(value) - len(self._values.pop(id, b""))
        self._values[id] = value
        while self._size > self._limit:
            _, oldest = self._values.popitem(last=False)
            self._size -= len(oldest)

    def get(self, id: str) -> bytes | None:
        """The value of an id, None when it was never kept or is gone."""
        value = self._values.get(id)
        if value is not None:
            self._values.move_to_end(id)
        return value
