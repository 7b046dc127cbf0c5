"""The old controller's command line: its flags, their shortened and misspelt forms, and what the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkcall.config import Listener
from trunkcall.core.errors import ServingError
from trunkcall.takeover.fastchat_controller import read
from trunkcall.takeover.plan import show

VARIABLES = (
    "FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION",
    "FASTCHAT_WORKER_API_TIMEOUT",
    "LOGDIR",
    "SSL_CERTFILE",
    "SSL_KEYFILE",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def listener(line: str) -> Listener:
    plan = read(line.split())
    (found,) = plan.settings.listen
    assert (plan.settings.pocket, plan.settings.models, plan.lacking) == (False, {}, "")
    return found


@pytest.mark.parametrize(
    ("line", "host", "port", "method"),
    [
        ("", "localhost", 21001, "shortest_queue"),
        ("--host 0.0.0.0 --port 1", "0.0.0.0", 1, "shortest_queue"),
        ("--dispatch-method lottery", "localhost", 21001, "lottery"),
        ("--dispatch-method shorteset_queue", "localhost", 21001, "shortest_queue"),
        ("--disp shortest_queue --ho 127.0.0.1 --po=0", "127.0.0.1", 0, "shortest_queue"),
    ],
)
def test_flags(line: str, host: str, port: int, method: str) -> None:
    options = {"dispatch": method, "front": "none", "expiration": 90.0}
    assert listener(line) == Listener(host, port, ("fastchat_controller",), {"fastchat_controller": options})


@pytest.mark.parametrize("line", ["--dispatch-method random", "--port x", "--port 99999", "--nothing", "extra"])
def test_wrong_use_ends_the_program(line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        read(line.split())
    assert caught.value.code == 2


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION", "6")
    monkeypatch.setenv("LOGDIR", "/logs")
    monkeypatch.chdir(tmp_path)
    plan = read([])
    assert plan.settings.listen[0].options["fastchat_controller"]["expiration"] == 6.0
    assert [note.partition(" ")[0] for note in plan.notes] == ["LOGDIR"]
    assert "stream_timeout" not in plan.settings.listen[0].options["fastchat_controller"]
    monkeypatch.setenv("FASTCHAT_WORKER_API_TIMEOUT", "2.5")
    assert read([]).settings.listen[0].options["fastchat_controller"]["stream_timeout"] == 2.5
    with pytest.raises(ServingError, match="SSL_KEYFILE"):
        read(["--ssl"])
    monkeypatch.setenv("SSL_CERTFILE", "cert.pem")
    monkeypatch.setenv("SSL_KEYFILE", "/tls/key.pem")
    found = read(["--ssl"]).settings.listen[0]
    assert (found.certificate, found.private_key) == (str(tmp_path / "cert.pem"), "/tls/key.pem")
    assert f"certificate: {tmp_path}/cert.pem" in show(read(["--ssl"]))
    assert read([]).settings.listen[0].certificate == ""
