"""`trunkcall doctor`, and what `models show` says of the engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from engines.model_folders import put_model
from store.postgresql import running_cluster

from trunkcall.home import Home
from trunkcall.pocket import gguf_path

pytestmark = pytest.mark.timeout(180)

KNOWN = {
    "the shipped model",
    "Python",
    "CPU",
    "memory",
    "GPU",
    "state directory",
    "Hub's cache",
    "downloads",
    "settings",
}


def asked(cli: Any, *arguments: str, code: int = 0, **environ: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Findings and models by name, and the models' first replicas."""
    found = cli("doctor", "--json", *arguments, **environ)
    assert found.returncode == code, found.stdout + found.stderr
    report = json.loads(found.stdout)
    assert report["usable"] == (code == 0)
    models = {view["name"]: view["replicas"][0] for view in report["models"]}
    return {one["what"]: one for one in report["findings"]}, models


def test_this_machine(cli: Any, home: Home) -> None:
    findings, models = asked(cli)
    assert findings.keys() >= KNOWN
    assert {one["state"] for one in findings.values()} <= {"fine", "lacks", "wrong"}
    assert all(one["remedy"] for one in findings.values() if one["state"] == "wrong")
    assert findings["engine llamacpp"]["state"] == "fine"
    assert list(models) == ["pocket"]
    assert (models["pocket"]["engine"], models["pocket"]["error"]) == ("llamacpp", "")
    assert not home.path.exists(), "looking leaves nothing behind"
    shown = cli("doctor")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].split() == ["CHECK", "STATE", "FOUND", "TO", "DO"]
    assert "started, asked and ended in" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stub", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("raise ImportError('libgomp.so.1: cannot open shared object file')", "libgomp"),
    ],
)
def test_the_shipped_model_cannot_be_served(cli: Any, tmp_path: Path, stub: str, words: str) -> None:
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "xllamacpp.py").write_text(stub)
    findings, _ = asked(cli, code=1, PYTHONPATH=str(tmp_path / "stub"))
    pocket = findings["the shipped model"]
    assert pocket["state"] == "wrong"
    assert words in pocket["found"]
    assert pocket["remedy"] == "pip install --force-reinstall trunkcall"


@pytest.mark.slow
def test_models_of_the_settings(cli: Any, work: Path) -> None:
    shutil.copytree(put_model(work / "hugging"), work / "empty")
    (work / "empty" / "model.safetensors").unlink()
    (work / "ggml").mkdir()
    shutil.copy(gguf_path(), work / "ggml" / "m.gguf")
    models = {
        "a": "./ggml", "b": "./empty", "c": "openai:http://127.0.0.1:1/v1", "d": "./missing.gguf", "e": "nosuch:x",
        "f": "hf:org/name-GGUF",
    }  # fmt: skip
    (work / "trunkcall.yaml").write_text(json.dumps({"models": models, "pocket": False}))
    findings, found = asked(cli)
    assert findings["settings"]["found"].endswith("trunkcall.yaml")
    assert (found["a"]["engine"], found["a"]["why"]) == ("llamacpp", "GGUF is the format of llama.cpp")
    assert found["a"]["memory"] > 2**20
    assert findings["all models at once"]["state"] == "fine"
    assert "has no weights" in found["b"]["error"]
    assert (found["c"]["engine"], found["c"]["error"]) == ("", "")
    assert "does not exist" in found["d"]["error"]
    assert "no scheme that is known here" in found["e"]["error"]
    assert "it is not fetched yet" in found["f"]["why"]
    text = cli("doctor").stdout
    assert "has no weights" in text
    assert "openai" in text

    shown = cli("models", "show", "a").stdout
    assert "REPLICA  ENGINE    MEMORY" in shown
    assert "GGUF is the format of llama.cpp" in shown
    assert "has no weights" in cli("models", "show", "b").stdout
    assert json.loads(cli("models", "show", "a", "--json").stdout)["replicas"][0]["engine"] == "llamacpp"


def test_a_mistake_in_the_settings(cli: Any, work: Path) -> None:
    (work / "trunkcall.yaml").write_text("stroe: x")
    findings, models = asked(cli, code=1)
    assert findings["settings"]["state"] == "wrong"
    assert "Did you mean 'store'?" in findings["settings"]["found"]
    assert list(models) == [], "nothing is said of models that could not be read"


