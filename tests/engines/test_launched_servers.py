"""Servers that others wrote behind a `trunkcall up`: stand-ins that take the originals' command lines."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import stand_in
from engines.model_folders import put_model
from running import Server, alive, eventually

Serve = Callable[..., Server]

OPTIONS = {"context": 256, "slots": 2, "args": []}


def config(folder: Path, name: str, **model: Any) -> Path:
    path = folder / "trunkcall.yaml"
    path.write_text(json.dumps({"models": {name: model}}))
    return path


def replica(server: Server, name: str) -> dict[str, Any]:
    return server.get(f"/admin/models/{name}")["replicas"][0]


def told(answer: Any) -> dict[str, Any]:
    return json.loads(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize("kind", ["vllm", "sglang", "tgi-server"])
def test_an_engine_is_started_asked_and_ended(serve: Serve, tmp_path: Path, kind: str) -> None:
    folder = put_model(tmp_path / "model")
    program = stand_in.program(tmp_path, kind)
    variable = f"TRUNKCALL_{kind.removesuffix('-server').upper()}"
    does = {"loads": 0.2, "env": ["PROMETHEUS_PORT", "VLLM_NO_USAGE_STATS", "COLOUR"]}
    path = config(tmp_path, "m", source=f"{kind}:{folder}", options=OPTIONS, env={"COLOUR": "blue"})
    server = serve("--config", str(path), env={variable: str(program), "STAND_IN": json.dumps(does)})
    status, _, answer = server.chat("m", "hello")
    assert status == 200, answer
    assert answer["model"] == "m"
    found = told(answer)
    assert str(folder) in found["argv"]
    assert found["env"]["COLOUR"] == "blue"
    assert found["env"]["VLLM_NO_USAGE_STATS"] == ("1" if kind == "vllm" else "")
    assert bool(re.fullmatch(r"\d+", found["env"]["PROMETHEUS_PORT"])) == (kind == "tgi-server")
    shown = replica(server, "m")
    assert (shown["state"], shown["engine"]) == ("ready", kind)
    started = re.search(r"stand-in (\d+) loads", "\n".join(shown["log"]))
    assert started
    assert server.stop() == 0
    assert not alive(int(started[1]))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_command_is_started_again_when_it_was_killed(serve: Serve, tmp_path: Path) -> None:
    command = [sys.executable, stand_in.__file__, "plain", "--port", "{port}"]
    path = config(tmp_path, "m", source="command", options={"command": command, "health": "/v1/models"})
    switch = tmp_path / "broken"
    does = {"health": "/v1/models", "broken_if": str(switch)}
    server = serve("--config", str(path), env={"STAND_IN": json.dumps(does)})
    assert server.chat("m", "hello", stream=False)[0] == 200
    first = replica(server, "m")["log"]
    # Once it is ready again its error is forgotten.
    switch.touch()
    os.kill(int(re.findall(r"stand-in (\d+) loads", "\n".join(first))[0]), signal.SIGKILL)
    eventually(lambda: replica(server, "m")["restarts"] == 1)
    assert "killed by SIGKILL" in replica(server, "m")["error"]
    switch.unlink()
    assert server.chat("m", "hello")[0] == 200


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ({"says": ["ValueError: No available memory for the cache blocks."], "exit": 1}, "out of memory"),
        ({"killed_by": 4}, "needs CPU features that the machine lacks"),
    ],
)
def test_a_caller_hears_why_it_does_not_start(serve: Serve, tmp_path: Path, does: dict[str, Any], says: str) -> None:
    folder = put_model(tmp_path / "model")
    environment = {"TRUNKCALL_VLLM": str(stand_in.program(tmp_path, "vllm")), "STAND_IN": json.dumps(does)}
    server = serve("--model", f"m=vllm:{folder}", env=environment)
    status, _, answer = server.chat("m", "hello")
    assert status == 503
    assert says in answer["error"]["message"]
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_second_engine_for_which_the_gpu_has_no_room(serve: Serve, tmp_path: Path) -> None:
    free = tmp_path / "free"
    free.write_text("15500")
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\necho "Tesla T4, 16000, $(cat {free})"\n')
    smi.chmod(0o755)
    source = f"vllm:{put_model(tmp_path / 'model', max_position_embeddings=2_000_000)}"
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "TRUNKCALL_VLLM": str(stand_in.program(tmp_path, "vllm")),
    }
    path = tmp_path / "trunkcall.yaml"
    path.write_text(json.dumps({"models": {"first": {"source": source, "pinned": True}, "second": source}}))
    server = serve("--config", str(path), env=environment)
    assert server.chat("first", "hello")[0] == 200
    # What the first one took.
    free.write_text("100")
    status, _, answer = server.chat("second", "hello")
    assert status == 507
    assert "it needs 15.1 GB" in answer["error"]["message"]
    assert "Unpin or remove one" in answer["error"]["message"]
    assert server.chat("first", "hello")[0] == 200


def test_an_unknown_flag_is_told_in_the_engine_s_words(serve: Serve, tmp_path: Path) -> None:
    folder = put_model(tmp_path / "model")
    path = config(tmp_path, "m", source=f"vllm:{folder}", options={"args": ["--swap-space", "4"]})
    server = serve("--config", str(path), env={"TRUNKCALL_VLLM": str(stand_in.program(tmp_path, "vllm"))})
    assert "unrecognized arguments: --swap-space" in server.chat("m", "x")[2]["error"]["message"]


def serve_vllm(serve: Serve, folder: Path, does: dict[str, Any] | None = None, **options: Any) -> Server:
    model = put_model(folder / "model")
    path = config(folder, "m", source=f"vllm:{model}#inner", options=options)
    environment = {"TRUNKCALL_VLLM": str(stand_in.program(folder, "vllm")), "STAND_IN": json.dumps(does or {})}
    server = serve("--config", str(path), env=environment)
    assert server.chat("m", "hello")[0] == 200
    return server


def change(server: Server, **what: Any) -> tuple[int, Any]:
    status, _, data = server.request("PATCH", "/admin/models/m", what)
    return status, json.loads(data)


def order(server: Server, path: str) -> None:
    """Given to the engine behind our back."""
    with urllib.request.urlopen(f"{replica(server, 'm')['address']}{path}", b"", timeout=10) as answer:
        assert answer.status == 200


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_sleeping_engine_is_woken_by_who_asks(serve: Serve, tmp_path: Path) -> None:
    server = serve_vllm(serve, tmp_path, sleep=True)
    assert "--enable-sleep-mode" in told(server.chat("m", "hello")[2])["argv"]
    status, view = change(server, asleep=True)
    assert (status, view["replicas"][0]["state"]) == (200, "asleep")
    assert server.chat("m", "hello")[0] == 200
    assert replica(server, "m")["state"] == "ready"
    order(server, "/sleep?level=1")
    # Nobody has looked yet: the call hangs until somebody does.
    assert server.chat("m", "hello")[0] == 200
    order(server, "/sleep?level=1")
    eventually(lambda: replica(server, "m")["state"] == "asleep")
    order(server, "/wake_up")
    eventually(lambda: replica(server, "m")["state"] == "ready")
    change(server, asleep=True)
    assert change(server, asleep=False)[1]["replicas"][0]["state"] == "ready"


def test_an_engine_that_cannot_sleep_says_what_to_do(serve: Serve, tmp_path: Path) -> None:
    server = serve_vllm(serve, tmp_path)
    status, answer = change(server, asleep=True)
    assert (status, answer["error"]["kind"]) == (400, "unsupported")
    assert "`sleep: true`" in answer["error"]["message"]
    assert replica(server, "m")["state"] == "ready"
    status, answer = change(server, lora={"a": str(tmp_path)})
    assert (status, answer["error"]["param"]) == (400, "lora")
    assert "`runtime_lora: true`" in answer["error"]["message"]
    assert change(server, slept=True)[0] == 400


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_adapters_are_models_while_the_engine_runs(serve: Serve, tmp_path: Path) -> None:
    first, second = (put_adapter(tmp_path / name) for name in ("first", "second"))
    server = serve_vllm(serve, tmp_path, lora={"first": str(first)}, runtime_lora=True)
    whole = server.chat("first", "hello")
    assert (whole[0], whole[2]["model"]) == (200, "first")
    assert server.chat("m", "hello")[2]["model"] == "m"
    status, view = change(server, lora={"second": str(second)})
    assert (status, view["adapters"]) == (200, ["first", "second"])
    assert server.chat("second", "hello")[2]["model"] == "second"
    assert {"m", "first", "second"} <= {model["id"] for model in server.get("/v1/models")["data"]}
    # What was loaded as it ran is there again in its next life.
    (pid,) = re.findall(r"stand-in (\d+) loads", "\n".join(replica(server, "m")["log"]))
    os.kill(int(pid), signal.SIGKILL)
    eventually(lambda: replica(server, "m")["restarts"] == 1)
    argv = told(server.chat("second", "hello")[2])["argv"]
    assert f"second={second}" in argv
    assert change(server, lora={"first": None})[0] == 200
    assert server.chat("first", "hello")[0] == 404
    for lora, says in (
        ({"x": str(tmp_path / "none")}, "No adapter found"),
        ({"x": "./relative"}, "absolute path"),
        ({"second": str(second)}, "there is a model"),
        ({"first": None}, "no adapter"),
    ):
        status, answer = change(server, lora=lora)
        assert 400 <= status < 500
        assert says in answer["error"]["message"]


def test_an_adapter_cannot_have_a_model_s_name(serve: Serve, tmp_path: Path) -> None:
    server = serve_vllm(serve, tmp_path, runtime_lora=True)
    status, answer = change(server, lora={"pocket": str(put_adapter(tmp_path / "a"))})
    assert (status, answer["error"]["kind"]) == (409, "conflict")
    assert server.chat("m", "hello")[0] == 200


def put_adapter(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 4}')
    return folder
