"""The Dockerfile and the systemd unit without their engines: what they name exists, and their commands do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Server, alive, eventually

from trunkcall import config_file

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "packaging" / "trunkcall.service"


def instructions(target: str = "base") -> dict[str, list[str]]:
    """The instructions of one stage, by their word, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    found: dict[str, list[str]] = {}
    stage = ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if not line or word.startswith("#"):
            continue
        if word == "FROM":
            stage = rest.partition(" AS ")[2] or "last"
        if stage == target:
            found.setdefault(word, []).append(rest)
    return found


def environment(stage: dict[str, list[str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for line in stage["ENV"] for pair in shlex.split(line))


def health_command(stage: dict[str, list[str]]) -> str:
    (line,) = stage["HEALTHCHECK"]
    return line.partition("CMD ")[2]


def test_the_image_is_slim_and_its_user_is_not_root() -> None:
    stage = instructions()
    assert "-slim" in stage["FROM"][0]
    assert stage["USER"] == ["trunkcall"]
    assert instructions("last")["FROM"] == ["base"], "what is built without --target"
    assert stage["ENTRYPOINT"] == ['["trunkcall"]']
    for line in stage["RUN"]:
        assert "apt-get install" not in line or ("--no-install-recommends" in line and "rm -rf /var/lib/apt" in line)
        assert "pip install" not in line or "--no-cache-dir" in line


def test_what_is_copied_and_set_exists() -> None:
    for target in ("base", "tgi"):
        stage = instructions(target)
        for line in stage["COPY"]:
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
        for name in environment(stage):
            if name.startswith("TRUNKCALL_"):
                field = name.removeprefix("TRUNKCALL_").lower()
                assert field == "home" or field in config_file.File.__struct_fields__, name


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin of a fresh environment, filled by the stage's own `pip` lines from a copy of what it copies."""
    root = tmp_path_factory.mktemp("image")
    work = root / "opt"
    work.mkdir()
    venv.create(root / "venv", with_pip=True)
    environ = {**os.environ, "PATH": f"{root / 'venv' / 'bin'}:{os.environ['PATH']}"}
    stage = instructions()
    for line in stage["COPY"]:
        *sources, target = line.split()
        for source in sources:
            place = work / target / (source if target in (".", "./") else "")
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    for line in stage["RUN"]:
        if line.startswith("pip "):
            done = subprocess.run(line, shell=True, cwd=work, env=environ, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return root / "venv" / "bin"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_its_commands_install_start_and_watch_the_server(installed: Path, tmp_path: Path) -> None:
    stage = instructions()
    environ = {
        "PATH": f"{installed}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        **environment(stage),
        "TRUNKCALL_HOME": str(tmp_path / "data"),
        "TRUNKCALL_KEY": "s3cret",
    }
    command = [*json.loads(stage["ENTRYPOINT"][0]), *json.loads(stage["CMD"][0]), "--port", "0"]

    def healthy() -> int:
        return subprocess.run(["sh", "-c", health_command(stage)], env=environ, cwd=tmp_path, timeout=30).returncode

    without = {name: value for name, value in environ.items() if name != "TRUNKCALL_KEY"}
    refused = subprocess.run(command, env=without, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert "TRUNKCALL_KEY" in refused.stderr
    assert healthy() == 1
    with (tmp_path / "out").open("w") as out:
        server = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=out, stderr=out)
    try:
        eventually(lambda: healthy() == 0, 60, 0.2)
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
    assert healthy() == 1


def test_the_health_check_of_the_tgi_image_asks_its_port(serve: object, free_port: int) -> None:
    command = health_command(instructions("tgi")).replace("python ", f"{sys.executable} ", 1)

    def healthy() -> int:
        environ = {**os.environ, "PORT": str(free_port)}
        return subprocess.run(["sh", "-c", command], env=environ, capture_output=True, timeout=30).returncode

    assert healthy() == 1
    assert callable(serve)
    serve("--port", str(free_port), "--no-pocket")
    eventually(lambda: healthy() == 0)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    program = Path(sys.executable).with_name("trunkcall")
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/trunkcall/bin/trunkcall", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_names_a_command_line_that_is_ours(tmp_path: Path) -> None:
    command = re.search(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert command is not None
    arguments = shlex.split(command[1])[1:]
    done = subprocess.run(
        [sys.executable, "-m", "trunkcall", *arguments],
        env={**os.environ, "TRUNKCALL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2, "RestartPreventExitStatus counts on it"
    assert "no such settings file" in done.stderr


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens where NOTIFY_SOCKET says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.settimeout(40)
        yield ours


def test_the_service_manager_is_told_of_each_state(manager: socket.socket, tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("models: {d: debug}")
    server = Server("--config", str(file), home=tmp_path / "home", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        assert b"READY=1\nSTATUS=Serving at http://127.0.0.1:" in manager.recv(1000)
        server.process.send_signal(1)
        before, told = time.monotonic_ns() // 1000, manager.recv(1000)
        assert told.startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert abs(int(told.rpartition(b"=")[2]) - before) < 60_000_000
        assert manager.recv(1000).startswith(b"READY=1\n")
        server.process.terminate()
        assert manager.recv(1000).startswith(b"STOPPING=1\n")
    finally:
        assert server.stop() == 0
    assert not alive(server.process.pid)
