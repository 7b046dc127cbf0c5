"""The command line of FastChat's OpenAI server, what its web servers share with it, and the file of endpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from trunkcall import config, plugins
from trunkcall.config import Flags, load
from trunkcall.core.errors import ServingError
from trunkcall.takeover import fastchat_openai_api_server, fastchat_web, fastchat_web_multi
from trunkcall.takeover.fastchat_endpoints import KEY_NAME, read_endpoints
from trunkcall.takeover.plan import Guards, Plan, guarded, show

SERVERS = {
    "openai": fastchat_openai_api_server.read,
    "web": fastchat_web.read,
    "multi": fastchat_web_multi.read,
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "FASTCHAT_WORKER_API_TIMEOUT",
        "FASTCHAT_WORKER_API_EMBEDDING_BATCH_SIZE",
        "CONTROLLER_ADDRESS",
        "API_KEYS",
        "SSL_CERTFILE",
        "SSL_KEYFILE",
        "OPENAI_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)


def plan_of(server: str, line: str = "") -> Plan:
    return SERVERS[server](line.split())


def options_of(plan: Plan) -> dict[str, Any]:
    return plan.settings.listen[0].options["fastchat_openai"]


def secrets_of(plan: Plan) -> list[str]:
    """Of the keys that callers must send."""
    return [plan.secrets[key.removeprefix("env:")] for key in plan.settings.keys]


@pytest.mark.parametrize(
    ("server", "host", "port", "home"),
    [
        ("openai", "localhost", 8000, "fastchat-openai-8000"),
        ("web", "0.0.0.0", 7860, "fastchat-web-7860"),
        ("multi", "0.0.0.0", 7860, "fastchat-web-7860"),
    ],
)
def test_defaults(server: str, host: str, port: int, home: str) -> None:
    plan = plan_of(server)
    (listener,) = plan.settings.listen
    assert (listener.host, listener.port, plan.home) == (host, port, home)
    assert options_of(plan)["controller"] == "http://localhost:21001"
    assert listener.apis[0] == "fastchat_openai"
    assert options_of(plan).get("open", False) is (server == "openai")
    assert not plan.settings.pocket
    assert not plan.settings.keys
    assert plan.settings.cors == (("*",) if server == "openai" else ())


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("flag", ["--controller-address", "--controller-url", "--controller"])
@pytest.mark.parametrize(
    ("url", "expected"), [("http://c:21001", "http://c:21001"), ("https://c/x/", "https://c/x"), ("", "")]
)
def test_the_controller_in_all_spellings(server: str, flag: str, url: str, expected: str) -> None:
    assert options_of(SERVERS[server]([flag, url]))["controller"] == expected


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--controller-address nonsense", "http://HOST:PORT"),
        ("--controller-address http://user:secret@c", "the address is not"),
        ("--port 70000", "0 to 65535"),
        ("--unknown", "unrecognized"),
    ],
)
def test_wrong_use_is_said(server: str, line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        plan_of(server, line)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("FASTCHAT_WORKER_API_TIMEOUT", "2.5", "stream_timeout", 2.5),
        ("FASTCHAT_WORKER_API_TIMEOUT", "", "stream_timeout", None),
        ("FASTCHAT_WORKER_API_EMBEDDING_BATCH_SIZE", "9", "embedding_batch", 9),
        ("FASTCHAT_WORKER_API_EMBEDDING_BATCH_SIZE", "", "embedding_batch", None),
    ],
)
def test_how_workers_are_asked_is_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, option: str, value: float | None
) -> None:
    monkeypatch.setenv(variable, text)
    assert options_of(plan_of("openai")).get(option) == value
    for wrong in ("0", "-1", "x", "nan"):
        monkeypatch.setenv(variable, wrong)
        with pytest.raises(ServingError, match=variable):
            plan_of("openai")


@pytest.mark.parametrize("server", SERVERS)
def test_port_0_shares_the_home(server: str) -> None:
    assert plan_of(server, "--port 0").shared


def test_keys_are_secrets() -> None:
    plan = plan_of("openai", "--api-keys k1,,k2")
    assert secrets_of(plan) == ["k1", "k2"]
    assert any("/api/v1/token_check" in note for note in plan.notes)
    assert "k1" not in show(plan)


@pytest.mark.parametrize(("text", "keys"), [('["k1","k2"]', ["k1", "k2"]), ("k1,k2", ["k1", "k2"]), ("", [])])
def test_the_environment_has_its_say(monkeypatch: pytest.MonkeyPatch, text: str, keys: list[str]) -> None:
    monkeypatch.setenv("API_KEYS", text)
    monkeypatch.setenv("CONTROLLER_ADDRESS", "http://e:1")
    assert secrets_of(plan_of("openai")) == keys
    assert options_of(plan_of("openai"))["controller"] == "http://e:1"
    plan = plan_of("openai", "--api-keys k3 --controller http://f:1")
    assert (secrets_of(plan), options_of(plan)["controller"]) == (["k3"], "http://f:1")


def test_origins_and_what_is_wider_here() -> None:
    assert plan_of("openai", '--allowed-origins ["http://x"]').settings.cors == ("http://x",)
    assert not plan_of("openai", '--allowed-methods ["*"]').notes
    for narrowed in ('--allowed-methods ["GET"]', '--allowed-headers ["x"]', "--allow-credentials"):
        assert any("--allowed-methods" in note for note in plan_of("openai", narrowed).notes)
    with pytest.raises(SystemExit):
        plan_of("openai", "--allowed-origins *")


def test_tls_takes_its_files_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServingError, match="SSL_CERTFILE and SSL_KEYFILE"):
        plan_of("openai", "--ssl")
    monkeypatch.setenv("SSL_CERTFILE", "c.pem")
    monkeypatch.setenv("SSL_KEYFILE", "/k.pem")
    (listener,) = plan_of("openai", "--ssl").settings.listen
    assert (listener.certificate, listener.private_key) == (str(Path("c.pem").absolute()), "/k.pem")


def test_what_is_shown_can_be_started(tmp_path: Path) -> None:
    file = endpoints(tmp_path, a=OPENAI | {"api_key": "s3cret"})
    plan = guarded(plan_of("openai", f"--host 127.0.0.1 --register-api-endpoint-file {file}"), Guards())
    text = show(plan)
    assert "s3cret" not in text
    shown = tmp_path / "trunkcall.yaml"
    shown.write_text(text)
    assert yaml.safe_load(text)["models"]["a"]["key"] == f"env:{KEY_NAME}_1"
    loaded = load(config=shown, home=tmp_path, environ={}, flags=Flags()).settings
    assert loaded.listen == plan.settings.listen
    assert loaded.models == plan.settings.models


# The file of endpoints

OPENAI = {"model_name": "gpt", "api_type": "openai", "api_base": "http://h:1/v1/", "anony_only": False}


def endpoints(folder: Path, **entries: Any) -> Path:
    file = folder / "endpoints.json"
    file.write_text(json.dumps(entries))
    return file


@pytest.mark.parametrize(
    ("entry", "source", "options"),
    [
        (OPENAI, "openai:http://h:1/v1#gpt", {}),
        ({**OPENAI, "api_base": None}, "openai:https://api.openai.com/v1#gpt", {}),
        ({**OPENAI, "api_base": "http://h:1"}, "openai:http://h:1#gpt", {"path": ""}),
        ({**OPENAI, "api_type": "openai_o1"}, "openai:http://h:1/v1#gpt", {}),
        ({"model_name": "g", "api_type": "gemini"}, "gemini:g", {}),
        ({"model_name": "g", "api_type": "gemini_no_stream", "api_base": "https://h"}, "gemini:https://h#g", {}),
        ({"model_name": "c", "api_type": "anthropic_message"}, "anthropic:c", {"version": "2023-06-01"}),
        ({"model_name": "c", "api_type": "anthropic", "api_base": "https://h/v1"}, "anthropic:https://h/v1#c",
         {"version": "2023-06-01"}),
    ],
)  # fmt: skip
def test_endpoints_become_models(tmp_path: Path, entry: Any, source: str, options: dict[str, Any]) -> None:
    found = read_endpoints(str(endpoints(tmp_path, shown=entry)))
    (model,) = found.models.values()
    assert (model.name, str(model.sources[0]), model.options) == ("shown", source, options)
    plugins.find_connect(model.sources[0].scheme)(model.sources[0].target, model, model.sources[0].model)
    assert not found.secrets
    assert not model.key


def test_keys_of_endpoints_are_references() -> None:
    file = Path(__file__).parent / "data" / "api-endpoints.json"
    found = read_endpoints(str(file))
    assert {name: model.key for name, model in found.models.items()} == {
        "gpt-4o": f"env:{KEY_NAME}_1", "o1": "", "claude": f"env:{KEY_NAME}_2", "gemini": ""}  # fmt: skip
    assert found.secrets == {f"{KEY_NAME}_1": "sk-openai", f"{KEY_NAME}_2": "sk-claude"}
    assert found.defaults == {
        "gpt-4o": {"temperature": 0.2, "top_p": 0.9}, "o1": {}, "claude": {}, "gemini": {"temperature": 0.5}}  # fmt: skip
    assert "sk-" not in repr(found)
    notes = "\n".join(found.notes)
    for said in (
        "mistral is left out: mistral: its protocol",
        "old is left out: bard: Google",
        "claude was for battles",
    ):
        assert said in notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"a": 1}', "endpoints.json: a: Expected `object`"),
        ('{"a": {"api_type": "openai"}}', "missing required field `model_name`"),
        ('{"a b": {"model_name": "x", "api_type": "openai"}}', "cannot be a model's name"),
        ('{"a": {"model_name": "x", "api_type": "openai", "api_key": 5}}', "api_key"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "endpoints.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ServingError, match=r"endpoints\.json") as caught:
        plan_of("openai", f"--register-api-endpoint-file {file}")
    assert said in caught.value.message


def test_settings_can_be_shown() -> None:
    for server in SERVERS:
        assert config.show(plan_of(server).settings)["listen"]
