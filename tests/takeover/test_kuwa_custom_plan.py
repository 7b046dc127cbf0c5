"""`trunkcall as python FILE.py`: what its command line becomes, and that the file is served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from takeover.kuwa_started import ask, started

from trunkcall.core.models import Machine, ModelSettings
from trunkcall.engines.kuwa_executor import KuwaExecutor
from trunkcall.takeover import kuwa_custom
from trunkcall.takeover.plan import Plan

SHOUT = """
from kuwa.executor import LLMExecutor, Modelfile

class Shout(LLMExecutor):
    def extend_arguments(self, parser):
        parser.add_argument("--mark", default="!", help="what comes last")

    def setup(self):
        self.stop = False

    async def llm_compute(self, history: list[dict], modelfile: Modelfile):
        for character in history[-1]["content"].upper() + self.args.mark:
            yield character

if __name__ == "__main__":
    Shout().run()
"""


@pytest.fixture
def shout(tmp_path: Path) -> Path:
    folder = tmp_path / "my files"
    folder.mkdir()
    path = folder / "shout.py"
    path.write_text(SHOUT)
    return path


def as_python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkcall", "as", "python", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=cwd,
        env={**os.environ, "TRUNKCALL_HOME": str(cwd / "home")} if cwd else None,
    )


def model_of(plan: Plan) -> ModelSettings:
    (model,) = plan.settings.models.values()
    return model


def served(plan: Plan) -> dict[str, Any]:
    (listener,) = plan.settings.listen
    return listener.options["kuwa_executor"]


def test_general_options_are_read_and_all_go_to_the_file(shout: Path) -> None:
    own = ["--mark", "?", "--ver", "x", "--access_code", "shout", "s/2", "--port", "9301", "--host", "127.0.0.1"]
    own += ["--log", "debug", "--concurrent_req_limit=2", "--ignore_kernel", "positional"]
    plan = kuwa_custom.read([str(shout), *own])
    model = model_of(plan)
    assert str(model.sources[0]) == f"kuwa-executor:{shout}"
    assert model.options == {"args": own, "shown": True}
    assert (model.name, model.slots, model.preload) == ("shout", 2, True)
    asked = served(plan)
    assert (asked["codes"], asked["kernel"], asked["limit"]) == (("shout", "s/2"), "", 2)
    # `--ver` is the file's own flag, not short for --version.
    assert asked["interface"] == "v1.0"
    assert (plan.home, plan.settings.log_level) == ("kuwa-executor-9301", "debug")


def test_without_a_code_the_file_tells_its_own(shout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shout.parent)
    plan = kuwa_custom.read(["shout.py"])
    assert served(plan)["codes"] == ()
    assert (model_of(plan).name, plan.home, plan.shared) == ("shout", "kuwa-executor-shout", True)
    assert model_of(plan).sources[0].target == str(shout)


def test_a_module_is_run_as_python_does() -> None:
    plan = kuwa_custom.read(["-m", "my.shout", "--mark", "?"])
    model = model_of(plan)
    assert (model.name, model.options) == ("shout", {"args": ["--mark", "?"], "module": "my.shout", "shown": True})
    command = KuwaExecutor().plan(model, Machine(1, 1)).command
    assert command[command.index("my.shout") - 1] == "-m"
    assert command[-2:] == ("--mark", "?")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "FILE.py"),
        (["nowhere.py"], "there is no file 'nowhere.py'"),
        (["nowhere.py", "--help"], "there is no file 'nowhere.py'"),
        (["."], "there is no file '.'"),
        (["-m"], "argument -m: expected one argument"),
        (["-x"], "FILE.py"),
        (["FILE", "--port", "many"], "argument --port"),
        (["FILE", "--access_code", ""], "a code is empty"),
        (["FILE", "--kernel_url", "kernel"], "--kernel_url"),
    ],
)
def test_wrong_use_ends_with_code_2(arguments: list[str], said: str, shout: Path) -> None:
    done = as_python(*(str(shout) if word == "FILE" else word for word in arguments))
    assert (done.returncode, done.stdout) == (2, ""), done
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_files_own_help_is_shown(shout: Path) -> None:
    done = as_python(str(shout), "--help")
    assert done.returncode == 0, done
    assert "--mark MARK" in done.stdout
    assert "what comes last (default: !)" in " ".join(done.stdout.split())
    assert "General Options:" in done.stdout
    alone = as_python("--help")
    assert (alone.returncode, "FILE.py" in alone.stdout) == (0, True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("form", ["file", "module"])
def test_it_is_served_under_the_code_that_it_tells(form: str, shout: Path, tmp_path: Path) -> None:
    words = [str(shout)] if form == "file" else ["-m", "shout"]
    with started(tmp_path / "home", "python", *words, "--mark", "?", "--ignore_kernel", cwd=shout.parent) as (
        child,
        url,
    ):
        assert ask(url, "hello") == (200, "HELLO?")
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0


def test_a_file_that_serves_nothing_ends_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("print('hello')\n")
    done = as_python("plain.py", "--host", "127.0.0.1", "--ignore_kernel", cwd=tmp_path)
    assert done.returncode == 1, done
    assert "run()" in done.stderr
    assert "Traceback" not in done.stderr
