"""Keys in memory and in the store: made, changed, removed, followed, and waited for."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from trunkcall.control import keyring as module
from trunkcall.control.keyring import Keyring
from trunkcall.control.news import News
from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.store.keys import KeyStore, StoredKey, digest_of

pytestmark = pytest.mark.anyio


class Rows:
    """A store in memory that can be away; fits store.keys.KeyStore."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredKey] = {}
        self.shared = False
        self.away = False
        self.looks = 0

    def _here(self) -> None:
        self.looks += 1
        if self.away:
            raise ServingError("unreachable", "the ledger's database does not answer")

    def read(self) -> list[StoredKey]:
        self._here()
        return list(self.rows.values())

    def stamp(self) -> str:
        self._here()
        # Of a copy: another thread may add a row meanwhile.
        return repr(list(self.rows.values()))

    def add(self, key: StoredKey) -> None:
        self._here()
        self.rows[key.entry.name] = key

    change = add

    def remove(self, name: str) -> None:
        self._here()
        del self.rows[name]


def ring(rows: Any, news: News | None = None) -> Keyring:
    return Keyring(rows, {"env:TEAM": "team-secret"}, news)


async def kind_of(work: Any) -> str:
    with pytest.raises(ServingError) as raised:
        await work
    return raised.value.kind


async def test_a_key_lives_from_its_making_to_its_end(tmp_path: Path) -> None:
    heard: list[Any] = []
    news = News()
    news.listen(lambda kind, about: heard.append((kind, about.entry.name, about.disabled)))
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    keyring = ring(KeyStore(url), news)
    await keyring.load()
    secret = await keyring.create(KeyEntry(name="ann", requests_per_minute=5))
    assert secret.startswith("tk-")
    assert len(secret) == 46
    account = keyring.account(secret.encode())
    assert account is not None
    assert account is keyring.find("ann")
    view = await keyring.change("ann", {"models": ("m",)}, disabled=True)
    assert (view.disabled, view.entry.models, account.disabled, account.models) == (True, ("m",), True, {"m"})

    again = ring(KeyStore(url))
    await again.load()
    found = again.account(secret.encode())
    assert found is not None
    assert (found.name, found.disabled, found.entry) == ("ann", True, view.entry)
    assert [view.entry.name for view in again.views()] == ["ann", "env:TEAM"]

    await keyring.revoke("ann")
    assert keyring.account(secret.encode()) is None
    assert keyring.find("ann") is None
    await again.load()
    assert again.find("ann") is None
    assert heard == [("key", "ann", False), ("key", "ann", True), ("key", "ann", True)]


async def test_a_secret_stands_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.db"
    keyring = ring(KeyStore(f"sqlite:///{path}"))
    secret = await keyring.create(KeyEntry(name="ann"))
    with sqlite3.connect(path) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert digest_of(secret) in dump
    assert secret not in dump
    assert secret not in repr(keyring.views()) + repr(vars(keyring))
    assert secret not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (KeyEntry(name=""), "bad_request"),
        (KeyEntry(name="a b"), "bad_request"),
        (KeyEntry(name="env:X"), "bad_request"),
        (KeyEntry(name=module.OPERATOR), "bad_request"),
        (KeyEntry(name="x" * 65), "bad_request"),
        (KeyEntry(name="a", expires_at=1.0), "bad_request"),
        (KeyEntry(name="taken"), "conflict"),
    ],
)
async def test_keys_that_cannot_be_made(entry: KeyEntry, kind: str) -> None:
    rows = Rows()
    keyring = ring(rows)
    await keyring.create(KeyEntry(name="taken"))
    assert await kind_of(keyring.create(entry)) == kind
    assert list(rows.rows) == ["taken"]


async def test_keys_of_the_settings_are_changed_there() -> None:
    keyring = ring(Rows())
    assert await kind_of(keyring.change("env:TEAM", {})) == "conflict"
    assert await kind_of(keyring.revoke("env:TEAM")) == "conflict"
    assert await kind_of(keyring.revoke("nobody")) == "no_route"
    assert await kind_of(keyring.change("nobody", {})) == "no_route"
    with pytest.raises(ServingError, match="no key 'nobody'"):
        keyring.view("nobody")
    assert keyring.view("env:TEAM").origin == "env:TEAM"
    account = keyring.account(b"team-secret")
    assert account is not None
    assert account.entry.role == "admin"
    account.credits.tokens_today = 7
    keyring.configure({"env:TEAM": "renewed"})
    assert keyring.account(b"team-secret") is None
    renewed = keyring.account(b"renewed")
    assert renewed is not None
    assert renewed.credits.tokens_today == 7
    keyring.configure({})
    assert keyring.empty
    assert not keyring.closed