@pytest.mark.slow
def test_addresses(cli: Any, home: Home, work: Path, free_port: int) -> None:
    port = free_port
    with socket.create_server(("127.0.0.1", port)):
        (work / "trunkcall.yaml").write_text(f"listen: {port}")
        what = f"address 127.0.0.1:{port}"
        findings, _ = asked(cli, code=1)
        assert (findings[what]["state"], findings[what]["remedy"]) == ("wrong", "choose another with --port")
        if Path("/proc/net/tcp").exists():
            assert findings[what]["found"].endswith(
                f", by process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
            )
        with home.lock():
            home.write_server(os.getpid(), f"http://127.0.0.1:{port}")
            findings, _ = asked(cli)
        assert findings[what]["state"] == "fine"
        assert f"process {os.getpid()}" in findings[what]["found"]
        if Path("/proc/net/tcp").exists():
            with home.lock():
                home.write_server(os.getpid(), "http://127.0.0.1:1")
                assert asked(cli)[0][what]["state"] == "fine", "another listener of the same server"
    findings, _ = asked(cli)
    assert findings[what]["found"] == "free"


def test_surroundings(cli: Any) -> None:
    found = asked(cli, code=1, HF_HUB_OFFLINE="1", TRUNKCALL_HOME="/dev/null/home", HF_HOME="/dev/null")[0]
    assert (found["downloads"]["state"], found["downloads"]["remedy"]) == ("lacks", "unset HF_HUB_OFFLINE")
    for what in ("state directory", "Hub's cache"):
        assert (found[what]["state"], found[what]["found"][-17:]) == ("wrong", "cannot be written")
    secret = "hf_" + "x" * 30
    said = cli("doctor", HF_TOKEN=secret, HF_ENDPOINT=f"https://user:{secret}@mirror.example/")
    assert "from mirror.example, with HF_TOKEN" in said.stdout
    assert secret not in said.stdout + said.stderr


@pytest.mark.parametrize(
    ("settings", "environ", "what", "state", "words"),
    [
        ("", {}, "keys", "fine", "none: every user of this machine may ask"),
        ("keys: [env:MY_KEY]", {"MY_KEY": "s3cret"}, "keys", "fine", "1 in the settings, 0 made by command"),
        ("keys: [env:MY_KEY]", {}, "key env:MY_KEY", "wrong", "is not set in the environment"),
        ("listen: 0.0.0.0:0", {}, "keys", "wrong", "none, and others reach 0.0.0.0:0"),
        ("", {}, "ledger", "fine", "ledger.db, not there yet"),
        ("store: postgresql://u:s3cret@127.0.0.1:1/x", {}, "ledger", "wrong", "does not answer"),
        ("", {}, "time zone", "fine", "UTC in budgets"),
        ("", {"TZ": "Europe/Nowhere"}, "time zone", "lacks", "TZ=Europe/Nowhere is not known"),
        ("", {}, "clock", "fine", " UTC"),
        ("", {}, "open files", "", " at most"),
    ],
)
def test_what_a_service_needs(
    cli: Any, work: Path, settings: str, environ: dict[str, str], what: str, state: str, words: str
) -> None:
    (work / "trunkcall.yaml").write_text(settings or "{}")
    done = cli("doctor", "--json", **environ)
    assert done.returncode == (state == "wrong")
    assert "s3cret" not in done.stdout + done.stderr
    (found,) = (one for one in json.loads(done.stdout)["findings"] if one["what"] == what)
    assert found["state"] == (state or found["state"])
    assert words in found["found"]


@pytest.mark.slow
def test_a_clock_that_went_back(cli: Any, home: Home) -> None:
    home.ensure()
    ledger = home.path / "ledger.db"
    ledger.touch()
    later = time.time() + 3600
    os.utime(ledger, (later, later))
    found = asked(cli, code=1)[0]["clock"]
    assert (found["state"], found["remedy"]) == ("wrong", "set it by NTP")


def test_a_gpu(cli: Any, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 100000'\n")
    program.chmod(0o755)
    found = asked(cli, PATH=f"{program.parent}:{os.environ['PATH']}", CUDA_VISIBLE_DEVICES="0")[0]
    assert found["GPU"]["state"] == "fine"
    assert found["GPU"]["found"] == "NVIDIA H200, 104.9 GB free of 150.8 GB"


@pytest.mark.slow
def test_a_postgresql_that_is_there_and_then_not(cli: Any, work: Path) -> None:
    with running_cluster() as cluster:
        (work / "trunkcall.yaml").write_text(f"store: {cluster.server}/postgres")
        findings, _ = asked(cli)
        assert findings["ledger"]["found"].startswith("PostgreSQL ")
        assert "the database's clock" not in findings
        assert findings["keys"]["state"] == "fine"
    assert asked(cli, code=1)[0]["ledger"]["remedy"] == "start the database, or correct the setting store"
