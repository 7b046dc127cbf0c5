"""What administration can do, as interfaces: models, keys and what is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from trunkcall.control.estimating import Estimate
from trunkcall.control.probing import Probed
from trunkcall.core.keys import KeyEntry
from trunkcall.core.models import ModelView


class Models(Protocol):
    """What administration can do with models. All raise ServingError: no_model, bad_request, conflict."""

    entry: type[msgspec.Struct]
    """The shape of a new model: its name, and its settings as in trunkcall.yaml."""

    async def add(self, name: str, entry: Any) -> ModelView:
        """Make a model callable and remember it; entry: a source, or a mapping as in trunkcall.yaml."""
        ...

    async def change(self, name: str, changes: dict[str, Any]) -> ModelView:
        """Give an added model other settings, as in trunkcall.yaml; None takes one back to its default."""
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

    async def probe(self, url: str, key: str) -> Probed:
        """Ask which kind of server stands at an address, and what it offers; key: `env:NAME` or `file:PATH`."""
        ...

    async def estimate(self, source: str, settings: dict[str, Any]) -> Estimate:
        """What a model would take, before it is added; settings: more of it, as in trunkcall.yaml."""
        ...


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
    """What administration can do with keys.

    All raise ServingError: bad_request (a limit or name that cannot be), no_route (no such key), conflict (a name
    that is taken, a key of the settings), unreachable (the store is away; nothing is changed then).
    """

    def views(self) -> list[KeyView]:
        """All keys, by name."""
        ...

    def view(self, name: str) -> KeyView:
        """One key."""
        ...

    async def create(self, entry: KeyEntry) -> str:
        """Remember a new key; gives its secret, which is told this once."""
        ...

    async def change(self, name: str, changes: Mapping[str, Any], *, disabled: bool | None = None) -> KeyView:
        """Give a key other limits, or refuse it for a while; what is left out stays as it is by then.

        changes: fields of KeyEntry with values of their types, and no name.
        """
        ...

    async def revoke(self, name: str) -> None:
        """Forget a key; its next request is refused."""
        ...


class Records(Protocol):
    """What administration reads of the ledger; both raise ServingError (bad_request, unreachable)."""

    async def usage(
        self, by: tuple[str, ...], since: float | None = None, until: float | None = None
    ) -> dict[str, Any]:
        """Sums by group, up to this second: `rows`, `total`, and `since` and `until` as the ledger could tell them."""
        ...

    async def requests(
        self,
        *,
        limit: int = 100,
        before: float | None = None,
        model: str = "",
        key: str = "",
        error: str = "",
        id: str = "",
    ) -> list[dict[str, Any]]:
        """Single requests, newest first, that were opened before this moment (unix seconds).

        model: as asked for or as served; error: a kind, or `any` for all that failed.
        """
        ...


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload has changed: names of settings and `models.NAME`; restart: changes that wait for a restart."""

    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
