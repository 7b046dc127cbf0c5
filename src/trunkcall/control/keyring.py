"""The keys that callers show: those of the settings, and those that administration creates."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from trunkcall.control.limits import Credits
from trunkcall.control.news import News
from trunkcall.control.operations import KeyView
from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.core.log import log
from trunkcall.store.keys import KeyStore, StoredKey, digest_of, unknown

OPERATOR: Final = "(home)"
"""The name under which this machine's command line administers; no other key can have it."""
PATIENCE: Final = 30.0
"""Seconds for which a start waits for a store that is away."""
LOOK_EVERY: Final = 10.0
"""Seconds between looks at a store that other servers write to."""
_STORED: Final = "store"
_PAUSE: Final = 1.0
_NAME: Final = re.compile(r"\w[\w.@+-]{0,63}")


class Account:
    """One key as callers are checked against it; written by its keyring only.

    digest: SHA-256 of the secret; models: names that may be asked for, None for all.
    """

    __slots__ = ("created_at", "credits", "digest", "disabled", "entry", "models", "name", "origin")

    def __init__(
        self, entry: KeyEntry, digest: bytes, origin: str, created_at: float = 0.0, disabled: bool = False
    ) -> None:
        self.name = entry.name
        self.digest = digest
        self.origin = origin
        self.created_at = created_at
        self.credits = Credits(entry)
        self.change(entry, disabled)

    def change(self, entry: KeyEntry, disabled: bool) -> None:
        """Other limits from now on; what was used stays used."""
        self.entry = entry
        self.disabled = disabled
        self.models = frozenset(entry.models) or None
        self.credits.change(entry)

    def view(self, now: float) -> KeyView:
        """As people see it; now: unix seconds."""
        credits = self.credits
        credits.turn(now)
        return KeyView(
            entry=self.entry,
            origin=self.origin,
            created_at=self.created_at,
            disabled=self.disabled,
            tokens_today=credits.tokens_today,
            tokens_this_month=credits.tokens_this_month,
            money_today=credits.money_today,
            money_this_month=credits.money_this_month,
        )


