"""The official openai package of both generations against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Server
from tool_caller import tool_caller

SESSION = Path(__file__).with_name("openai_session.py")
OLD = Path(sys.prefix) / "openai1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with tool_caller() as url:
        settings = home / "trunkcall.yaml"
        settings.write_text(
            "models:\n"
            "  vectors: {source: pocket, options: {embeddings: true}}\n"
            f"  caller: 'openai:{url}#their-caller'\n",
            encoding="utf-8",
        )
        with Server("--config", str(settings), home=home) as running:
            yield running


@pytest.mark.timeout(180)
@pytest.mark.parametrize("generation", [3, 1])
def test_session(server: Server, generation: int) -> None:
    env = dict(os.environ)
    if generation == 1:
        if not OLD.is_dir():
            pytest.skip("openai 1.x is not installed: make env-all puts it into the environment")
        env["PYTHONPATH"] = str(OLD)
    done = subprocess.run(
        [sys.executable, str(SESSION), f"{server.url}/v1", "pocket", "vectors", "caller"],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["version"].startswith(f"{generation}.")
    assert "Pocket" in seen["chat"]
    assert seen["finish"] == "stop"
    assert seen["stream"] == seen["chat"]
    assert seen["pieces"] > 5
    assert seen["stream_usage"] == [seen["usage"]]
    assert seen["stream_finish"] == ["stop"]
    assert set(seen["schema"]) == {"ok", "n"}
    assert (
        "".join(token for token, _, _ in seen["logprobs"])
        == seen["chat"][: sum(len(t) for t, _, _ in seen["logprobs"])]
    )
    assert all(logprob <= 0 and top == 3 for _, logprob, top in seen["logprobs"])
    assert seen["choices"] == [0, 1]
    assert seen["text"]
    assert seen["embeddings"][0] == seen["embeddings"][1] > 0
    assert seen["models"] == ["caller", "pocket", "vectors"]
    assert seen["model"] == "pocket"
    assert seen["tool"] == ["get_weather", {"place": "Paris"}, "tool_calls"]
    assert seen["tool_stream"] == ["get_weather", {"place": "Paris"}]
    assert seen["errors"]["model"] == ["NotFoundError", 404, "model", "model_not_found"]
    assert seen["errors"]["type"][:3] == ["BadRequestError", 400, "temperature"]
    assert seen["errors"]["long"] == ["BadRequestError", 400, "messages", "context_length_exceeded"]
