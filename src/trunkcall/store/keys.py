"""The API keys in the ledger's database, by the digest of their secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.store.database import Database, connect, sqlite_path
from trunkcall.store.revision import bring_up_to_date, revision

_SINCE: Final = "0002"
"""The revision that brought the table."""
_LIMITS: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "money_per_day",
    "money_per_month",
    "expires_at",
)
_COLUMNS: Final = ("role", "models", *_LIMITS, "disabled", "digest", "created_at", "name")
_READ: Final = f"SELECT {', '.join(_COLUMNS)} FROM keys ORDER BY name"
_ADD: Final = f"INSERT INTO keys ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_CHANGE: Final = f"UPDATE keys SET {', '.join(f'{name} = ?' for name in _COLUMNS[:-1])} WHERE name = ?"
_STAMP: Final = "SELECT COUNT(*), COALESCE(SUM(hashtextextended(CAST(keys AS text), 0)), 0) FROM keys"
"""PostgreSQL's; it reads no row out of the database."""


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept. digest: SHA-256 of its secret in hex; created_at: unix seconds."""

    entry: KeyEntry
    digest: str
    created_at: float
    disabled: bool = False


def digest_of(secret: str) -> str:
    """What is kept of a secret; it is 32 random bytes, so that a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


class KeyStore:
    """The table `keys` of the ledger at `url`; each method connects, and blocks.

    All raise ServingError: unreachable while the database is away, conflict for one of a newer version.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.shared = sqlite_path(url) is None
        """Whether other servers may write to it."""

    def read(self) -> list[StoredKey]:
        """All keys, by name; none where there is no ledger yet, or one from before there were keys."""
        path = sqlite_path(self._url)
        if path is not None and not path.exists():
            return []
        with closing(connect(self._url)) as database:
            if revision(database) < _SINCE:
                return []
            return [_read(row) for row in database.query(_READ)]

    def stamp(self) -> str:
        """Differs when a key of a shared store has changed."""
        with closing(connect(self._url)) as database:
            if revision(database) < _SINCE:
                return ""
            return repr(database.query(_STAMP))

    def add(self, key: StoredKey) -> None:
        """Keep a new key; raises ServingError (conflict) where its name is taken."""
        with self._changing() as database:
            if _is_there(database, key.entry.name):
                raise ServingError("conflict", f"the key {key.entry.name!r} is there already", param="name")
            database.run(_ADD, [_row(key)])

    def change(self, key: StoredKey) -> None:
        """Put a key in the place of the one of its name; raises ServingError (no_route) without one."""
        with self._changing() as database:
            if not _is_there(database, key.entry.name):
                raise unknown(key.entry.name)
            database.run(_CHANGE, [_row(key)])

    def remove(self, name: str) -> None:
        """Forget a key; raises ServingError (no_route) where there is none."""
        with self._changing() as database:
            if not _is_there(database, name):
                raise unknown(name)
            database.run("DELETE FROM keys WHERE name = ?", [(name,)])

    @contextmanager
    def _changing(self) -> Generator[Database]:
        with closing(connect(self._url)) as database:
            bring_up_to_date(database, self._url)
            with database.transaction():
                yield database


def unknown(name: str) -> ServingError:
    """The error for a name that no stored key has."""
    return ServingError("no_route", f"there is no key {name!r}; see them with: trunkcall keys ls", param="name")


def _is_there(database: Database, name: str) -> bool:
    return bool(database.query("SELECT 1 FROM keys WHERE name = ?", (name,)))


def _row(key: StoredKey) -> tuple[Any, ...]:
    entry = key.entry
    return (
        entry.role,
        msgspec.json.encode(entry.models).decode(),
        *(getattr(entry, limit) for limit in _LIMITS),
        key.disabled,
        key.digest,
        key.created_at,
        entry.name,
    )


def _read(row: tuple[Any, ...]) -> StoredKey:
    role, models, *limits, disabled, digest, created_at, name = row
    fields = {"name": name, "role": role, "models": msgspec.json.decode(models)}
    try:
        entry = msgspec.convert(fields | dict(zip(_LIMITS, limits, strict=True)), KeyEntry)
    except msgspec.ValidationError as error:
        raise ServingError("conflict", f"the stored key {name!r} is not one that this version knows: {error}") from None
    return StoredKey(entry=entry, digest=digest, created_at=created_at, disabled=bool(disabled))
