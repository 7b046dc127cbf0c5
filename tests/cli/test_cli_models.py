"""`trunkcall models` and `usage`, before a server is started and on a running one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Server, eventually

from trunkcall.cli import models
from trunkcall.core.models import BreakerView, ModelView, ReplicaView
from trunkcall.home import Home

pytestmark = pytest.mark.timeout(180)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("breaker", "shown", "told"),
    [
        (BreakerView(state="open", seconds=12.0, failures=5, why="it refused"), "left alone", "for 12 s: it refused"),
        (BreakerView(state="half_open", why="it refused"), "ready", "one request at a time: it refused"),
        (BreakerView(failures=2, why="it broke"), "ready", "2 of its last answers failed: it broke"),
        (BreakerView(), "ready", ""),
    ],
)
def test_an_upstream_that_fails_is_seen(breaker: BreakerView, shown: str, told: str) -> None:
    replica = ReplicaView(id="m/0", model="m", source="x", state="ready", in_flight=0, slots=None, breaker=breaker)
    view = ModelView(name="m", sources=("x",), waiting=0, created=0, replicas=(replica,))
    assert (models.state(view), told in models.trouble(replica)) == (shown, True)


def test_a_server_that_is_still_starting(cli: Any, home: Home) -> None:
    with home.lock():
        found = cli("models", "ls")
    assert found.returncode == 1
    assert "still starting" in found.stderr


@pytest.mark.slow
def test_usage_of_a_running_server(cli: Any, home: Home, serve: Callable[..., Server]) -> None:
    server = serve("--no-pocket", "--model", "m=debug", home=home.path)
    for _ in range(3):
        server.chat("m", "four words are asked")
    by_day = ("usage", "--since", "2h", "--by", "model,day")
    lines = eventually(lambda: found if len(found := cli(*by_day).stdout.splitlines()) > 1 else None, 40)
    head, row = [line.split() for line in lines][:2]
    assert head[:3] == ["MODEL", "DAY", "REQUESTS"] and (row[0], row[2]) == ("m", "3")
    (told,) = json.loads(cli("usage", "--json").stdout)["rows"]
    assert (told["model"], told["requests"], told["prompt_tokens"]) == ("m", 3, 12)


def test_usage_without_a_server_reads_the_ledger(cli: Any) -> None:
    found = cli("usage")
    assert found.returncode == 0 and found.stdout.startswith("nothing was used "), found.stderr
    assert json.loads(cli("usage", "--json").stdout)["rows"] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_models_of_a_real_server(cli: Any, home: Home, serve: Callable[..., Server], work: Path) -> None:
    server = serve(home=home.path)
    added = cli(
        "models",
        "add",
        "two",
        "debug",
        "dummy",
        "--set",
        "ttl=10m",
        "--set",
        "aliases=[deux, zwei]",
        "--set",
        "slots=2",
        "--set",
        "fallback=pocket",
        "--set",
        "policy=lottery",
    )
    assert added.returncode == 0, added.stderr
    assert home.models() == {
        "two": {"source": ["debug", "dummy"], "ttl": "10m", "aliases": ["deux", "zwei"], "slots": 2}
        | {"fallback": "pocket", "policy": "lottery"}
    }
    for name in ("two", "zwei"):
        shown = cli("models", "show", name).stdout
        assert shown.startswith(
            "two: 2 of 2 ready, 0 waiting\npolicy: lottery\naliases: deux, zwei\nfallback: pocket\n"
        )
    assert cli("models", "change", "two", "--set", "slots=5", "--set", "ttl=null").stdout == "two is changed\n"
    assert home.models()["two"]["slots"] == 5 and "ttl" not in home.models()["two"]
    assert cli("models", "rm", "two").returncode == 0

    assert "`trunkcall models show pocket`" in cli("models", "load", "pocket").stdout
    eventually(lambda: "pocket: ready" in cli("models", "show", "pocket").stdout, 60)
    pid = server.get("/admin/models/pocket")["replicas"][0]["pid"]
    assert cli("models", "restart", "pocket", "--replica", "0").stdout == "pocket: ready\n"
    assert server.get("/admin/models/pocket")["replicas"][0]["pid"] != pid
    assert cli("models", "drain", "pocket").stdout == "pocket: draining\n"
    assert cli("models", "load", "pocket").stdout == "pocket: ready\n"
    assert cli("models", "unload", "pocket").stdout == "pocket: off\n"
    for arguments, code, words in (
        (["models", "drain", "pocket", "--replica", "7"], 2, "pocket/0"),
        (["models", "change", "pocket"], 2, "nothing to change"),
        (["models", "change", "pocket", "--set", "slots=1"], 1, "trunkcall config explain models.pocket"),
        (["models", "add", "x", "debug", "--set", "slosts=1"], 2, "slosts"),
    ):
        found = cli(*arguments)
        assert (found.returncode, words in found.stderr) == (code, True), (arguments, found.stderr)
        assert len(found.stderr.splitlines()) == 1
    assert cli("reload").stdout == "nothing has changed\n"


@pytest.mark.slow
def test_a_server_elsewhere_is_reached_by_url_and_key(cli: Any, serve: Callable[..., Server], tmp_path: Path) -> None:
    keyed = {"TRUNKCALL_KEYS": "env:THE_KEY", "THE_KEY": "sk-1"}
    server = serve("--no-pocket", "--model", "far=debug", home=tmp_path / "elsewhere", env=keyed)
    refused = cli("models", "ls", "--url", server.url)
    assert refused.returncode == 1 and "--key" in refused.stderr
    for arguments in (["requests"], ["top", "--json"], ["logs", "far"], ["reload"], ["models", "load", "far"]):
        assert cli(*arguments, "--url", server.url, "--key", "sk-1").returncode == 0, arguments
    assert cli("models", "ls", "--url", server.url, TRUNKCALL_API_KEY="sk-1").stdout.splitlines()[1].startswith("far")
    assert cli("models", "ls", TRUNKCALL_HOME=str(tmp_path / "elsewhere")).returncode == 0, "who may read the home may"


def test_reload_tells_what_is_wrong(cli: Any, home: Home, serve: Callable[..., Server], work: Path) -> None:
    file = work / "trunkcall.yaml"
    file.write_text("models: {a: debug}\npocket: false\n")
    serve("--config", str(file), home=home.path)
    file.write_text("models: {a: debug, b: debug}\npocket: false\n")
    assert "models.b" in cli("reload").stdout
    file.write_text("models: {a: opnai:x}\n")
    found = cli("reload")
    assert found.returncode != 0 and "Did you mean 'openai'?" in found.stderr
    assert [line.split()[0] for line in cli("models", "ls", "--config", "/dev/null").stdout.splitlines()[1:]] == [
        "a",
        "b",
    ]
