"""`trunkcall backup` and `restore`, with a server that runs and without one."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Server, eventually

from trunkcall.home import Home


def used(cli: Any, **more: str) -> Any:
    return json.loads(cli("usage", "--by", "model,key", "--json", **more).stdout)["rows"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_running_server_is_saved_and_moves_to_another_home(
    cli: Any, home: Home, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("--no-pocket", "--model", "m=debug", home=home.path)
    assert cli("models", "add", "added", "debug").returncode == 0
    for _ in range(5):
        server.chat("m", "one two three")
    before = eventually(lambda: [rows for rows in [used(cli)] if rows and rows[0]["requests"] == 5], 40)[0]
    file = tmp_path / "saved.tar.gz"
    saved = cli("backup", str(file))
    assert saved.returncode == 0, saved.stderr
    assert "models.json" in saved.stdout
    refused = cli("restore", str(file))
    assert refused.returncode == 1 and "a server already uses" in refused.stderr
    server.stop()
    there = {"TRUNKCALL_HOME": str(tmp_path / "there")}
    assert cli("restore", str(file), **there).returncode == 0
    assert used(cli, **there) == before
    assert json.loads(cli("models", "show", "added", "--json", **there).stdout)["sources"] == ["debug"]
    again = cli("restore", str(file), **there)
    assert again.returncode == 1 and "--force" in again.stderr
    assert cli("restore", str(file), "--force", **there).returncode == 0
    assert used(cli, **there) == before


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_backup_holds_no_secret(cli: Any, tmp_path: Path) -> None:
    made = cli("keys", "create", "alice")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    file = tmp_path / "saved.tar.gz"
    assert cli("backup", str(file)).returncode == 0
    with tarfile.open(file) as archive:
        data = b"".join(archive.extractfile(member).read() for member in archive)  # type: ignore[union-attr]
    assert b"alice" in data
    assert secret.encode() not in data
    there = {"TRUNKCALL_HOME": str(tmp_path / "there")}
    assert cli("restore", str(file), **there).returncode == 0
    assert "alice" in cli("keys", "ls", **there).stdout


def test_what_is_no_backup_is_told(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    found = cli("restore", str(tmp_path / "file"))
    assert found.returncode == 2
    assert found.stderr.startswith(f"trunkcall: {tmp_path / 'file'} is no backup")
