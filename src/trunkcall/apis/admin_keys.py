"""Administration of keys: who may call, for what, how much; a secret is told once, when its key is made."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.control.operations import KeyView
from trunkcall.control.services import Services
from trunkcall.core.keys import KeyEntry


class Keys(msgspec.Struct, frozen=True):
    """All keys, by name."""

    keys: list[KeyView]


class NewKey(msgspec.Struct, frozen=True):
    """A key that was made; secret: what its callers show, told only here."""

    secret: str
    key: KeyView


KeyChange: type[msgspec.Struct] = msgspec.defstruct(
    "KeyChange",
    [
        *((field.name, field.type | msgspec.UnsetType, msgspec.UNSET) for field in msgspec.structs.fields(KeyEntry)),
        ("disabled", bool | msgspec.UnsetType, msgspec.UNSET),
    ][1:],
    namespace={"__doc__": "What is to be different of a key; what is left out stays, null takes a limit away."},
    frozen=True,
    forbid_unknown_fields=True,
)


class KeyOperations:
    """What administration does with keys."""

    def __init__(self, services: Services) -> None:
        self._keys = services.operations.keys

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        one = "/admin/keys/{name*}"
        return (
            operation("GET", "/admin/keys", "All keys, without their secrets", self._keys_list, gives=Keys),
            operation(
                "POST",
                "/admin/keys",
                "Make a key; its secret is in this answer and nowhere else",
                self._key_create,
                body=KeyEntry,
                gives=NewKey,
                status=201,
                errors=("conflict", "unreachable"),
            ),
            operation(
                "GET",
                one,
                "A key, and what was used of its budgets",
                self._key_show,
                gives=KeyView,
                errors=("no_route",),
            ),
            operation(
                "PATCH",
                one,
                "Change a key's limits, disable or enable it",
                self._key_change,
                body=KeyChange,
                gives=KeyView,
                errors=("no_route", "conflict", "unreachable"),
            ),
            operation(
                "DELETE",
                one,
                "Revoke a key; its next request is refused",
                self._key_revoke,
                gives=Nothing,
                errors=("no_route", "conflict", "unreachable"),
            ),
        )

    async def _keys_list(self, ask: Ask[Nothing, Nothing]) -> Keys:
        return Keys(self._keys.views())

    async def _key_create(self, ask: Ask[Nothing, KeyEntry]) -> NewKey:
        secret = await self._keys.create(ask.body)
        return NewKey(secret, self._keys.view(ask.body.name))

    async def _key_show(self, ask: Ask[Nothing, Nothing]) -> KeyView:
        return self._keys.view(ask.name)

    async def _key_change(self, ask: Ask[Nothing, msgspec.Struct]) -> KeyView:
        given = msgspec.structs.asdict(ask.body)
        changes = {field: value for field, value in given.items() if value is not msgspec.UNSET}
        disabled: bool | None = changes.pop("disabled", None)
        return await self._keys.change(ask.name, changes, disabled=disabled)

    async def _key_revoke(self, ask: Ask[Nothing, Nothing]) -> Nothing:
        await self._keys.revoke(ask.name)
        return Nothing()
