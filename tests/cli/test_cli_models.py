"""`trunkcall models` and `usage`, before a server is started and on a running one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from trunkcall.home import Home


def test_before_a_server_is_started(cli: Any, home: Home, work: Path) -> None:
    (work / "m.gguf").write_bytes(b"GGUF")
    assert cli("models", "add", "mine", "m.gguf").returncode == 0
    assert cli("models", "add", "up", "openai:http://127.0.0.1:1/v1#theirs").returncode == 0
    assert home.models() == {"mine": f"llamacpp:{work}/m.gguf", "up": "openai:http://127.0.0.1:1/v1#theirs"}

    listed = cli("models", "ls").stdout.splitlines()
    assert listed[0].split() == ["NAME", "STATE", "RUNNING", "WAITING", "SOURCE"]
    assert [line.split()[0] for line in listed[1:]] == ["mine", "up", "pocket"]
    models = json.loads(cli("models", "ls", "--json").stdout)["models"]
    assert [(model["name"], model["replicas"][0]["state"]) for model in models] == [
        ("mine", "off"),
        ("up", "off"),
        ("pocket", "off"),
    ]
    assert json.loads(cli("models", "show", "up", "--json").stdout)["sources"] == [
        "openai:http://127.0.0.1:1/v1#theirs"
    ]
    assert "up: off, 0 waiting" in cli("models", "show", "up").stdout

    assert cli("models", "rm", "mine").returncode == 0
    assert list(home.models()) == ["up"]


def test_what_cannot_be_added_or_removed(cli: Any, home: Home, work: Path) -> None:
    (work / "trunkcall.yaml").write_text("models:\n  filed: debug\n")
    assert cli("models", "add", "twice", "debug").returncode == 0
    for arguments, code, words in (
        (["add", "twice", "dummy"], 1, "trunkcall models rm twice"),
        (["add", "filed", "dummy"], 1, "trunkcall.yaml:2: models.filed"),
        (["add", "x", "missing.gguf"], 2, "missing.gguf: there is no such file"),
        (["add", "x", "./missing"], 2, "missing: there is no such folder"),
        (["add", "x", "opnai:http://h"], 2, "Did you mean 'openai'?"),
        (["add", "x", ""], 2, "a model source is empty"),
        (["add", "x y", "debug"], 2, "cannot be a model's name"),
        (["rm", "filed"], 1, "trunkcall.yaml:2: models.filed"),
        (["rm", "twic"], 1, "Did you mean 'twice'?"),
        (["show", "twic"], 1, "Did you mean 'twice'?"),
    ):
        found = cli("models", *arguments)
        assert (found.returncode, found.stdout) == (code, ""), arguments
        assert words in found.stderr, arguments
        assert len(found.stderr.splitlines()) == 1, arguments
    assert home.models() == {"twice": "debug"}


def test_on_a_running_server(cli: Any, on_home: Any, home: Home, work: Path) -> None:
    (work / "m.gguf").write_bytes(b"GGUF")
    found = cli("models", "add", "mine", "m.gguf")
    assert found.stdout == f"mine is added and can be called at {on_home.url}\n"
    assert on_home.models["mine"]["sources"] == [f"llamacpp:{work}/m.gguf"]
    assert home.models() == {}, "the server stores it, not the command"

    rows = [line.split() for line in cli("models", "ls").stdout.splitlines()]
    assert rows[1] == ["served", "ready", "1", "2", "debug"]
    assert [model["name"] for model in json.loads(cli("models", "ls", "--json").stdout)["models"]] == ["served", "mine"]
    assert "77" in cli("models", "show", "served").stdout
    assert json.loads(cli("models", "show", "served", "--json").stdout)["replicas"][0]["pid"] == 77

    assert cli("models", "rm", "mine").stdout == "mine is removed\n"
    assert list(on_home.models) == ["served"]


def test_a_running_servers_refusal_is_passed_on(cli: Any, on_home: Any) -> None:
    found = cli("models", "add", "served", "debug")
    assert (found.returncode, found.stderr) == (1, "trunkcall: it is there already\n")
    found = cli("models", "rm", "nosuch")
    assert (found.returncode, found.stderr) == (1, "trunkcall: The model 'nosuch' does not exist.\n")
    on_home.key = "sesame"
    found = cli("models", "ls")
    assert found.returncode == 1
    assert found.stderr == "trunkcall: The API key is wrong. Give a key with --key or TRUNKCALL_API_KEY\n"
    assert cli("models", "ls", TRUNKCALL_API_KEY="sesame").returncode == 0


def test_a_server_that_is_still_starting(cli: Any, home: Home) -> None:
    with home.lock():
        found = cli("models", "ls")
    assert found.returncode == 1
    assert "still starting" in found.stderr


def test_usage_of_a_running_server(cli: Any, on_home: Any) -> None:
    found = cli("usage", "--since", "2h", "--by", "model,day")
    assert [line.split() for line in found.stdout.splitlines()] == [
        ["MODEL", "REQUESTS", "PROMPT_TOKENS", "SECONDS"],
        ["m", "3", "12", "0.25"],
    ]
    query = parse_qs(on_home.queries[0])
    assert query["by"] == ["model,day"]
    assert abs(time.time() - 7200 - float(query["since"][0])) < 30
    assert json.loads(cli("usage", "--json").stdout)["rows"][0]["requests"] == 3


def test_usage_without_a_server_reads_the_ledger(cli: Any) -> None:
    found = cli("usage")
    assert (found.returncode, found.stdout) == (0, "nothing was used in the last 1d\n"), found.stderr
    assert json.loads(cli("usage", "--json").stdout) == {"rows": []}
