"""TGI's launcher, started: what it prints when it is ready, what its engine is told, how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import stand_in
from engines.model_folders import put_model
from running import eventually

from trunkcall.pocket import gguf_path

pytestmark = pytest.mark.timeout(240)

COMMAND = "text-generation-launcher"


class Launcher:
    """The command as a child; `lines` are what it printed, in order, of stdout and of stderr."""

    def __init__(self, home: Path, port: int, *words: str, **environ: str) -> None:
        self.port = port
        self.lines: dict[str, list[str]] = {"out": [], "err": []}
        environment = {**os.environ, "TRUNKCALL_HOME": str(home), "HOSTNAME": "127.0.0.1", "PORT": str(port), **environ}
        command = [sys.executable, "-m", "trunkcall", "as", COMMAND, *words]
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.child.stdout), ("err", self.child.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            for line in stream:
                self.lines[name].append(line.rstrip("\n"))

    def ready(self) -> None:
        eventually(lambda: "Connected" in self.lines["out"] or self.child.poll() is not None, 90)
        assert self.child.poll() is None, self.lines

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"content-type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            self.child.wait(40)
        finally:
            self.child.kill()
        for reader in self._readers:
            reader.join(15)
        return self.child.returncode


@pytest.fixture
def launch(tmp_path: Path, free_port: int) -> Iterator[Callable[..., Launcher]]:
    running: list[Launcher] = []

    def start(*words: str, **environ: str) -> Launcher:
        running.append(Launcher(tmp_path / "home", free_port, *words, **environ))
        return running[-1]

    yield start
    for launcher in running:
        launcher.end()


QUESTION = {"inputs": "The capital of France is", "parameters": {"max_new_tokens": 3}}


def test_connected_is_said_when_the_model_can_be_asked(launch: Callable[..., Launcher]) -> None:
    launcher = launch("--model-id", "pocket", "--json-output", "--api-key", "sk-x")
    launcher.ready()
    assert launcher.call("GET", "/health")[0] == 200
    assert launcher.call("GET", "/info")[0] == 200, "asks for no key"
    assert launcher.call("POST", "/generate", QUESTION)[0] == 401
    status, body = launcher.call("POST", "/generate", QUESTION, authorization="Bearer sk-x")
    assert (status, list(json.loads(body))) == (200, ["generated_text"])
    assert launcher.call("GET", "/config")[0] == 404, "or h2oGPT takes it for a gradio server"
    assert launcher.end() == 0
    logged = [json.loads(line) for line in launcher.lines["err"] if line.startswith("{")]
    assert any("is served by llamacpp" in line["message"] for line in logged)
    assert "sk-x" not in json.dumps(launcher.lines)


def test_what_vllm_is_told_on_four_gpus(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    """H3 with vLLM's and the driver's programs replaced."""
    (tmp_path / "bin").mkdir()
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.write_text("#!/bin/sh\nfor gpu in 0 1 2 3; do echo 'NVIDIA A10G, 24576, 24000'; done\n")
    driver.chmod(0o755)
    words = "--max-input-length 256 --max-total-tokens 512 --sharded=true --num-shard=4 --disable-custom-kernels"
    launcher = launch(
        *("--model-id", str(put_model(tmp_path / "model")), *words.split()),
        *("--trust-remote-code", "--max-stop-sequences=6"),
        PATH=f"{driver.parent}:{os.environ['PATH']}",
        TRUNKCALL_VLLM=str(stand_in.program(tmp_path, "vllm")),
        STAND_IN=json.dumps({"env": ["NCCL_SHM_DISABLE"]}),
        NCCL_SHM_DISABLE="1",
    )
    launcher.ready()
    chat = {"model": "tgi", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    status, body = launcher.call("POST", "/v1/chat/completions", chat)
    assert status == 200, body
    told = json.loads(json.loads(body)["choices"][0]["message"]["content"])
    line = " ".join(told["argv"])
    assert "--tensor-parallel-size 4" in line
    assert "--max-model-len 512" in line
    assert "--trust-remote-code" in line
    assert told["env"] == {"NCCL_SHM_DISABLE": "1"}
    info = json.loads(launcher.call("GET", "/info")[1])
    assert (info["max_input_length"], info["max_total_tokens"], info["max_stop_sequences"]) == (256, 512, 6)
    assert info["model_device_type"] == "cuda"


def test_a_model_that_cannot_be_loaded_ends_it(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    whole = gguf_path().read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    launcher = launch("--model-id", str(broken))
    launcher.child.wait(90)
    assert launcher.end() == 1
    assert launcher.lines["err"][-1].startswith("trunkcall: ")
    assert "broken.gguf" in launcher.lines["err"][-1]
    assert "Connected" not in launcher.lines["out"]
    assert "Traceback" not in "".join(launcher.lines["err"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--model-id", "/nowhere/model"], 1, "/nowhere/model"),
        (["--model-id", "pocket", "--max-input-length", "9", "--max-total-tokens", "9"], 2, "leaves no room"),
        (["--model-id", "pocket", "--quantize", "exl2"], 1, "EXL2"),
        (["--model-idd", "pocket"], 2, "Did you mean '--model-id'?"),
    ],
)
def test_what_is_refused_at_once(launch: Callable[..., Launcher], words: list[str], code: int, said: str) -> None:
    launcher = launch(*words)
    launcher.child.wait(60)
    assert launcher.end() == code
    printed = "\n".join(launcher.lines["err"])
    assert said in printed
    assert "Traceback" not in printed


def test_sigint_in_the_middle_of_an_answer_ends_it_well(launch: Callable[..., Launcher]) -> None:
    launcher = launch("--model-id", "pocket", "--graceful-termination-timeout", "0")
    launcher.ready()
    body = {"inputs": "Tell me a story.", "parameters": {"max_new_tokens": 900}, "stream": True}
    begun = threading.Event()
    asking = threading.Thread(target=_ask, args=(launcher, body, begun))
    asking.start()
    assert begun.wait(60)
    assert launcher.end(signal.SIGINT) == 0
    asking.join(60)
    assert not asking.is_alive()


def _ask(launcher: Launcher, body: Any, begun: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", launcher.port, timeout=60)
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("POST", "/", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read1()
        begun.set()
        answer.read()
    connection.close()


@pytest.mark.parametrize(
    ("environ", "told"), [({}, "80 /data"), ({"PORT": "8080", "HUGGINGFACE_HUB_CACHE": "/models"}, "8080 /models")]
)
def test_the_images_defaults(tmp_path: Path, environ: dict[str, str], told: str) -> None:
    program = tmp_path / "trunkcall"
    program.write_text('#!/bin/sh\necho "$PORT $HUGGINGFACE_HUB_CACHE $*"\n')
    program.chmod(0o755)
    script = Path(__file__).parents[2] / "docker" / "entrypoint-tgi.sh"
    done = subprocess.run(
        [script, "--model-id", "m"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={"PATH": f"{tmp_path}:/bin", **environ},
    )
    assert done.stdout == f"{told} as {COMMAND} --model-id m\n"
