"""Every command of the old systems' pages, by its id: it runs, is mapped, cannot be, or is planned with its own issue.

The list is data/old-commands.md. An id that is not classified here fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import eventually

from trunkcall.config import Flags, load
from trunkcall.pocket import gguf_path

LIST = Path(__file__).parent / "data" / "old-commands.md"
SHOUT = Path(__file__).parent / "data" / "shout.py"

RUNS = {
    "K1": "the debug page of a kernel",
    "K2": "--list",
    "K3": "--help of an executor",
    "K4": "llamacpp with a model file",
    "K7": "chatgpt with a key",
    "K8": "chatgpt under another code",
    "K9": "generation arguments, system prompt and template",
    "K10": "a class of the user's own",
    "K12": "chatgpt in front of an OpenAI-speaking server",
    "K13": "debug with every general option",
}
MAPPED = {
    "K5": "huggingface needs the engine that comes with issue 4; its settings are shown",
    "K6": "geminipro needs the backend that comes with issue 4; its settings are shown",
    "K11": "vLLM's container is an OpenAI-speaking server: its address is a source",
}
PLANNED = {
    **{f"L{number}": "LLM-ATC" for number in range(1, 9)},
    **{f"H{number}": "h2oGPT, TGI and vLLM" for number in range(1, 29)},
    **{f"F{number}": "FastChat" for number in range(1, 8)},
    **{f"T{number}": "TorchServe" for number in range(1, 11)},
}
NOT_APPLICABLE: dict[str, str] = {}


def test_every_id_is_classified_once(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"(?m)(?:^| · )\s*([KLHFT]\d+)\b", LIST.read_text(encoding="utf-8"))
    kinds = {"runs": RUNS, "mapped": MAPPED, "n/a": NOT_APPLICABLE, "planned": PLANNED}
    found = Counter(identifier for kind in kinds.values() for identifier in kind)
    assert sorted(found) == sorted(set(listed)), set(listed) ^ set(found)
    assert max(found.values()) == 1
    with capsys.disabled():
        print(" old commands:", ", ".join(f"{len(ids)} {kind}" for kind, ids in kinds.items()), end=" ")


def test_all_of_kuwa_is_settled() -> None:
    assert not [identifier for identifier in PLANNED if identifier.startswith("K")]


# What a user of the old names has: a shell after `trunkcall takeover kuwa`.


class Shell:
    """Runs command lines as they are typed, with the line of `takeover` in force; ends what it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        done = self.run(f"{sys.executable} -m trunkcall takeover kuwa --into {shlex.quote(str(folder / 'kuwa'))}")
        assert done.returncode == 0, done
        (self._line,) = [line for line in done.stdout.splitlines() if line.startswith("export ")]

    def _typed(self, line: str) -> dict[str, Any]:
        prefix = getattr(self, "_line", ":")
        return {
            "args": ["bash", "-c", f"{prefix}\nexec {line}"],
            "text": True,
            "cwd": self.folder,
            "env": {**os.environ, "TRUNKCALL_HOME": str(self.folder / "home")},
        }

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**self._typed(line), capture_output=True, timeout=40)

    def start(self, line: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(**self._typed(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._started.append(child)
        return child

    def end(self) -> None:
        for child in self._started:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self._started:
            try:
                child.wait(15)
            finally:
                child.kill()
                if child.stdout is not None:
                    child.stdout.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    yield opened
    opened.end()


def post(url: str, **fields: str) -> str:
    data = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(url, data, timeout=30) as answer:
        return answer.read().decode()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Kernel:
    """A `kuwa-kernel` on a free port."""

    def __init__(self, shell: Shell) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        self.child = shell.start(f"kuwa-kernel --host 127.0.0.1 --port {port}")
        eventually(self._answers, 20)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return get(f"{self.url}v1.0/worker/list").strip() == "[]"
        return False

    def ask(self, code: str, text: str, limit: float = 30.0, **more: str) -> str:
        """One chat as the web interface makes it, once somebody stands for the code."""
        who = {"name": code, "history_id": "-1", "user_id": "7"}
        end = time.monotonic() + limit
        while (said := post(f"{self.url}v1.0/worker/schedule", **who)) != "READY":
            assert time.monotonic() < end, said
            time.sleep(0.1)
        message = yaml.safe_dump([{"isbot": False, "msg": text}], default_flow_style=True, width=10**6)
        return post(f"{self.url}v1.0/chat/completions", **who, input=_json(message), **more)


def _json(flow: str) -> str:
    import json

    return json.dumps(yaml.safe_load(flow))


@pytest.fixture
def kernel(shell: Shell) -> Kernel:
    return Kernel(shell)


def here(kernel: Kernel) -> str:
    """What the page leaves to its defaults, where tests may not have them: the kernel's port, and loopback."""
    return f"--kernel_url {kernel.url} --host 127.0.0.1"


@pytest.fixture
def upstream(serve: Callable[..., Any]) -> str:
    """An OpenAI-speaking server, where the page has OpenAI's or vLLM's own; it repeats the question."""
    server = serve("--no-pocket", "--model", "gpt-4=debug", "--model", "google/gemma-7b-it=debug")
    return f"{server.url}/v1"


def test_k1_the_debug_page(shell: Shell, kernel: Kernel) -> None:
    page = get(f"{kernel.url}v1.0/worker/debug")
    assert '<form method="POST"' in page
    assert '<textarea name="data"' in page


def test_k2_list(shell: Shell) -> None:
    done = shell.run("kuwa-executor --list")
    assert done.returncode == 0
    rows = re.findall(r"(?m)^(\w+) *: \[", done.stdout)
    assert {"debug", "dummy", "geminipro", "chatgpt", "huggingface", "llamacpp"} <= set(rows)
    assert 'Use "kuwa-executor [executor] --help" to get more information.' in done.stdout


def test_k3_help(shell: Shell) -> None:
    done = shell.run("kuwa-executor debug --help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: kuwa-executor debug [-h]")
    assert "General Options:" in done.stdout
    assert "(default: 0.02)" in done.stdout


def test_k4_llamacpp(shell: Shell, kernel: Kernel) -> None:
    model = shlex.quote(str(gguf_path()))
    shell.start(f"kuwa-executor llamacpp --model_path {model} --visible_gpu 0 {here(kernel)}")
    assert "Paris" in kernel.ask("gguf", "What is the capital of France?")


def test_k7_chatgpt(shell: Shell, kernel: Kernel, upstream: str) -> None:
    shell.start(f"kuwa-executor chatgpt --api_key sk-none --model gpt-4 --base_url {upstream} {here(kernel)}")
    assert kernel.ask("chatgpt", "hello there") == "hello there"


def test_k8_another_access_code(shell: Shell, kernel: Kernel, upstream: str) -> None:
    line = f"kuwa-executor chatgpt --api_key sk-none --model gpt-4 --access_code chatgpt-4 --base_url {upstream}"
    shell.start(f"{line} {here(kernel)}")
    assert kernel.ask("chatgpt-4", "hello there") == "hello there"


def test_k9_generation_arguments(shell: Shell, kernel: Kernel) -> None:
    (shell.folder / "generation.yaml").write_text("temperature: 0\nmax_tokens: 3\n")
    model = shlex.quote(str(gguf_path()))
    line = (
        f"kuwa-executor llamacpp --model_path {model} -c generation.yaml --system_prompt 'You are a very small model.'"
    )
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant{{ '\n' }}"
    shell.start(f"{line} --override_chat_template {shlex.quote(template)} --top_k=1 {here(kernel)}")
    short = kernel.ask("gguf", "What is the capital of France?")
    assert short
    assert len(short.split()) <= 3, "max_tokens of the file"
    longer = kernel.ask(
        "gguf", "What is the capital of France?", modelfile='[{"name": "parameter", "args": "llm_max_tokens 40"}]'
    )
    assert "Paris" in longer, "the modelfile wins"


def test_k10_a_class_of_the_users_own(shell: Shell, kernel: Kernel) -> None:
    shell.start(f"python {shlex.quote(str(SHOUT))} --access_code shout --mark '?' {here(kernel)}")
    assert kernel.ask("shout", "hello there") == "HELLO THERE?"


def test_k10_user_code_is_told_the_code_and_heard(shell: Shell, kernel: Kernel) -> None:
    (shell.folder / "named.py").write_text(
        "from kuwa.executor import LLMExecutor\n"
        "class Named(LLMExecutor):\n"
        "    async def llm_compute(self, history, modelfile):\n"
        "        print('asked as', modelfile.parameters['_name'])\n"
        "        yield modelfile.parameters['_name']\n"
        "Named().run()\n"
    )
    child = shell.start(f"python named.py --access_code first second {here(kernel)}")
    assert [kernel.ask(code, "who?") for code in ("first", "second")] == ["first", "second"]
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=20)
    assert "asked as second" in printed, "what the file prints reaches the terminal"
    assert "Unregistered first from kernel." in printed


def test_k12_in_front_of_vllm(shell: Shell, kernel: Kernel, upstream: str) -> None:
    line = f'kuwa-executor chatgpt --access_code vllm --log debug --base_url "{upstream}" --api_key dummy'
    shell.start(f'{line} --model "google/gemma-7b-it" {here(kernel)}')
    assert kernel.ask("vllm", "hello there") == "hello there"


def test_k13_every_general_option(shell: Shell, kernel: Kernel, free_port: int) -> None:
    line = f"kuwa-executor debug --access_code d1 --version v1.0 --port {free_port} --executor_path /talk --log info"
    shell.start(f"{line} --delay 0 {here(kernel)}")
    assert kernel.ask("d1", "hello there") == "hello there"
    assert f"http://127.0.0.1:{free_port}/talk" in get(f"{kernel.url}v1.0/worker/debug")


def test_k13_without_a_kernel(shell: Shell, free_port: int) -> None:
    child = shell.start(f"kuwa-executor debug --ignore_kernel --https --host 127.0.0.1 --port {free_port}")

    def answer() -> str:
        with contextlib.suppress(OSError):
            return post(f"http://127.0.0.1:{free_port}/chat", input='[{"isbot": false, "msg": "hello"}]')
        assert child.poll() is None
        return ""

    assert eventually(answer, 20) == "hello"


def shown(shell: Shell, line: str) -> dict[str, Any]:
    """The settings that a command line is mapped to, read as `trunkcall up` reads them."""
    done = shell.run(f"{sys.executable} -m trunkcall as --show {line}")
    assert done.returncode == 0, done
    file = shell.folder / "shown.yaml"
    file.write_text(done.stdout)
    load(config=file, home=shell.folder, environ={}, flags=Flags())
    return yaml.safe_load(done.stdout)


def test_k5_huggingface_is_mapped(shell: Shell) -> None:
    tree = shown(shell, "kuwa-executor huggingface --model_path org/name --visible_gpu 1 --host 127.0.0.1")
    assert tree["models"]["huggingface"]["source"] == "hf:org/name"
    assert tree["models"]["huggingface"]["env"] == {"CUDA_VISIBLE_DEVICES": "1"}


def test_k6_geminipro_is_mapped(shell: Shell) -> None:
    tree = shown(shell, "kuwa-executor geminipro --api_key AIza-hidden --host 127.0.0.1")
    assert tree["models"]["gemini-pro"]["source"] == "gemini:gemini-1.0-pro"
    assert tree["models"]["gemini-pro"]["key"].startswith("env:")
    assert "AIza-hidden" not in yaml.safe_dump(tree)


@pytest.mark.parametrize("line", ["huggingface --model_path org/name", "geminipro --api_key x"])
def test_k5_and_k6_say_that_they_cannot_start_yet(shell: Shell, line: str) -> None:
    done = shell.run(f"kuwa-executor {line} --ignore_kernel --host 127.0.0.1")
    assert done.returncode == 1
    assert "next release" in done.stderr
    assert "Traceback" not in done.stderr


def test_k11_vllms_container_is_a_source(tmp_path: Path) -> None:
    source = "openai:http://localhost:8000/v1#google/gemma-7b-it"
    flags = Flags(models=(f"gemma={source}",))
    settings = load(config=None, home=tmp_path, environ={}, flags=flags).settings
    (found,) = settings.models["gemma"].sources
    assert (found.scheme, found.target, found.model) == ("openai", "http://localhost:8000/v1", "google/gemma-7b-it")
