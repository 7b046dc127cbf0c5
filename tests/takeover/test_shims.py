"""What `trunkcall takeover kuwa` puts down, and that the old command lines run with it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from running import Server, eventually

from trunkcall.core.errors import ServingError
from trunkcall.takeover import shims

pytestmark = pytest.mark.timeout(180)

DATA = Path(__file__).parent / "data"


class Shell:
    """A shell in which the line of the takeover was typed; in a folder whose name has a space."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "my folder"
        self.line = shims.place("kuwa", self.folder / "old names").line
        self.environment = {**os.environ, "TRUNKCALL_HOME": str(folder / "home")}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, typed: str) -> subprocess.Popen[str]:
        self.started.append(
            subprocess.Popen(
                ["/bin/sh", "-c", f"{self.line}; exec {typed}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return self.started[-1]

    def run(self, typed: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        child = self.start(typed)
        out, err = child.communicate(timeout=60)
        return child.returncode, out, err


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    yield opened
    for child in opened.started:
        if child.poll() is None:
            child.terminate()
            child.communicate(timeout=40)


def test_placing_twice_changes_nothing_and_nothing_is_overwritten(tmp_path: Path) -> None:
    placed = shims.place("kuwa", tmp_path / "a b")
    files = {path: path.read_bytes() for path in placed.folder.rglob("*") if path.is_file()}
    assert {str(path.relative_to(placed.folder)) for path in files} == {
        "bin/.trunkcall-takeover",
        "bin/kuwa-executor",
        "bin/kuwa-kernel",
        "python/.trunkcall-takeover",
        *(
            f"python/kuwa/executor/{name}.py"
            for name in ("__init__", "base_executor", "llm_executor", "modelfile", "util")
        ),
    }
    assert shims.place("kuwa", tmp_path / "a b") == placed
    mine = placed.folder / "bin" / "kuwa-kernel"
    mine.write_text("mine")
    (placed.folder / "python" / "kuwa" / "executor" / "util.py").unlink()
    with pytest.raises(ServingError, match="left as it is; choose another place with --into DIR") as caught:
        shims.place("kuwa", tmp_path / "a b")
    assert (caught.value.kind, mine.read_text()) == ("conflict", "mine")
    assert not (placed.folder / "python" / "kuwa" / "executor" / "util.py").exists()


@pytest.mark.parametrize(
    ("system", "into", "kind"),
    [("kuva", "x", "bad_request"), ("kuwa", "a:b", "bad_request"), ("kuwa", "file/x", "forbidden")],
)
def test_what_cannot_be_placed(tmp_path: Path, system: str, into: str, kind: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError) as caught:
        shims.place(system, tmp_path / into)
    assert caught.value.kind == kind


def test_the_commands_are_found(shell: Shell) -> None:
    code, out, err = shell.run("kuwa-executor --list")
    assert (code, "Available model executors:" in out, err) == (0, True, "")
    code, out, _ = shell.run("kuwa-executor debug --help")
    assert (code, out.startswith("usage: kuwa-executor debug")) == (0, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [("--help", 0, "--mark MARK"), ("--port none", 2, "argument --port"), ("--wrong", 2, "unrecognized arguments")],
)
def test_a_users_file_answers_for_its_own_arguments(shell: Shell, words: str, code: int, said: str) -> None:
    found, out, err = shell.run(f"{sys.executable} {DATA / 'shout.py'} {words}")
    assert (found, said in out + err, "Traceback" in err) == (code, True, False)


def test_a_users_file_is_served(shell: Shell, free_port: int) -> None:
    (shell.folder / "shout it.py").write_text((DATA / "shout.py").read_text())
    where = f"--ignore_kernel --host 127.0.0.1 --port {free_port}"
    child = shell.start(f"{sys.executable} -u 'shout it.py' --access_code s {where} --mark '?'")

    def answer() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=60)
        try:
            body = urlencode({"input": json.dumps([{"isbot": False, "msg": "hé"}])})
            connection.request("POST", "/chat", body, {"content-type": "application/x-www-form-urlencoded"})
            return connection.getresponse().read()
        except ConnectionError:
            assert child.poll() is None
            return b""
        finally:
            connection.close()

    assert eventually(answer, 60).decode() == "HÉ?"
    # The process that was started is the server; nothing is left of the first run.
    assert b"trunkcall\0as\0python\0shout it.py\0" in Path(f"/proc/{child.pid}/cmdline").read_bytes()
    child.terminate()
    _, err = child.communicate(timeout=40)
    assert child.returncode == 0, err


def test_a_python_without_trunkcall_hands_over(shell: Shell, tmp_path: Path) -> None:
    bare = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True, timeout=60)
    code, out, err = shell.run(f"'{bare}' {DATA / 'shout.py'} --help")
    assert (code, "--mark MARK" in out) == (0, True), err


def test_the_server_cannot_import_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = shims.place("kuwa", tmp_path / "old")
    program = (
        "import importlib.util, sys; from trunkcall.takeover import shims; before = importlib.util.find_spec('kuwa');"
        "shims.hide(); print(before is not None, importlib.util.find_spec('kuwa'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{placed.folder / 'python'}:{tmp_path / 'not there'}"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout.split() == ["True", "None"], done


def test_a_server_does_not_start_what_stands_in_for_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = shims.place("vllm", tmp_path / "old")
    names, modules = placed.folder / "bin", placed.folder / "python"
    real = tmp_path / "real"
    real.mkdir()
    monkeypatch.setenv("PATH", f"{names}:{real}:/bin:")
    monkeypatch.setenv("PYTHONPATH", f"{modules}:{real}")
    assert shutil.which("vllm") == str(names / "vllm")
    shims.hide_from_children()
    assert (os.environ["PATH"], os.environ["PYTHONPATH"]) == (f"{real}:/bin:", str(real))


def test_tgis_name(tmp_path: Path) -> None:
    placed = shims.place("tgi", tmp_path / "old")
    assert "PYTHONPATH" not in placed.line, "the client package text_generation is the user's own"
    assert {path.name for path in placed.folder.rglob("*") if path.is_file()} == {
        shims.MARK,
        "text-generation-launcher",
    }
    command = [placed.folder / "bin" / "text-generation-launcher", "--env"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("Runtime environment:\nTarget: ")


def test_vllms_names(tmp_path: Path) -> None:
    placed = shims.place("vllm", tmp_path / "old")
    environment = {**os.environ, "PATH": f"{placed.folder / 'bin'}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(placed.folder / "python")

    def run(*command: str) -> str:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    for command in (("vllm", "serve", "--help"), ("python3", "-m", "vllm.entrypoints.openai.api_server", "--help")):
        assert "--tensor-parallel-size" in run(*command)
    bare = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True, timeout=60)
    (tmp_path / "own.py").write_text(
        "from vllm import LLM, SamplingParams\nprint(LLM.__module__, SamplingParams(n=2).n)\n"
    )
    assert run(str(bare), str(tmp_path / "own.py")) == "trunkcall.offline.llm 2\n"


@pytest.mark.slow
def test_a_custom_executor_is_a_model_like_others(serve: Callable[..., Server], tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    config = tmp_path / "trunkcall.yaml"
    trouble = {"source": f"kuwa-executor:{DATA / 'trouble.py'}", "options": {"args": ["--notes", str(notes)]}}
    broken = {**trouble, "options": {"args": ["--at_setup", "raise"]}}
    models: dict[str, Any] = {"shout": f"kuwa-executor:{DATA / 'shout.py'}", "trouble": trouble, "broken": broken}
    config.write_text(json.dumps({"models": models, "pocket": False}))
    server = serve("--config", str(config))
    status, _, answer = server.chat("shout", "hé")
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "HÉ!")
    status, _, answer = server.chat("broken", "hé")
    assert (status, "no such weights" in answer["error"]["message"]) == (503, True)
    # sys.exit, a flood of output and a death in the middle stay in the child.
    assert server.chat("trouble", "flood")[2]["choices"][0]["message"]["content"] == "flooded"
    server.chat("trouble", "exit")
    assert server.chat("trouble", "flood")[0] == 200
    eventually(lambda: re.search(r"replica trouble/0 ended: .*sys\.exit\(3\)", server.output))