class Keyring:
    """Fits control.operations.Keys; a snapshot of the store's keys in memory, and the settings' keys beside.

    store: None for no keys but the settings'; configured: reference -> secret, each with the role admin.
    """

    def __init__(
        self, store: KeyStore | None = None, configured: Mapping[str, str] | None = None, news: News | None = None
    ) -> None:
        self._store = store
        self._news = news or News()
        self._changing = asyncio.Lock()
        self._stamp = ""
        self._operator: Account | None = None
        self._configured: dict[str, Account] = {}
        self._stored: dict[str, Account] = {}
        self._spent: dict[str, Credits] = {}
        """Of keys that were removed: one that is made anew under such a name goes on, as it does after a restart."""
        self._by_name: dict[str, Account] = {}
        self._by_digest: dict[bytes, Account] = {}
        self._required = False
        self.closed = False
        """Whether a caller needs a key."""
        self.configure(configured or {})

    @property
    def empty(self) -> bool:
        """Whether there is no key at all."""
        return not (self._stored or self._configured)

    def account(self, secret: bytes) -> Account | None:
        """Whose key this is; None for a key that is not known."""
        return self._by_digest.get(hashlib.sha256(secret).digest())

    def find(self, name: str) -> Account | None:
        """The key of this name."""
        return self._by_name.get(name)

    def administers(self, name: str) -> bool:
        """Whether the key of this name has the role admin."""
        account = self._by_name.get(name)
        return account is not None and account.entry.role == "admin"

    def configure(self, configured: Mapping[str, str]) -> None:
        """The settings' keys from now on: reference -> secret."""
        before, self._configured = self._configured, {}
        for reference, secret in configured.items():
            account = Account(
                KeyEntry(name=reference, role="admin"), hashlib.sha256(secret.encode()).digest(), reference
            )
            if reference in before:
                account.credits = before[reference].credits
            self._configured[reference] = account
        self._index()

    def require(self) -> None:
        """A caller needs a key also when there is none left: the server can be reached from other machines."""
        self._required = True
        self._index()

    def admit_operator(self, secret: str) -> None:
        """Take this machine's own secret as that of an administrator; it is no reason to ask others for a key."""
        digest = hashlib.sha256(secret.encode()).digest()
        self._operator = Account(KeyEntry(name=OPERATOR, role="admin"), digest, OPERATOR)
        self._index()

    async def load(self, patience: float = PATIENCE) -> None:
        """Read the store's keys; waits for a store that is away.

        Raises ServingError when it stays away: who may call, and what was spent, stands there.
        """
        if self._store is None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        told = False
        while True:
            try:
                self._stamp = await asyncio.to_thread(self._store.stamp) if self._store.shared else ""
                self.take(await asyncio.to_thread(self._store.read))
                return
            except ServingError as error:
                if error.kind != "unreachable":
                    raise
                if loop.time() >= end:
                    raise ServingError(
                        error.kind,
                        f"{error.message}. The API keys and what they have spent stand there, so the server does not "
                        "start without it: start the database, or choose another with `store`",
                    ) from error
                if not told:
                    log.warning("waiting up to %.0f s for the store of the API keys: %s", patience, error.message)
                    told = True
            await asyncio.sleep(_PAUSE)

    async def live(self) -> None:
        """Follow what other servers change in a shared store, until cancelled; while it is away, keys stay as known."""
        store = self._store
        if store is None or not store.shared:
            return
        away = False
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                async with self._changing:
                    stamp = await asyncio.to_thread(store.stamp)
                    if stamp != self._stamp:
                        self.take(await asyncio.to_thread(store.read))
                        self._stamp = stamp
                away = False
            except ServingError as error:
                if not away:
                    log.warning("API keys of other servers are not followed for now: %s", error.message)
                away = True

    def take(self, keys: Iterable[StoredKey]) -> None:
        """The store's keys from now on; what a key has spent here stays with it."""
        before, self._stored = self._stored, {}
        for key in keys:
            account = before.get(key.entry.name)
            if account is not None and account.digest.hex() == key.digest:
                account.change(key.entry, key.disabled)
            else:
                account = _account(key)
            self._stored[key.entry.name] = account
        self._index()

    def views(self) -> list[KeyView]:
        """All keys, by name."""
        now = time.time()
        shown = {**self._stored, **self._configured}
        return [shown[name].view(now) for name in sorted(shown)]

    def view(self, name: str) -> KeyView:
        """The key of this name; raises ServingError (no_route)."""
        account = self._configured.get(name) or self._stored.get(name)
        if account is None:
            raise unknown(name)
        return account.view(time.time())

    async def create(self, entry: KeyEntry) -> str:
        """Remember a new key; gives its secret, which is told this once."""
        store = self._writable()
        check(entry)
        async with self._changing:
            if entry.name in self._by_name:
                raise ServingError("conflict", f"the key {entry.name!r} is there already", param="name")
            secret, key = fresh(entry)
            await asyncio.to_thread(store.add, key)
            self._stored[entry.name] = account = _account(key)
            if entry.name in self._spent:
                account.credits = self._spent.pop(entry.name)
                account.credits.change(entry)
            self._index()
        log.info("the key %r was made, with the role %s", entry.name, entry.role)
        self._news.tell("key", account.view(time.time()))
        return secret

    async def change(self, name: str, changes: Mapping[str, Any], *, disabled: bool | None = None) -> KeyView:
        """Give a key other limits, or refuse it for a while; what is left out stays as it is by then."""
        store = self._writable()
        async with self._changing:
            account = self._own(name)
            key = StoredKey(
                entry=msgspec.structs.replace(account.entry, **changes),
                digest=account.digest.hex(),
                created_at=account.created_at,
                disabled=account.disabled if disabled is None else disabled,
            )
            await asyncio.to_thread(store.change, key)
            account.change(key.entry, key.disabled)
        log.info("the key %r was changed", name)
        view = account.view(time.time())
        self._news.tell("key", view)
        return view

    async def revoke(self, name: str) -> None:
        """Forget a key; its next request is refused."""
        store = self._writable()
        async with self._changing:
            account = self._own(name)
            await asyncio.to_thread(store.remove, name)
            del self._stored[name]
            self._spent[name] = account.credits
            self._index()
        log.info("the key %r was removed", name)
        self._news.tell("key", account.view(time.time()))

    def _writable(self) -> KeyStore:
        if self._store is None:
            raise ServingError("unsupported", "this server keeps no keys but those of its settings")
        return self._store

    def _own(self, name: str) -> Account:
        """A key of the store; raises ServingError: no_route, conflict for one of the settings."""
        if name in self._configured:
            raise ServingError("conflict", f"the key {name!r} stands in the settings (`keys`); change it there")
        account = self._stored.get(name)
        if account is None:
            raise unknown(name)
        return account

    def _index(self) -> None:
        accounts = [*self._stored.values(), *self._configured.values()]
        if self._operator is not None:
            accounts.append(self._operator)
        self._by_name = {account.name: account for account in accounts}
        self._by_digest = {account.digest: account for account in accounts}
        self.closed = self._required or not self.empty


def check(entry: KeyEntry) -> None:
    """Raises ServingError (bad_request) for a new key that cannot be."""
    if _NAME.fullmatch(entry.name) is None:
        raise ServingError(
            "bad_request",
            f"{entry.name!r} cannot be a key's name: up to 64 letters, digits, `_`, `-`, `.`, `@` and `+`, and a "
            "letter, digit or `_` first",
            param="name",
        )
    if entry.expires_at is not None and entry.expires_at <= time.time():
        raise ServingError("bad_request", f"the key {entry.name!r} would have expired already", param="expires_at")


def fresh(entry: KeyEntry) -> tuple[str, StoredKey]:
    """A new secret, and the key as it is kept."""
    secret = f"tk-{secrets.token_urlsafe(32)}"
    return secret, StoredKey(entry=entry, digest=digest_of(secret), created_at=time.time())


def _account(key: StoredKey) -> Account:
    return Account(key.entry, bytes.fromhex(key.digest), _STORED, key.created_at, key.disabled)
