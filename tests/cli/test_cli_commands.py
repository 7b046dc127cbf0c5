"""The command line's manners: start time, help, wrong use, settings, what `up` hands over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trunkcall import __version__
from trunkcall.home import Home

HEAVY = {"rich", "sqlalchemy", "alembic", "uvicorn", "uvloop", "asyncio", "yaml", "msgspec", "http.client"}


def imported(code: str) -> set[str]:
    code += "\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, timeout=30)
    return set(found.stdout.splitlines()[-1].split())


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    assert not (HEAVY | {"typer"}) & imported("import trunkcall.cli")


def test_help_imports_nothing_heavy() -> None:
    modules = imported("from trunkcall.cli.commands.root import run\nrun(['--help'])\nrun(['up', '--help'])")
    assert "typer" in modules
    assert not HEAVY & modules


def test_help_is_there_at_once(environ: dict[str, str]) -> None:
    def cpu(*arguments: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environ, timeout=30, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    shown, typer = zip(*((cpu("-m", "trunkcall", "--help"), cpu("-c", "import typer")) for _ in range(5)), strict=True)
    # It takes 0.12 s of a quiet machine's CPU, 1.5 times as much as its parser alone; one heavy import doubles that.
    assert min(shown) < 3 * min(typer)


def test_the_server_process_keeps_nothing_of_the_command_line(environ: dict[str, str], work: Path) -> None:
    modules = imported("from trunkcall.cli import server\nfrom trunkcall import config, home, plugins")
    assert not {"typer", "rich", "sqlalchemy", "alembic", "trunkcall.cli.commands"} & modules


def test_up_hands_its_flags_to_the_process_it_becomes(environ: dict[str, str], work: Path) -> None:
    code = """
