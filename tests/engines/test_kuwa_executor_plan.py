"""The plan of a custom executor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.kuwa_executor import KuwaExecutor

HOST = (sys.executable, "-P", "-u", "-m", "trunkcall.workers.kuwa_executor")


def plan(target: Path | str, *, slots: int | None = None, **options: Any) -> LaunchSpec:
    source = parse_source(f"kuwa-executor:{target}" if target else "kuwa-executor")
    settings = ModelSettings(name="m", sources=(source,), options=options, slots=slots)
    return KuwaExecutor().plan(settings, Machine(2, 2**30))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my executor.py"
    path.touch()
    return path


def test_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = plan(file, args=["--mark", "?"])
    assert spec.command == (*HOST, str(file), "--mark", "?")
    assert (spec.protocol, spec.slots, spec.env) == ("kuwa", 1, {})
    assert spec.start_timeout == 600
    monkeypatch.chdir(file.parent)
    assert plan(file.name).command == (*HOST, str(file))


@pytest.mark.parametrize(
    ("options", "slots", "words"),
    [({}, 1, ()), ({"limit": 3}, 3, ("3",)), ({"slots": 2}, 2, ("2",)), ({"slots": 2, "limit": 3}, 3, ("3",))],
)
def test_how_many_at_once(file: Path, options: dict[str, Any], slots: int, words: tuple[str, ...]) -> None:
    spec = plan(file, args=("a",), **options)
    told = ("--concurrent_req_limit", *words) if words else ()
    assert (spec.slots, spec.command) == (slots, (*HOST, str(file), *told, "a"))


def test_a_module() -> None:
    assert plan("", module="a.b", args=("x",)).command == (*HOST, "-m", "a.b", "x")


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("", {}, "write `kuwa-executor:PATH/TO/FILE.py`"),
        ("/nowhere/x.py", {}, "/nowhere/x.py does not exist"),
        ("/", {}, "/ is a folder"),
        ("/nowhere/x.py", {"module": "x"}, "not both"),
        ("/nowhere/x.py", {"limit": 0}, "option limit"),
        ("/nowhere/x.py", {"arguments": []}, "unknown option 'arguments'"),
    ],
)
def test_what_cannot_be_started(target: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ServingError) as caught:
        plan(target, **options)
    assert caught.value.kind == "bad_request"
    assert said in caught.value.message
