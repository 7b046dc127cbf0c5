"""FastChat's programs that serve nothing, against a real server of `launch_all_serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import eventually, reserved_port

from trunkcall.core.errors import ServingError
from trunkcall.home import Home
from trunkcall.takeover import fastchat_all

pytestmark = pytest.mark.timeout(240)


class Site:
    """A home, and the ports of the one server in it."""

    def __init__(self, folder: Path) -> None:
        self.env = {**os.environ, "TRUNKCALL_HOME": str(folder / "home")}
        self.homes = folder / "home" / "as"
        self.controller, self.server, self.worker = reserved_port(), reserved_port(), reserved_port()
        self.url = f"http://127.0.0.1:{self.controller}"
        self.child = self.start(
            "fastchat.serve.launch_all_serve",
            *("--controller-host", "127.0.0.1", "--controller-port", str(self.controller)),
            *("--server-host", "127.0.0.1", "--server-port", str(self.server)),
            *("--model-path-address", f"pocket@127.0.0.1@{self.worker}", "--dispatch-method", "shorteset_queue"),
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "trunkcall", "as", *arguments]
        return subprocess.Popen(command, env=self.env, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, program: str, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trunkcall", "as", f"fastchat.serve.{program}", *arguments]
        return subprocess.run(command, env=self.env, input=said, text=True, capture_output=True, timeout=100)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("fastchat"))
    try:
        eventually(lambda: all(map(_listens, (made.controller, made.server, made.worker))), limit=90)
        yield made
    finally:
        made.child.send_signal(signal.SIGTERM)
        made.child.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_one_question_by_the_controller_and_past_it(site: Site) -> None:
    asked = ("--model-name", "pocket", "--message", "What is the capital of France?")
    through = site.run("test_message", "--controller", site.url, *asked)
    assert through.returncode == 0, through
    assert "Models: ['pocket']" in through.stdout
    assert f"worker_addr: http://127.0.0.1:{site.controller}/w/pocket" in through.stdout
    assert "assistant: The capital of France is Paris." in through.stdout
    past = site.run("test_message", "--worker", f"http://127.0.0.1:{site.worker}", *asked)
    assert past.stdout.endswith("assistant: The capital of France is Paris.\n"), past


def test_a_model_that_nobody_has(site: Site) -> None:
    done = site.run("test_message", "--controller-url", site.url, "--model-name", "nobody")
    assert (done.returncode, "No available workers for nobody" in done.stdout) == (1, True), done


def test_many_questions(site: Site) -> None:
    done = site.run(
        "test_throughput",
        *("--controller", site.url, "--model-name", "pocket", "--n-thread", "3", "--max-new-tokens", "8"),
        "--test-dispatch",
    )
    assert done.returncode == 0, done
    assert f"http://127.0.0.1:{site.controller}/w/pocket  3" in done.stdout
    assert "words/s" in done.stdout


def test_a_worker_registered_by_hand(site: Site) -> None:
    dead = site.run("register_worker", "--controller", site.url, "--worker-name", f"http://127.0.0.1:{reserved_port()}")
    assert (dead.returncode, "does not answer, so no controller takes it" in dead.stderr) == (1, True), dead
    # The worker of this very server: its name is taken, which the answer shows.
    done = site.run("register_worker", "--controller", site.url, "--worker", f"http://127.0.0.1:{site.worker}")
    assert (done.returncode, "models are now: pocket" in done.stdout) == (0, True), done


@pytest.mark.parametrize("program", ["test_message", "register_worker", "test_throughput"])
def test_no_controller_is_said(site: Site, program: str) -> None:
    url = f"http://127.0.0.1:{reserved_port()}"
    flag = "--worker-name" if program == "register_worker" else "--model-name"
    value = f"http://127.0.0.1:{site.worker}" if program == "register_worker" else "pocket"
    done = site.run(program, "--controller-address", url, flag, value)
    assert (done.returncode, url in done.stderr, "Traceback" in done.stderr) == (1, True, False), done


def test_a_conversation_in_the_terminal(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    lines = [
        "What is the capital of France?",
        f"!!save {file}",
        "!!remove",
        "!!regen",
        "!!what",
        f"!!load {file}",
        "!!reset",
        "",
    ]
    done = site.run(
        "cli",
        *("--model", "pocket", "--temperature", "0", "--style", "programmatic"),
        said="\n".join(lines) + "\n",
    )
    assert done.returncode == 0, done
    assert done.stdout == (
        "The capital of France is Paris.\nuser: What is the capital of France?\nassistant: The capital of France is Paris.\n"
    )
    assert "nothing was said yet" in done.stderr
    assert "!!what is none of them" in done.stderr
    saved = json.loads(file.read_text())
    assert [text for _, text in saved["messages"]] == [
        "What is the capital of France?",
        "The capital of France is Paris.",
    ]
    assert saved["template_name"] == "trunkcall"


def test_a_conversation_by_a_template(site: Site) -> None:
    done = site.run(
        "cli",
        *("--model-path", "pocket", "--conv-template", "chatml", "--temperature", "0"),
        said="What is the capital of France?\n!!exit\n",
    )
    assert (done.returncode, "assistant: The capital of France is Paris." in done.stdout) == (0, True), done


def test_only_what_stands_for_fastchat_is_ended(site: Site) -> None:
    port = reserved_port()
    controller = site.start("fastchat.serve.controller", "--host", "127.0.0.1", "--port", str(port))
    other = site.start("kuwa-kernel", "--host", "127.0.0.1", "--port", str(reserved_port()))
    try:
        eventually(lambda: _runs(site.homes, 3), limit=60)
        done = site.run("shutdown_serve", "--down", "controller")
        assert (done.returncode, controller.wait(60)) == (0, 0), done
        assert f"{controller.pid}" in done.stdout
        assert (site.child.poll(), other.poll()) == (None, None)
        again = site.run("shutdown_serve", "--down", "controller")
        assert again.stdout == "nothing of the kind runs here\n"
    finally:
        for child in (controller, other):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            child.wait(60)


def _runs(homes: Path, count: int) -> bool:
    running = [server for folder in homes.glob("*") if (server := Home(folder).running()) and server.url]
    return len(running) == count


@pytest.mark.parametrize(
    "text", ["pocket", "pocket@127.0.0.1", "pocket@127.0.0.1@many", "@127.0.0.1@1", "m@127.0.0.1@70000"]
)
def test_what_is_no_address_of_a_worker(text: str) -> None:
    with pytest.raises(ServingError, match="PATH@HOST@PORT"):
        fastchat_all.read(["--model-path-address", text])


def test_the_environment_of_the_openai_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCHAT_WORKER_API_TIMEOUT", "7")
    server = fastchat_all.read(["--model-path-address", "pocket@localhost@21002"]).settings.listen[0]
    assert server.options["fastchat_openai"] == {"open": True, "stream_timeout": 7}


def test_chats_get_the_workers_template(tmp_path: Path) -> None:
    (tmp_path / "vicuna-7b").mkdir()
    (tmp_path / "vicuna-7b" / "config.json").write_text(
        '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'
    )
    server, _, worker = fastchat_all.read(["--model-path-address", f"{tmp_path}/vicuna-7b@localhost@0"]).settings.listen
    assert server.options["fastchat_openai"]["templates"] == {"vicuna-7b": "vicuna_v1.1"}
    assert worker.options["fastchat_worker"]["templates"] == {"vicuna-7b": "vicuna_v1.1"}


def test_a_worker_of_another_machine_is_started_there() -> None:
    with pytest.raises(ServingError, match="model_worker --model-path m --port 21002"):
        fastchat_all.read(["--model-path-address", "m@gpu-1@21002"])
