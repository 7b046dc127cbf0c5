"""`trunkcall logs` on a real server whose engine writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatty import chatty
from running import Server, eventually

from trunkcall.home import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_last_lines_and_those_that_come(
    cli: Any, home: Home, serve: Callable[..., Server], environ: dict[str, str], tmp_path: Path
) -> None:
    found = cli("logs", "chatty")
    assert found.returncode == 1 and "trunkcall up" in found.stderr
    settings = {"models": {"chatty": chatty(tmp_path), "echo": "debug"}}
    (tmp_path / "trunkcall.yaml").write_text(json.dumps(settings))
    serve("--no-pocket", "--config", str(tmp_path / "trunkcall.yaml"), home=home.path)

    lines = eventually(
        lambda: found if len(found := cli("logs", "chatty", "-n", "3").stdout.splitlines()) == 3 else None, 60
    )
    assert all(line.startswith("\\x1b[31m") for line in lines), "nothing that a terminal would obey"
    assert cli("logs", "echo").stdout.startswith("echo has written nothing")
    for name, words in (("chatty/4", "it has chatty/0"), ("chaty", "Did you mean 'chatty'?")):
        found = cli("logs", name)
        assert found.returncode == 1 and words in found.stderr

    command = [sys.executable, "-m", "trunkcall", "logs", "chatty/0", "-f", "-n", "1"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            numbers = [int(child.stdout.readline().split()[-1]) for _ in range(5)]
            assert numbers == list(range(numbers[0], numbers[0] + 5))
            child.send_signal(2)
            assert child.wait(30) == 130
            assert child.stderr is not None and child.stderr.read() == ""
        finally:
            child.kill()
