"""What administration can do, as interfaces: models, keys and what is recorded."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from trunkcall.core.models import ModelView


class Models(Protocol):
    """What administration can do with models. All raise ServingError: no_model, bad_request, conflict."""

    async def add(self, name: str, entry: Any) -> ModelView:
        """Make a model callable and remember it; entry: a source, or a mapping as in trunkcall.yaml."""
        ...

    async def remove(self, name: str) -> None:
        """Forget an added model, after a drain."""
        ...

    async def load(self, name: str) -> ModelView:
        """Want its engines now; returns at once, states tell the rest. Undoes `drain`."""
        ...

    async def unload(self, name: str) -> ModelView:
        """End its engines, after a drain; the next request starts them again."""
        ...

    async def drain(self, name: str, replica: str = "") -> ModelView:
        """No new requests for a replica, or for all of them, until `load`; running ones go on."""
        ...

    async def restart(self, name: str, replica: str = "") -> ModelView:
        """End a replica, or all of them one after another, and start it anew."""
        ...


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as an administrator gives it; limits that are None do not hold.

    models: names that it may ask for, empty for all; requests and tokens per minute; tokens and money per day and
    month (UTC), money as the models' prices count it; expires_at: unix seconds.
    """

    name: str
    role: Literal["admin", "user"] = "user"
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    money_per_day: float | None = None
    money_per_month: float | None = None
    expires_at: float | None = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is shown, without its secret; what was used counts against its budgets.

    origin: `store` for one that was created, else the reference in the settings.
    """

    entry: KeyEntry
    origin: str
    created_at: float = 0.0
    disabled: bool = False
    tokens_today: int = 0
    tokens_this_month: int = 0
    money_today: float = 0.0
    money_this_month: float = 0.0


class Keys(Protocol):
    """What administration can do with keys. All raise ServingError: bad_request, conflict, unreachable."""

    def views(self) -> list[KeyView]:
        """All keys, by name."""
        ...

    async def create(self, entry: KeyEntry) -> str:
        """Remember a new key; gives its secret, which is told this once."""
        ...

    async def change(self, entry: KeyEntry, *, disabled: bool = False) -> KeyView:
        """Give a key other limits."""
        ...

    async def revoke(self, name: str) -> None:
        """Forget a key; its next request is refused."""
        ...


class Records(Protocol):
    """What administration reads of the ledger; both raise ServingError (bad_request, unreachable)."""

    async def usage(
        self, by: tuple[str, ...], since: float | None = None, until: float | None = None
    ) -> list[dict[str, Any]]:
        """Sums by group, up to this second."""
        ...

    async def requests(
        self, *, limit: int = 100, before: float | None = None, model: str = "", key: str = "", error: str = ""
    ) -> list[dict[str, Any]]:
        """Single requests, newest first."""
        ...


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload has changed: names of settings and `models.NAME`; restart: changes that wait for a restart."""

    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
