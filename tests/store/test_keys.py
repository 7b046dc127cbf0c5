"""Keys in the ledger's database, on SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store.postgresql import Cluster

from trunkcall.core.errors import ServingError
from trunkcall.core.keys import KeyEntry
from trunkcall.store.database import connect
from trunkcall.store.keys import KeyStore, StoredKey, digest_of

FULL = KeyEntry(
    name="all.of-it@x",
    role="admin",
    models=("a", "b/c", 'quo"te'),
    requests_per_minute=0,
    tokens_per_minute=1,
    tokens_per_day=2**63 - 1,
    tokens_per_month=3,
    money_per_day=0.1,
    money_per_month=1e9,
    expires_at=1795280112.361821,
)


def key(entry: KeyEntry, secret: str = "", **more: Any) -> StoredKey:
    return StoredKey(entry=entry, digest=digest_of(secret or entry.name), created_at=1.5, **more)


def test_keys_come_back_as_they_were(url: str) -> None:
    store = KeyStore(url)
    assert store.read() == []
    full, plain = key(FULL), key(KeyEntry(name="b"), disabled=True)
    store.add(plain)
    store.add(full)
    assert store.read() == [full, plain]
    changed = msgspec.structs.replace(plain, entry=KeyEntry(name="b", tokens_per_day=5), disabled=False)
    store.change(changed)
    assert KeyStore(url).read() == [full, changed]
    store.remove(FULL.name)
    assert store.read() == [changed]


def test_names_that_are_taken_or_unknown(url: str) -> None:
    store = KeyStore(url)
    store.add(key(KeyEntry(name="a"), "one"))
    for act, kind in (
        (lambda: store.add(key(KeyEntry(name="a"), "two")), "conflict"),
        (lambda: store.change(key(KeyEntry(name="b"))), "no_route"),
        (lambda: store.remove("b"), "no_route"),
    ):
        with pytest.raises(ServingError) as raised:
            act()
        assert raised.value.kind == kind
    assert store.read() == [key(KeyEntry(name="a"), "one")]


def test_ten_thousand_keys(url: str) -> None:
    store = KeyStore(url)
    database = connect(url)
    with database.transaction():
        database.run(
            "INSERT INTO keys (name, digest, role, created_at) VALUES (?, ?, 'user', 0)",
            [(f"key{number:05}", digest_of(str(number))) for number in range(10_000)],
        )
    database.close()
    keys = store.read()
    assert len(keys) == 10_000
    assert keys[9_999].entry == KeyEntry(name="key09999")


def test_a_key_of_a_later_version_is_told(url: str) -> None:
    database = connect(url)
    database.run("INSERT INTO keys (name, digest, role, created_at) VALUES ('n', 'd', 'owner', 0)", [()])
    database.close()
    with pytest.raises(ServingError, match="'n' is not one that this version knows"):
        KeyStore(url).read()


def test_a_ledger_is_made_when_the_first_key_is(tmp_path: Path) -> None:
    store = KeyStore(f"sqlite:///{tmp_path}/new/ledger.db")
    assert store.read() == []
    assert not (tmp_path / "new").exists(), "looking leaves nothing behind"
    store.add(key(KeyEntry(name="a")))
    assert [found.entry.name for found in store.read()] == ["a"]


def test_a_ledger_from_before_there_were_keys_has_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    program = (
        "import sys; from pathlib import Path; from alembic import command; from alembic.config import Config; "
        "from sqlalchemy import create_engine; import trunkcall.store.migrate as m; "
        "c = Config(); c.set_main_option('script_location', str(Path(m.__file__).with_name('migrations')))\n"
        "with create_engine(sys.argv[1]).begin() as connection:\n"
        "    c.attributes['connection'] = connection; command.upgrade(c, '0001')"
    )
    subprocess.run([sys.executable, "-c", program, f"sqlite:///{path}"], check=True, timeout=60)
    store = KeyStore(f"sqlite:///{path}")
    assert store.read() == []
    store.add(key(KeyEntry(name="a")))
    assert len(store.read()) == 1


def test_a_locked_store_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("PostgreSQL locks rows")
    monkeypatch.setattr("trunkcall.store.database.PATIENCE", 0.1)
    other = connect(url)
    with other.transaction(), pytest.raises(ServingError) as raised:
        KeyStore(url).add(key(KeyEntry(name="a")))
    other.close()
    assert raised.value.kind == "unreachable"
    assert KeyStore(url).read() == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_stamp_of_a_shared_store_tells_of_every_change(cluster: Cluster, migrated: str) -> None:
    store = KeyStore(cluster.database(migrated))
    assert store.shared
    entry = KeyEntry(name="a")
    stamps = [store.stamp(), store.stamp()]
    store.add(key(entry))
    stamps.append(store.stamp())
    store.change(key(entry, disabled=True))
    stamps.append(store.stamp())
    store.remove("a")
    store.add(key(entry, "another"))
    stamps.append(store.stamp())
    store.remove("a")
    stamps.append(store.stamp())
    assert stamps[0] == stamps[1] == stamps[-1]
    assert len(set(stamps)) == 4


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_shared_store_that_is_empty_or_away(cluster: Cluster) -> None:
    empty = KeyStore(cluster.database())
    assert empty.read() == []
    assert empty.stamp() == ""
    away = KeyStore("postgresql://nobody@127.0.0.1:1/none")
    for look in (away.read, away.stamp, lambda: away.remove("a")):
        with pytest.raises(ServingError) as raised:
            look()
        assert raised.value.kind == "unreachable"
