"""The command lines of FastChat's web servers: every flag, tabs, users, terms, and where conversations are logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from trunkcall.app import banner
from trunkcall.config import Flags, load
from trunkcall.core.errors import ServingError
from trunkcall.takeover import fastchat_web, fastchat_web_multi
from trunkcall.takeover.plan import Guards, Plan, guarded, show
from trunkcall.web.options import SiteOptions

SERVERS = {"web": fastchat_web.read, "multi": fastchat_web_multi.read}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LOGDIR", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def plan_of(server: str, line: str = "") -> Plan:
    return SERVERS[server](line.split())


def site_of(plan: Plan) -> SiteOptions:
    """Of the page."""
    return msgspec.convert(plan.settings.listen[0].options["web"], SiteOptions)


def called_of(plan: Plan) -> dict[str, Any]:
    """Of the api below /v1."""
    return plan.settings.listen[0].options["fastchat_openai"]


def secrets_of(plan: Plan) -> list[str]:
    return [plan.secrets[key.removeprefix("env:")] for key in plan.settings.keys]


@pytest.mark.parametrize(("server", "pages"), [("web", ("chat",)), ("multi", ("battle", "compare", "chat"))])
def test_the_page_has_fastchats_tabs_and_limits(server: str, pages: tuple[str, ...]) -> None:
    plan = plan_of(server)
    (listener,) = plan.settings.listen
    assert listener.apis == ("fastchat_openai", "web", "landing")
    found = site_of(plan)
    assert found == SiteOptions(
        pages=pages,  # pyright: ignore[reportArgumentType]
        locked=True,
        conversations=str(Path.cwd()),
        most_characters=12000,
        most_turns=50,
        parameters={"temperature": 0.7, "top_p": 1.0, "max_tokens": 1024},
    )
    assert not plan.notes
    assert called_of(plan) == {"controller": "http://localhost:21001", "errors": "openai", "once": True}


def test_the_web_server_says_where_its_models_are() -> None:
    (listener,) = plan_of("web", "--controller http://10.0.0.1:21001").settings.listen
    told = banner(listener, "http://127.0.0.1:7860", ())
    assert "Open    http://127.0.0.1:7860\n" in told
    assert "Models  those of the controller at http://10.0.0.1:21001\n" in told
    plan = plan_of("web", "--controller-url=")
    (listener,) = plan.settings.listen
    assert "Models  none yet" in banner(listener, "http://127.0.0.1:7860", ())
    assert called_of(plan)["controller"] == ""


@pytest.mark.parametrize("server", SERVERS)
def test_the_list_is_read_once_or_again(server: str) -> None:
    assert called_of(plan_of(server))["once"] is True
    assert called_of(plan_of(server, "--model-list-mode once"))["once"] is True
    assert "once" not in called_of(plan_of(server, "--model-list-mode reload"))


def test_terms_are_shown_when_they_are_asked_for() -> None:
    assert not site_of(plan_of("web")).terms
    assert "recorded" in site_of(plan_of("web", "--show-terms-of-use")).terms


EVERY_FLAG = (
    "--host h --port 1 --share --controller-url http://c:1 --concurrency-count 20 --model-list-mode reload --moderate"
    " --show-terms-of-use --gradio-root-path /x --use-remote-storage"
)
ARENA = (
    " --vision-arena --random-questions q --elo-results-file e --leaderboard-table-file l --arena-hard-table a"
    " --ga-id g --password p --show-visualizer --add-chatgpt --add-claude --add-palm --anony-only-for-proprietary-model"
)
MAPPED = {"--host", "--port", "--controller-url", "--model-list-mode", "--add-chatgpt", "--show-terms-of-use"}
ALIASES = {"--vision-arena": "--multimodal"}


@pytest.mark.parametrize(("server", "line"), [("web", EVERY_FLAG), ("multi", EVERY_FLAG + ARENA)])
def test_every_flag_is_taken_or_named(
    server: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = "\n".join(plan_of(server, line).notes)
    flags = {word for word in line.split() if word.startswith("--")}
    for flag in flags - MAPPED:
        assert ALIASES.get(flag, flag) in notes, flag
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        plan_of(server, "--help")
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    for flag in flags | {"--gradio-auth-path", "--register-api-endpoint-file", "LOGDIR"}:
        assert flag in shown, flag
    assert "later version" not in shown + notes


def test_flags_are_shortened_as_argparse_does() -> None:
    plan = plan_of("multi", "--controller http://c:1 --model reload --multi --ga x")
    assert called_of(plan)["controller"] == "http://c:1"
    assert plan.notes[0].startswith("--multimodal: images can be given")


def test_chatgpt_is_two_models() -> None:
    plan = plan_of("multi", "--add-chatgpt")
    assert {str(model.sources[0]) for model in plan.settings.models.values()} == {
        "openai:https://api.openai.com/v1#gpt-3.5-turbo", "openai:https://api.openai.com/v1#gpt-4"}  # fmt: skip
    with pytest.raises(SystemExit):
        plan_of("web", "--add-chatgpt")


# Users


def test_users_are_let_in_by_name_and_password(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:one, bob:two:2\nann:one\n")
    plan = plan_of("multi", f"--gradio-auth-path {users} --password page")
    assert secrets_of(plan) == ["ann:one", "bob:two:2", "page"]
    assert site_of(plan).sign_in == "password"
    assert any("the API's keys" in note for note in plan.notes)
    assert "two" not in show(plan)
    assert site_of(plan_of("multi")).sign_in == "key"


@pytest.mark.parametrize("text", [None, "", "ann", "ann:one,bob", ":one", "ann:"])
def test_a_file_of_users_that_closes_nothing_is_refused(tmp_path: Path, text: str | None) -> None:
    users = tmp_path / "users"
    if text is not None:
        users.write_text(text)
    with pytest.raises(ServingError, match="--gradio-auth-path") as caught:
        plan_of("web", f"--gradio-auth-path {users}")
    assert "one" not in caught.value.message.replace(str(users), "")


# Where conversations are logged


def test_logdir_is_read_as_fastchat_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, folder in (("", tmp_path), ("logs", tmp_path / "logs"), ("/tmp/x/y", Path("/tmp/x/y"))):
        monkeypatch.setenv("LOGDIR", given)
        assert site_of(plan_of("web")).conversations == str(folder)
    assert not (tmp_path / "logs").exists(), "a plan writes nothing"


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    plan = plan_of("web")
    assert not site_of(plan).conversations
    assert "not logged" in plan.notes[0]
    monkeypatch.setenv("LOGDIR", str(tmp_path / "logs"))
    with pytest.raises(ServingError, match="LOGDIR"):
        plan_of("web")
    monkeypatch.undo()
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOGDIR", str(tmp_path / "file" / "logs"))
    with pytest.raises(ServingError, match="LOGDIR"):
        plan_of("web")


def test_what_is_shown_can_be_started(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:one")
    line = f"--host 127.0.0.1 --gradio-auth-path {users} --show-terms-of-use"
    plan = guarded(plan_of("multi", line), Guards())
    shown = tmp_path / "trunkcall.yaml"
    shown.write_text(show(plan))
    loaded = load(config=shown, home=tmp_path, environ={}, flags=Flags()).settings
    assert loaded.listen == plan.settings.listen
