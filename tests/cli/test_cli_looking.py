"""`trunkcall models probe` and `estimate`, with a server on the home and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Server

from trunkcall.pocket import gguf_path

pytestmark = pytest.mark.timeout(180)


@pytest.mark.slow
def test_without_a_server_on_the_home_it_looks_from_here(
    cli: Any, serve: Callable[..., Server], free_port: int
) -> None:
    peer = serve("--no-pocket", "--model", "echo=debug")
    found = cli("models", "probe", peer.url.removeprefix("http://"))
    assert found.returncode == 0
    assert [line.split() for line in found.stdout.splitlines()] == [
        ["KIND", "MODEL", "SOURCE"],
        ["Trunkcall", "echo", f"openai:{peer.url}/v1#echo"],
    ]
    nothing = cli("models", "probe", f"127.0.0.1:{free_port}")
    assert (nothing.returncode, nothing.stdout.splitlines()[0].split()) == (1, ["TRIED", "WHY", "NOT"])
    assert len(nothing.stderr.splitlines()) == 1 and "refuses connections" in nothing.stderr
    as_json = cli("models", "probe", f"127.0.0.1:{free_port}", "--json")
    assert as_json.returncode == 1 and json.loads(as_json.stdout)["found"] == []


@pytest.mark.slow
def test_what_is_printed_of_a_model(cli: Any, work: Path) -> None:
    (work / "m.gguf").write_bytes(gguf_path().read_bytes())
    lines = dict(line.split(maxsplit=1) for line in cli("models", "estimate", "m.gguf").stdout.splitlines())
    assert lines["engine"].startswith("llamacpp (") and lines["download"] == "nothing"
    assert lines["memory"].startswith("about ") and lines["memory"].endswith(": fits now")
    assert cli("models", "estimate", "debug").stdout == "engine    none: it runs elsewhere\n"
    two = json.loads(cli("models", "estimate", "pocket", "--set", "replicas=2", "--json").stdout)
    one = json.loads(cli("models", "estimate", "pocket", "--json").stdout)
    assert two["memory"] == 2 * one["memory"] > 0


def test_what_cannot_be_is_refused_in_one_line(cli: Any) -> None:
    for arguments, words in (
        (["probe", "ftp://h"], "http://HOST:PORT"),
        (["probe", "h", "--upstream-key", "sk-literal"], "env:NAME or file:PATH"),
        (["probe", "h", "--upstream-key", "env:NOT_THERE"], "not set in the environment"),
        (["estimate", "opnai:http://h"], "Did you mean 'openai'?"),
        (["estimate", "none.gguf"], "does not exist"),
        (["estimate", "pocket", "--set", "slots"], "is not NAME=VALUE"),
    ):
        found = cli("models", *arguments)
        assert (found.returncode, found.stdout) == (2, ""), arguments
        assert words in found.stderr and len(found.stderr.splitlines()) == 1, found.stderr
        assert "sk-literal" not in found.stderr


def test_a_running_server_is_asked(cli: Any, serve: Callable[..., Server], work: Path, home: Any) -> None:
    peer = serve("--no-pocket", "--model", "echo=debug", env={"TRUNKCALL_KEYS": "env:BOSS", "BOSS": "sk-its-key"})
    server = serve("--no-pocket", home=home.path, env={"UPSTREAM": "sk-its-key"})
    found = cli("models", "probe", peer.url, "--upstream-key", "env:UPSTREAM")
    assert found.returncode == 0, "the server knows the variable, not the command"
    assert "echo" in found.stdout and "add it with the same `key`" in found.stdout
    (work / "m.gguf").write_bytes(gguf_path().read_bytes())
    told = json.loads(cli("models", "estimate", "m.gguf", "--json").stdout)
    asked = server.post("/admin/estimate", {"source": f"{work}/m.gguf"})[2]
    assert told == asked and told["fits"] is True, "a path is relative to where the command is given"