async def test_a_store_that_is_away_changes_nothing_in_memory() -> None:
    rows = Rows()
    keyring = ring(rows)
    secret = await keyring.create(KeyEntry(name="ann"))
    rows.away = True
    assert await kind_of(keyring.create(KeyEntry(name="bob"))) == "unreachable"
    assert await kind_of(keyring.change("ann", {}, disabled=True)) == "unreachable"
    assert await kind_of(keyring.revoke("ann")) == "unreachable"
    account = keyring.account(secret.encode())
    assert account is not None
    assert not account.disabled
    assert keyring.find("bob") is None


async def test_a_server_without_a_store_keeps_no_keys() -> None:
    assert await kind_of(Keyring().create(KeyEntry(name="a"))) == "unsupported"


async def test_a_start_waits_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    rows = Rows()
    rows.away = True
    keyring = ring(rows)
    loading = asyncio.create_task(keyring.load(30.0))
    while rows.looks < 3:
        await asyncio.sleep(0.005)
    rows.away = False
    rows.rows["ann"] = StoredKey(entry=KeyEntry(name="ann"), digest=digest_of("x"), created_at=0.0)
    await asyncio.wait_for(loading, 30)
    assert keyring.find("ann") is not None
    rows.away = True
    with pytest.raises(ServingError, match="does not start without it") as raised:
        await keyring.load(0.02)
    assert raised.value.kind == "unreachable"


async def test_what_other_servers_change_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    rows = Rows()
    rows.shared = True
    mine, theirs = ring(rows), ring(rows)
    await mine.load()
    await theirs.load()
    following = asyncio.create_task(mine.live())

    async def until(true: Any) -> None:
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.005)

    secret = await theirs.create(KeyEntry(name="ann"))
    await until(lambda: mine.account(secret.encode()))
    account = mine.find("ann")
    assert account is not None
    account.credits.tokens_today = 9
    rows.away = True
    looks = rows.looks
    await until(lambda: rows.looks > looks + 2)
    assert mine.account(secret.encode()) is account, "while it is away, keys stay as they are known"
    rows.away = False
    await theirs.change("ann", {"tokens_per_day": 10})
    await until(lambda: account.entry.tokens_per_day == 10)
    assert account.credits.tokens_today == 9
    await theirs.revoke("ann")
    await until(lambda: mine.find("ann") is None)
    following.cancel()
    await asyncio.wait({following})


async def test_a_store_of_its_own_is_not_looked_at() -> None:
    rows = Rows()
    await asyncio.wait_for(ring(rows).live(), 30)
    assert rows.looks == 0


async def test_a_key_that_is_made_anew_has_spent_what_its_name_has() -> None:
    keyring = ring(Rows())
    first = await keyring.create(KeyEntry(name="ann", tokens_per_day=10))
    account = keyring.find("ann")
    assert account is not None
    account.credits.seed(9, 9, 0.0, 0.0, time.time())
    await keyring.revoke("ann")
    second = await keyring.create(KeyEntry(name="ann"))
    assert first != second
    assert keyring.account(first.encode()) is None
    assert [view.tokens_today for view in keyring.views()] == [9, 0]


async def test_changes_at_once_come_one_after_the_other() -> None:
    keyring = ring(Rows())
    made = await asyncio.gather(*(keyring.create(KeyEntry(name="ann")) for _ in range(20)), return_exceptions=True)
    secrets = [one for one in made if isinstance(one, str)]
    assert len(secrets) == 1
    assert keyring.account(secrets[0].encode()) is not None


async def test_changes_at_once_keep_each_other() -> None:
    keyring = ring(Rows())
    await keyring.create(KeyEntry(name="ann", models=("m",)))
    await asyncio.gather(
        keyring.change("ann", {"tokens_per_day": 5}),
        keyring.change("ann", {"requests_per_minute": 6}),
        keyring.change("ann", {}, disabled=True),
        keyring.change("ann", {"money_per_day": None}),
    )
    view = keyring.view("ann")
    assert view.entry == KeyEntry(name="ann", models=("m",), tokens_per_day=5, requests_per_minute=6)
    assert view.disabled


async def test_ten_thousand_keys_are_one_look_up() -> None:
    rows = Rows()
    keys = [(f"key{number}", f"secret{number}") for number in range(10_000)]
    for name, secret in keys:
        rows.rows[name] = StoredKey(
            entry=KeyEntry(name=name), digest=hashlib.sha256(secret.encode()).hexdigest(), created_at=time.time()
        )
    keyring = ring(rows)
    await keyring.load()
    for name, secret in keys[::97]:
        account = keyring.account(secret.encode())
        assert account is not None
        assert account.name == name
    assert keyring.account(b"secret10000") is None
    assert len(keyring.views()) == 10_001
