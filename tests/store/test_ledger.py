"""Reading the ledger: sums by group, the latest requests, and moments in time."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.store.importer import Importer
from trunkcall.store.journal import Close, Open, Row
from trunkcall.store.ledger import GROUPS, moment, recent, usage

MIDNIGHT = 1_700_006_400.0
"""2023-11-15 in UTC."""


def close(sequence: int, **changed: Any) -> Close:
    row = Close(
        sequence=sequence, id=f"r{sequence}", model="a", replica="a-1", protocol="openai", key="alice", stream=True,
        opened_at=MIDNIGHT + sequence, prompt_tokens=10, completion_tokens=20, cached_tokens=None, first_token_ms=5.0,
        total_ms=50.0, finish="stop", error="", status=200, dropped="", attempts=1, estimated=False,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changed)


def fill(where: Path, rows: list[Row]) -> str:
    directory = where / "journal"
    directory.mkdir()
    # Its writer lives, so that what is open stays open.
    lock = (directory / "w.e.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (directory / "w.e.000001.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    url = f"sqlite:///{where / 'ledger.db'}"
    Importer(directory, url).import_now()
    lock.close()
    return url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fill(
        tmp_path_factory.mktemp("ledger"),
        [
            close(1),
            close(2, cached_tokens=4, first_token_ms=15.0),
            close(3, model="b", key="bob", opened_at=MIDNIGHT - 0.5, first_token_ms=None, total_ms=None),
            close(4, error="upstream_error", finish="", estimated=True, completion_tokens=3),
            Open(5, "r5", "b", "b-1", "openai", "", False, MIDNIGHT + 86400),
        ],
    )


def test_usage_by_model(url: str) -> None:
    assert msgspec.to_builtins(usage(url)) == [
        {
            "model": "a", "requests": 3, "open": 0, "failed": 1, "estimated": 1, "prompt_tokens": 30,
            "completion_tokens": 43, "cached_tokens": 4, "mean_first_token_ms": 25 / 3, "mean_total_ms": 50.0,
        },
        {
            "model": "b", "requests": 2, "open": 1, "failed": 0, "estimated": 1, "prompt_tokens": 10,
            "completion_tokens": 20, "cached_tokens": 0, "mean_first_token_ms": None, "mean_total_ms": None,
        },
    ]  # fmt: skip


def test_days_begin_at_midnight_utc(url: str) -> None:
    assert [(row.day, row.requests) for row in usage(url, by=("day",))] == [
        ("2023-11-14", 1),
        ("2023-11-15", 3),
        ("2023-11-16", 1),
    ]


def test_several_groups_and_none(url: str) -> None:
    rows = usage(url, by=("key", "model"))
    assert [(row.key, row.model, row.requests) for row in rows] == [("", "b", 1), ("alice", "a", 3), ("bob", "b", 1)]
    (whole,) = usage(url, by=())
    assert (whole.requests, whole.model) == (5, UNSET)
    for name in GROUPS:
        assert sum(row.requests for row in usage(url, by=(name,))) == 5


def test_a_span_of_time_holds_its_beginning_and_not_its_end(url: str) -> None:
    (row,) = usage(url, since=MIDNIGHT + 1, until=MIDNIGHT + 4, by=())
    assert row.requests == 2
    (none,) = usage(url, since=MIDNIGHT + 1e6, by=())
    assert (none.requests, none.prompt_tokens, none.failed) == (0, 0, 0)
    assert usage(url, since=MIDNIGHT + 1e6) == []


def test_recent_is_newest_first(url: str) -> None:
    rows = recent(url, 3)
    assert [row.id for row in rows] == ["r5", "r4", "r2"]
    assert (rows[0].closed, rows[0].stream, rows[0].estimated) == (False, False, True)
    assert (rows[1].error, rows[2].cached_tokens, rows[2].closed) == ("upstream_error", 4, True)


def test_an_unknown_group_names_the_nearest(url: str) -> None:
    with pytest.raises(ServingError, match=r"'modle'.*'model'") as raised:
        usage(url, by=("modle",))
    assert raised.value.kind == "bad_request"


def test_a_ledger_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert usage(url) == []
    assert recent(url) == []
    assert list(tmp_path.iterdir()) == []


def test_a_broken_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ServingError, match="not a database") as raised:
        usage(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert raised.value.kind == "unreachable"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700006400.5", MIDNIGHT + 0.5),
        ("2023-11-15", MIDNIGHT),
        ("2023-11-15T01:00:00+01:00", MIDNIGHT),
        ("2023-11-15T00:00:01Z", MIDNIGHT + 1),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf"])
def test_what_is_no_moment_is_told(text: str) -> None:
    with pytest.raises(ServingError, match="is no time") as raised:
        moment(text)
    assert raised.value.kind == "bad_request"
