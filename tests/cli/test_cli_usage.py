"""`trunkcall usage`: tables with a total, JSON and CSV, from a server and without one."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from running import Server, eventually
from store.noting import a_close

from trunkcall.home import Home
from trunkcall.store.importer import Importer
from trunkcall.store.retention import prune

pytestmark = pytest.mark.timeout(180)

DAY = 86400


@pytest.fixture
def filled(home: Home) -> float:
    """A home whose server is gone, with a journal that nobody has imported; gives the time of its requests."""
    home.ensure()
    moment = time.time() // DAY * DAY - DAY
    rows = [
        a_close(
            n,
            model="ab"[n % 2],
            key=f"k{n % 3}",
            opened_at=moment + n,
            cost=0.5,
            prompt_tokens=1000,
            cached_tokens=None,
        )
        for n in range(6)
    ]
    (home.journal / "w.e.000001.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return moment


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.slow
def test_a_table_has_a_total_and_no_columns_of_zeros(cli: Any, filled: float) -> None:
    assert words(cli("usage", "--since", "3d").stdout) == [
        [
            "MODEL",
            "REQUESTS",
            "PROMPT",
            "TOKENS",
            "COMPLETION",
            "TOKENS",
            "COST",
            "FIRST",
            "TOKEN",
            "MS",
            "TOTAL",
            "MS",
        ],
        ["a", "3", "3,000", "60", "1.5", "5.0", "50.0"],
        ["b", "3", "3,000", "60", "1.5", "5.0", "50.0"],
        ["total", "6", "6,000", "120", "3", "5.0", "50.0"],
    ]
    day = time.strftime("%Y-%m-%d", time.gmtime(filled))
    assert words(cli("usage", "--since", "3d", "--by", "day,key", "--until", f"{filled + 3:.0f}").stdout)[1:] == [
        [day, f"k{n}", "1", "1,000", "20", "0.5", "5.0", "50.0"] for n in range(3)
    ] + [["total", "3", "3,000", "60", "1.5", "5.0", "50.0"]]


@pytest.mark.slow
def test_a_cost_below_a_cent_is_no_zero(cli: Any, home: Home) -> None:
    home.ensure()
    row = a_close(1, opened_at=time.time() - 60, cost=3e-5)
    (home.journal / "w.e.000001.jsonl").write_bytes(msgspec.json.Encoder().encode_lines([row]))
    assert "0.00003" in words(cli("usage").stdout)[1]


def test_json_and_csv_have_the_same_rows(cli: Any, filled: float) -> None:
    told = json.loads(cli("usage", "--since", "3d", "--by", "key", "--json").stdout)
    assert [row["key"] for row in told["rows"]] == ["k0", "k1", "k2"]
    assert (told["total"]["requests"], told["total"]["cost"], told["until"]) == (6, 3.0, None)
    found = list(csv.DictReader(cli("usage", "--since", "3d", "--by", "key", "--csv").stdout.splitlines()))
    assert found == [{name: "" if value is None else str(value) for name, value in row.items()} for row in told["rows"]]
    empty = cli("usage", "--since", "2000-01-01", "--until", "2000-01-02", "--by", "key", "--csv").stdout.splitlines()
    assert len(empty) == 1 and empty[0].startswith("key,requests,open,")


def test_a_running_server_is_asked(cli: Any, home: Home, serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "m=debug", home=home.path)
    for number in range(3):
        server.chat("m" if number else "nobody", "four words are asked")
    for given in ((), ("--url", server.url)):
        usage = ("usage", "--by", "model,error", "--json", *given)
        rows = eventually(lambda: found if (found := json.loads(cli(*usage).stdout)["rows"])[1:] else None, 40)  # noqa: B023
        assert [(row["model"], row["error"], row["requests"]) for row in rows] == [
            ("", "no_model", 1),
            ("m", "", 2),
        ]


def test_what_retention_took_is_told(cli: Any, home: Home, filled: float) -> None:
    from contextlib import closing

    from trunkcall.store.database import connect

    Importer(home.journal, home.ledger_url).import_now()
    with closing(connect(home.ledger_url)) as database:
        assert prune(database, time.time() + DAY, DAY / 24)
    found = cli("usage", "--since", f"{filled + 3:.0f}", "--csv")
    assert found.stderr.endswith("UTC: only whole hours or days of it are kept\n")
    assert len(found.stdout.splitlines()) == 3
    found = cli("usage", "--since", "3d", "--by", "hour,key,replica")
    assert found.stderr.endswith("UTC: more was asked for than is kept\n")
    assert found.stdout.startswith("nothing was used ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--since", "2026-13-01"], "--since: '2026-13-01' is no time"),
        (["--until", "soon"], "--until"),
        (["--by", "model,kee"], "Did you mean 'key'?"),
        (["--since", "9" * 400], "--since"),
        (["--csv", "--json"], "only one of them"),
    ],
)
def test_what_is_no_span_is_told(cli: Any, given: list[str], said: str) -> None:
    found = cli("usage", *given)
    assert found.returncode == 2
    assert said in found.stderr
