"""What the store's tests start from: an empty ledger, once on SQLite and once on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from store.noting import Store
from store.postgresql import Cluster, running_cluster

from trunkcall.store.migrate import migrate


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole session; who stops it starts it again."""
    with running_cluster() as made:
        yield made


@pytest.fixture(scope="session")
def migrated(cluster: Cluster) -> str:
    """The name of a PostgreSQL database with empty tables, to be copied."""
    url = cluster.database()
    migrate(url)
    return url.rsplit("/", 1)[1]


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated ledger's bytes, so that not every test pays for the migration."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    migrate(f"sqlite:///{path}")
    return path.read_bytes()


# The first one of a session waits for a cluster to be made.
DATABASES = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.timeout(240)])]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger."""
    return new_ledger(request, tmp_path)


@pytest.fixture
def store(url: str, tmp_path: Path) -> Store:
    """An empty journal and an empty ledger."""
    return Store(tmp_path / "journal", url)


@pytest.fixture
def sqlite_store(empty_sqlite: bytes, tmp_path: Path) -> Store:
    """For what only SQLite has: files."""
    (tmp_path / "ledger.db").write_bytes(empty_sqlite)
    return Store(tmp_path / "journal", f"sqlite:///{tmp_path / 'ledger.db'}")


def new_ledger(request: pytest.FixtureRequest, where: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("cluster").database(request.getfixturevalue("migrated"))
    (where / "ledger.db").write_bytes(request.getfixturevalue("empty_sqlite"))
    return f"sqlite:///{where / 'ledger.db'}"