import os, sys
from trunkcall.cli.commands.root import run
os.execv = lambda path, arguments: print(path, *arguments, sep="\\n")
run(sys.argv[1:])
"""
    arguments = [
        "up", "--config", "c.yaml", "--host", "::1", "--port", "9", "--listen", "1=a", "--listen", "2", "--home", "h",
        "--model", "a=b", "--model", "c=d", "--no-pocket", "--log-level", "debug", "--json-logs",
    ]  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30, env=environ, cwd=work
    )
    path, executable, *options, text = found.stdout.splitlines()
    assert path == executable == sys.executable
    assert options == ["-P", "-m", "trunkcall.cli.server"]
    assert json.loads(text) == {
        "config": "c.yaml",
        "home": "h",
        "flags": {
            "host": "::1",
            "port": 9,
            "listen": ["1=a", "2"],
            "models": ["a=b", "c=d"],
            "pocket": False,
            "log_level": "debug",
            "json_logs": True,
            "access_log": None,
            "store": None,
        },
    }


def test_help_and_version(cli: Any) -> None:
    for arguments in ((), ("--help",)):
        found = cli(*arguments)
        assert found.returncode == 0
        for command in ("up", "chat", "usage", "version", "models", "config"):
            assert f"  {command} " in found.stdout
    assert cli("--version").stdout == f"trunkcall {__version__}\n"
    assert cli("version").stdout.startswith(f"trunkcall {__version__} (Python ")
    assert json.loads(cli("version", "--json").stdout)["version"] == __version__


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nosuch"], 2, ["No such command 'nosuch'", "trunkcall --help"]),
        (["models", "rm"], 2, ["Missing argument 'NAME'", "trunkcall models rm --help"]),
        (["up", "--prot", "1"], 2, ["No such option", "--port"]),
        (["up", "--port", "x"], 2, ["--port"]),
        (["up", "--port", "99999"], 2, ["99999 is not a port"]),
        (["up", "--host", "0.0.0.0"], 2, ["trunkcall keys create", "TRUNKCALL_KEYS"]),
        (["up", "--model", "x"], 2, ["NAME=SOURCE"]),
        (["up", "--model", "x=opnai:http://h"], 2, ["Did you mean 'openai'?"]),
        (["up", "--model", "x=models/y"], 2, ["./models/y"]),
        (["up", "--config", "missing.yaml"], 2, ["missing.yaml", "no such settings file"]),
        (["up", "--home", "/proc/nowhere"], 1, ["/proc/nowhere cannot be used", "--home DIR"]),
        (["config", "explain", "lisen"], 2, ["Did you mean 'listen'?"]),
        (["usage", "--by", "modle"], 2, ["Did you mean 'model'?"]),
        (["usage", "--since", "ever"], 2, ["--since", "1h30m"]),
        (["chat", "hi"], 1, ["trunkcall up"]),
        (["chat", "--url", "ftp://x", "hi"], 2, ["http://127.0.0.1:8000"]),
        (["chat", "--url", "http://127.0.0.1:1", "hi"], 1, ["no answer from http://127.0.0.1:1", "trunkcall up"]),
    ],
)
def test_wrong_use_is_told_in_a_line_or_two(cli: Any, arguments: list[str], code: int, words: list[str]) -> None:
    found = cli(*arguments)
    assert found.returncode == code, found.stderr
    assert found.stderr.startswith("trunkcall: ")
    assert len(found.stderr.splitlines()) <= 2
    for word in words:
        assert word in found.stderr
    assert found.stdout == ""


def test_a_mistake_in_the_file_is_told_with_its_line(cli: Any, work: Path) -> None:
    (work / "trunkcall.yaml").write_text("models:\n  a: debug\nlog_levle: info\n")
    for arguments in (("up",), ("config", "show"), ("models", "ls")):
        found = cli(*arguments)
        assert (found.returncode, found.stderr) == (
            2,
            "trunkcall: trunkcall.yaml:3: log_levle: unknown setting. Did you mean 'log_level'?\n",
        )


def test_up_on_a_held_home_names_the_first(cli: Any, home: Home) -> None:
    with home.lock():
        home.write_server(os.getpid(), "http://127.0.0.1:4321")
        found = cli("up", "--port", "0", "--no-pocket")
    assert found.returncode == 1
    assert f"process {os.getpid()} at http://127.0.0.1:4321" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_config_show_explain_and_schema(cli: Any, work: Path) -> None:
    (work / "trunkcall.yaml").write_text("models: {a: debug}\nstore: postgresql://u:secret@h/d\n")
    shown = cli("config", "show")
    assert shown.stdout.startswith(f"# from {work}/trunkcall.yaml\n")
    assert "store: postgresql://u:***@h/d\n" in shown.stdout
    assert json.loads(cli("config", "show", "--json").stdout)["models"]["a"] == {"source": "debug"}
    found = cli("config", "explain", "log_level", TRUNKCALL_LOG_LEVEL="debug")
    assert found.stdout == 'log_level = "debug"  (environment TRUNKCALL_LOG_LEVEL)\n  overrides "info"  (default)\n'
    found = cli("config", "explain", "models.a", "--json")
    assert json.loads(found.stdout) == {
        "key": "models.a",
        "value": {"source": "debug"},
        "place": "trunkcall.yaml:1: models.a",
        "overrides": [],
    }
    assert json.loads(cli("config", "schema").stdout)["title"] == "trunkcall.yaml"


def test_a_closed_pipe_is_no_failure_to_show(environ: dict[str, str], work: Path) -> None:
    command = f"{sys.executable} -m trunkcall config schema | true"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, env=environ, cwd=work)
    assert found.stderr == ""


def test_shells_can_complete(cli: Any) -> None:
    found = cli(_TRUNKCALL_COMPLETE="complete_bash", COMP_WORDS="trunkcall mod", COMP_CWORD="1")
    assert found.stdout.split() == ["models"]


def test_what_nobody_expected_is_one_line_and_a_request(environ: dict[str, str], work: Path) -> None:
    code = "import sys; from trunkcall.cli import settings; from trunkcall.cli.commands.root import run; settings.schema = lambda: 1 / 0; sys.exit(run(['config', 'schema']))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environ, cwd=work)
    assert found.returncode == 1
    assert found.stderr.startswith("trunkcall: a bug in Trunkcall: ZeroDivisionError: division by zero\n")
    assert "Traceback" not in found.stderr
    environ["TRUNKCALL_TRACEBACK"] = "1"
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environ, cwd=work)
    assert "Traceback" in found.stderr
