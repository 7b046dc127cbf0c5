"""The keys that callers show: those of the settings, and those that administration creates."""

from __future__ import annotations

import secrets
import time

from trunkcall.control.operations import KeyEntry, KeyView
from trunkcall.core.errors import ServingError


class Keyring:
    """Fits control.operations.Keys."""

    def __init__(self) -> None:
        self._views: dict[str, KeyView] = {}

    def views(self) -> list[KeyView]:
        """All keys, by name."""
        return [self._views[name] for name in sorted(self._views)]

    async def create(self, entry: KeyEntry) -> str:
        """Remember a new key; gives its secret, which is told this once."""
        if entry.name in self._views:
            raise ServingError("conflict", f"the key {entry.name!r} exists", param="name")
        self._views[entry.name] = KeyView(entry=entry, origin="store", created_at=time.time())
        return f"tk-{secrets.token_urlsafe(32)}"

    async def change(self, entry: KeyEntry, *, disabled: bool = False) -> KeyView:
        """Give a key other limits."""
        self._views[entry.name] = view = KeyView(entry=entry, origin="store", disabled=disabled)
        return view

    async def revoke(self, name: str) -> None:
        """Forget a key."""
        self._views.pop(name, None)
