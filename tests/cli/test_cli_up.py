"""The commands against a real `trunkcall up`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running import eventually

from trunkcall.home import Home

pytestmark = pytest.mark.timeout(180)


def test_models_chat_and_usage_of_a_real_server(serve: Any, cli: Any, home: Home) -> None:
    server = serve("--no-pocket", "--model", "first=debug", home=home.path)
    assert cli("models", "add", "org/second", "debug").stdout == (
        f"org/second is added and can be called at {server.url}\n"
    )
    models = json.loads(cli("models", "ls", "--json").stdout)["models"]
    assert [model["name"] for model in models] == ["first", "org/second"]
    assert "org/second: ready" in cli("models", "show", "org/second").stdout
    assert cli("chat", "--model", "org/second", "hello", "there").stdout.strip() != ""
    rows = eventually(lambda: json.loads(cli("usage", "--json").stdout)["rows"], 40)
    assert [(row["model"], row["requests"]) for row in rows] == [("org/second", 1)]
    assert cli("models", "add", "first", "dummy").returncode == 1
    assert cli("models", "rm", "org/second").returncode == 0
    assert home.models() == {}


def test_a_model_is_changed_while_it_is_served(serve: Any, cli: Any, home: Home) -> None:
    assert "no server runs" in cli("models", "change", "first", "--sleep").stderr
    serve("--no-pocket", "--model", "first=debug", home=home.path)
    for flags, said in (
        ((), "nothing to change"),
        (("--lora", "a"), "'a' is not NAME=PATH"),
        (("--sleep",), "cannot sleep"),
        (("--lora", "a=/nowhere"), "adapter"),
        (("--no-lora", "a"), "'a'"),
    ):
        found = cli("models", "change", "first", *flags)
        assert found.returncode != 0 and said in found.stderr, found
    assert cli("models", "change", "first", "--wake").stdout == "first is changed\n"


def test_a_second_server_on_the_home_ends_and_names_the_first(serve: Any, cli: Any, home: Home) -> None:
    server = serve("--no-pocket", home=home.path)
    found = cli("up", "--port", "0", "--no-pocket")
    assert found.returncode == 1
    assert f"process {server.process.pid} at {server.url}" in found.stderr


def test_up_becomes_the_server_without_a_second_process(serve: Any, home: Home) -> None:
    server = serve("--no-pocket", home=home.path)
    command = Path(f"/proc/{server.process.pid}/cmdline")
    if command.exists():
        assert b"trunkcall.cli.server" in command.read_bytes()
    assert json.loads(home.path.joinpath("server.json").read_text())["pid"] == server.process.pid
