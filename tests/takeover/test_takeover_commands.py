"""`trunkcall as` itself: its own flags, unknown commands, what --show prints, who may call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trunkcall.config import Flags, load
from trunkcall.core.errors import ServingError
from trunkcall.takeover import commands
from trunkcall.takeover.plan import Guards, Plan, guarded, show


def as_command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkcall", "as", *arguments], capture_output=True, text=True, timeout=50, cwd=cwd
    )


def plan_of(*arguments: str) -> Plan:
    from trunkcall.takeover import kuwa_kernel

    return kuwa_kernel.read(arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "COMMAND"),
        (["--help"], 0, "kuwa-kernel"),
        (["kuwa-kernl"], 2, "Did you mean 'kuwa-kernel'?"),
        (["kuwa-kernel", "--help"], 0, "--log_level"),
        (["kuwa-kernel", "--port", "many"], 2, "invalid int value"),
        (["--api-keys", "secret", "kuwa-kernel"], 2, "env:NAME or file:PATH"),
        (["--allow-from", "here", "kuwa-kernel"], 2, "--allow-from"),
        (["--nonsense", "kuwa-kernel"], 2, "--nonsense"),
    ],
)
def test_every_use_ends_with_a_code_and_a_word(arguments: list[str], code: int, said: str) -> None:
    done = as_command(*arguments)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_bug() -> None:
    line = f"{sys.executable} -m trunkcall as kuwa-executor chatgpt --help | head -c 10"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("usage: kuw", "")


@pytest.mark.timeout(240)
def test_a_command_may_be_written_as_a_module_of_python() -> None:
    line = ("vllm.entrypoints.openai.api_server", "--model", "pocket", "--port", "5000")
    assert as_command("--show", "python", "-m", *line).stdout == as_command("--show", *line).stdout
    assert (
        "usage: fastchat.serve.test_message"
        in as_command("python", "-m", "fastchat.serve.test_message", "--help").stdout
    )
    assert "MODULE" in as_command("python", "-m").stderr, "a module's name is missing"


@pytest.mark.timeout(240)
def test_all_commands_can_be_loaded_and_are_listed() -> None:
    told = as_command("--help").stdout
    for name in commands.COMMANDS:
        assert name in told
        assert as_command(name, "--help").returncode == 0, name


def test_what_is_shown_is_a_settings_file(tmp_path: Path) -> None:
    done = as_command("--show", "--allow-from", "10.0.0.0/8", "kuwa-kernel", "--port", "9001", cwd=tmp_path)
    assert done.returncode == 0, done
    (tmp_path / "trunkcall.yaml").write_text(done.stdout.replace("host: 0.0.0.0", "host: 127.0.0.1"))
    settings = load(config=tmp_path / "trunkcall.yaml", home=tmp_path, environ={}, flags=Flags()).settings
    (listener,) = settings.listen
    assert (listener.port, listener.apis, listener.allow_from) == (9001, ("kuwa_kernel",), ("10.0.0.0/8",))
    assert settings.pocket is False
    assert "keys: [env:NAME]" in done.stdout, "`up` refuses that address without a key, and the reader is told"


def test_a_guard_closes_what_is_open_without_it() -> None:
    (open_to_all,) = guarded(plan_of(), Guards()).settings.listen
    assert open_to_all.allow_from == ()
    assert open_to_all.workers_from == ("0.0.0.0/0", "::/0")
    closed = guarded(plan_of(), Guards(("10.0.0.0/8",), ("env:KEY",))).settings
    assert closed.listen[0].allow_from == closed.listen[0].workers_from == ("10.0.0.0/8",)
    assert closed.keys == ("env:KEY",)
    (keyed,) = guarded(plan_of(), Guards(keys=("env:KEY",))).settings.listen
    assert keyed.workers_from == (), "who has no key may not register from elsewhere either"


def test_old_records_are_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A pickle that would tell on us if anybody loaded it.
    (tmp_path / "records.pickle").write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    (note,) = plan_of("--port", "9002").notes
    assert "not read" in note
    assert "http://127.0.0.1:9002/v1.0/worker/register" in note
    assert not (tmp_path / "unpickled").exists()


def test_secrets_are_named_not_shown() -> None:
    plan = plan_of()
    shown = show(Plan(plan.settings, plan.home, secrets={"TRUNKCALL_AS_KEY": "sk-hidden"}))
    assert "TRUNKCALL_AS_KEY" in shown
    assert "sk-hidden" not in shown
    assert yaml.safe_load(shown)["listen"]


def test_an_unknown_command_is_the_users_mistake() -> None:
    with pytest.raises(ServingError) as caught:
        commands.run(["fastchat"], {})
    assert caught.value.kind == "bad_request"
    assert os.environ.get("TRUNKCALL_AS_KEY") is None
