"""The routes of a vLLM server beside OpenAI's: a `trunkcall up` that serves them for one model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import stand_in
from engines.model_folders import put_model
from running import Server, eventually

Serve = Callable[..., Server]


def serve_as_vllm(serve: Serve, folder: Path, port: int, **environment: str) -> Server:
    options = {"sleep": True, "runtime_lora": True}
    settings = {
        "pocket": False,
        "listen": [{"port": 0}, {"port": port, "apis": ["openai", "vllm"]}],
        "models": {"m": {"source": f"vllm:{put_model(folder / 'model')}", "options": options, "preload": True}},
    }
    path = folder / "trunkcall.yaml"
    path.write_text(json.dumps(settings))
    server = serve("--config", str(path), env={"TRUNKCALL_VLLM": str(stand_in.program(folder, "vllm")), **environment})
    server.url = f"http://127.0.0.1:{port}"
    eventually(lambda: server.request("GET", "/health")[0] == 200, 45)
    return server


ADAPTING = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def test_sleep(serve: Serve, tmp_path: Path, free_port: int) -> None:
    server = serve_as_vllm(serve, tmp_path, free_port, **ADAPTING)
    assert server.get("/is_sleeping") == {"is_sleeping": False}
    assert server.post("/sleep?level=1", {})[::2] == (200, {"status": "sleeping", "level": 1})
    assert server.get("/is_sleeping") == {"is_sleeping": True}
    assert server.request("GET", "/health")[0] == 200, "as vLLM says"
    assert server.post("/wake_up", {})[::2] == (200, {"status": "awake", "tags": None})
    assert server.get("/is_sleeping") == {"is_sleeping": False}
    assert server.post("/sleep", {})[0] == 200
    assert server.chat("m", "hello")[0] == 200
    status, _, answer = server.post("/sleep?level=2", {})
    assert (status, answer["error"]["param"]) == (400, "level")


def test_adapters(serve: Serve, tmp_path: Path, free_port: int) -> None:
    server = serve_as_vllm(serve, tmp_path, free_port, **ADAPTING)
    order: dict[str, Any] = {"lora_name": "a", "lora_path": str(tmp_path)}
    status, _, said = server.request("POST", "/v1/load_lora_adapter", order)
    assert (status, said) == (200, b"Success: LoRA adapter 'a' added successfully.")
    assert server.chat("a", "hello")[2]["model"] == "a"
    assert server.post("/v1/load_lora_adapter", order)[0] == 409
    assert server.request("POST", "/v1/load_lora_adapter", {**order, "load_inplace": True})[0] == 200
    assert server.request("POST", "/v1/unload_lora_adapter", {"lora_name": "a"})[0] == 200
    assert server.chat("a", "hello")[0] == 404
    assert server.post("/v1/unload_lora_adapter", {"lora_name": "a"})[0] == 404
    assert server.post("/v1/load_lora_adapter", {"lora_name": "a"})[0] == 400


@pytest.mark.parametrize("path", ["/sleep", "/wake_up", "/v1/load_lora_adapter", "/collective_rpc"])
def test_what_the_environment_does_not_open(serve: Serve, tmp_path: Path, free_port: int, path: str) -> None:
    server = serve_as_vllm(serve, tmp_path, free_port, **(ADAPTING if path == "/collective_rpc" else {}))
    assert server.request("POST", path, {})[0] == 404
