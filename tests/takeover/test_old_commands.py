"""Every command of the old systems' pages, by its id: it runs, is mapped, cannot be, or is planned with its own issue.

The list is data/old-commands.md. An id that is not classified here fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import eventually, reserved_port

from trunkcall.config import Flags, load
from trunkcall.pocket import gguf_path
from trunkcall.takeover.kuwa_models import KEY_NAME

pytestmark = pytest.mark.timeout(240)

LIST = Path(__file__).parent / "data" / "old-commands.md"
SHOUT = Path(__file__).parent / "data" / "shout.py"
FOLDER = Path(__file__).parents[2] / "pocket" / "hf"

RUNS = {
    "F3": "the controller, with its dispatch method as the page misspells it",
    "F5": "the OpenAI server on a controller, by both of its flags' names",
    "F6": "a worker that registers with a controller",
    "F7": "all three in sessions of their own, restarted by hand",
    "K1": "the debug page of a kernel",
    "K2": "--list",
    "K3": "--help of an executor",
    "K4": "llamacpp with a model file",
    "K5": "huggingface with a model folder",
    "K6": "geminipro with a key, in front of what stands in for Google",
    "K7": "chatgpt with a key",
    "K8": "chatgpt under another code",
    "K9": "generation arguments, system prompt and template",
    "K10": "a class of the user's own",
    "K11": "the arguments of vLLM's container",
    "K12": "chatgpt in front of an OpenAI-speaking server",
    "K13": "debug with every general option",
    "H1": "TGI's launcher, with a model that fits this machine",
    "H7": "the Python package text_generation",
    "H8": "curl to TGI's generate",
    "H16": "vLLM's server as a module",
    "H17": "vLLM's Python class",
    "H18": "curl to vLLM's completions",
    "H20": "every flag of vLLM's page",
}
MAPPED = {
    "F1": "test_compose.py runs the commands of the compose file; there is no container engine here",
    "F2": "test_compose.py reads Dockerfile.dev; there is no container engine here",
    "H2": "TGI 0.8.2 in a container; what the container runs is run",
    "H3": "the same on 4 GPUs",
    "H4": "the same on 2 GPUs, with a token",
    "H5": "TGI 0.9.1",
}
PLANNED = {
    **{f"L{number}": "LLM-ATC" for number in range(1, 9)},
    **{f"H{number}": "h2oGPT and TGI" for number in range(1, 29) if f"H{number}" not in {**RUNS, **MAPPED}},
    "F4": "web interface",
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


# What a user of the old names has: a shell after `trunkcall takeover SYSTEM`.


class Shell:
    """Runs command lines as they are typed, with the line of `takeover` in force; ends what it started."""

    def __init__(self, folder: Path, system: str) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        done = self.run(f"{sys.executable} -m trunkcall takeover {system} --into {shlex.quote(str(folder / system))}")
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
        return subprocess.run(**self._typed(line), capture_output=True, timeout=90)

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
                child.wait(40)
            finally:
                child.kill()
                if child.stdout is not None:
                    child.stdout.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, "kuwa")
    yield opened
    opened.end()


@pytest.fixture
def tgi_shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, "tgi")
    yield opened
    opened.end()


@pytest.fixture
def vllm_shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, "vllm")
    yield opened
    opened.end()


@pytest.fixture
def fastchat_shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, "fastchat")
    yield opened
    opened.end()


def post(url: str, **fields: str) -> str:
    data = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(url, data, timeout=60) as answer:
        return answer.read().decode()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


class Kernel:
    """A `kuwa-kernel` on a free port."""

    def __init__(self, shell: Shell) -> None:
        port = reserved_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.child = shell.start(f"kuwa-kernel --host 127.0.0.1 --port {port}")
        eventually(self._answers, 90)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return get(f"{self.url}v1.0/worker/list").strip() == "[]"
        return False

    def ask(self, code: str, text: str, limit: float = 90.0, **more: str) -> str:
        """One chat as the web interface makes it, once somebody stands for the code."""
        who = {"name": code, "history_id": "-1", "user_id": "7"}
        end = time.monotonic() + limit
        while (said := post(f"{self.url}v1.0/worker/schedule", **who)) != "READY":
            assert time.monotonic() < end, said
            time.sleep(0.1)
        message = yaml.safe_dump([{"isbot": False, "msg": text}], default_flow_style=True, width=10**6)
        return post(f"{self.url}v1.0/chat/completions", **who, input=_json(message), **more)


def _json(flow: str) -> str:
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


@pytest.mark.slow
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
    printed, _ = child.communicate(timeout=40)
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

    assert eventually(answer, 90) == "hello"


def shown(shell: Shell, line: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """The settings that a command line is mapped to, read as `trunkcall up` reads them with these variables."""
    done = shell.run(f"{sys.executable} -m trunkcall as --show {line}")
    assert done.returncode == 0, done
    file = shell.folder / "shown.yaml"
    file.write_text(done.stdout)
    load(config=file, home=shell.folder, environ=environ or {}, flags=Flags())
    return yaml.safe_load(done.stdout)


def test_k5_huggingface(shell: Shell, kernel: Kernel) -> None:
    folder = shell.folder / "model folder"
    folder.mkdir()
    (folder / "model.gguf").symlink_to(gguf_path())
    shell.start(f"kuwa-executor huggingface --model_path {shlex.quote(str(folder))} --visible_gpu 0 {here(kernel)}")
    assert "Paris" in kernel.ask("huggingface", "What is the capital of France?")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: `make test-all` installs it")
def test_k5_huggingface_in_transformers(shell: Shell, kernel: Kernel) -> None:
    child = shell.start(f"kuwa-executor huggingface --model_path {shlex.quote(str(FOLDER))} {here(kernel)}")
    assert "Paris" in kernel.ask("huggingface", "What is the capital of France?", limit=240)
    child.send_signal(signal.SIGINT)
    assert child.wait(40) == 0


def test_k5_the_name_of_a_hub_is_a_source(shell: Shell) -> None:
    line = "kuwa-executor huggingface --model_path org/name --visible_gpu 1 --host 127.0.0.1"
    tree = shown(shell, line)
    assert tree["models"]["huggingface"]["source"] == "hf:org/name"
    assert tree["models"]["huggingface"]["env"] == {"CUDA_VISIBLE_DEVICES": "1"}


def test_k6_geminipro(shell: Shell, kernel: Kernel) -> None:
    line = f"kuwa-executor geminipro --api_key AIza-hidden {here(kernel)}"
    child = shell.start(line)
    eventually(lambda: "gemini-pro" in get(f"{kernel.url}v1.0/worker/list"), 90)
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=40)
    assert "AIza-hidden" not in printed
    tree = shown(shell, line)
    assert tree["models"]["gemini-pro"]["source"] == "gemini:gemini-1.0-pro"
    assert "AIza-hidden" not in yaml.safe_dump(tree)
    with google() as (url, seen):
        tree["models"]["gemini-pro"]["source"] = f"gemini:{url}#gemini-1.0-pro"
        (shell.folder / "google.yaml").write_text(yaml.safe_dump(tree))
        key = shlex.quote(f"{KEY_NAME}=AIza-hidden")
        shell.start(f"env {key} {sys.executable} -m trunkcall up --config google.yaml")
        assert kernel.ask("gemini-pro", "hello there") == "Hello from Gemini"
    path, sent = next((path, key) for path, key in seen if ":streamGenerateContent" in path)
    assert path.startswith("/v1beta/models/gemini-1.0-pro:")
    assert sent == "AIza-hidden"


@contextlib.contextmanager
def google() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server that answers as Google's does, and notes paths and keys."""
    seen: list[tuple[str, str]] = []
    told = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello from Gemini"}]}, "finishReason": "STOP"}]}  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, self.headers["x-goog-api-key"]))
            counted = ":countTokens" in self.path
            data = b'{"totalTokens": 3}' if counted else b"data: %b\n\n" % json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json" if counted else "text/event-stream")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        serving.join(5)
        server.server_close()


# vLLM, with the smallest of models where the page has one of 65 billion parameters


def ready(child: subprocess.Popen[str], port: int, limit: float = 90.0) -> None:
    """Wait until a server of vLLM's would answer."""

    def well() -> bool:
        assert child.poll() is None, child.communicate()
        with contextlib.suppress(OSError):
            return get(f"http://127.0.0.1:{port}/health") == ""
        return False

    eventually(well, limit)


def test_k11_vllms_container(vllm_shell: Shell, free_port: int) -> None:
    script = Path(__file__).parents[2] / "docker" / "entrypoint-vllm.sh"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    line = f"env HUGGING_FACE_HUB_TOKEN=hf_none PATH={shlex.quote(path)} {shlex.quote(str(script))}"
    line += f" --model {shlex.quote(str(gguf_path()))} --dtype half --served-model-name google/gemma-7b-it"
    child = vllm_shell.start(f"{line} --host 127.0.0.1 --port {free_port}")
    ready(child, free_port)
    assert '"google/gemma-7b-it"' in get(f"http://127.0.0.1:{free_port}/v1/models")


def test_k11_vllms_container_is_a_source(tmp_path: Path) -> None:
    source = "openai:http://localhost:8000/v1#google/gemma-7b-it"
    flags = Flags(models=(f"gemma={source}",))
    settings = load(config=None, home=tmp_path, environ={}, flags=flags).settings
    (found,) = settings.models["gemma"].sources
    assert (found.scheme, found.target, found.model) == ("openai", "http://localhost:8000/v1", "google/gemma-7b-it")


@pytest.mark.parametrize("command", ["python -m vllm.entrypoints.openai.api_server --model", "vllm serve"])
def test_h16_and_h18_vllms_server_and_curl(vllm_shell: Shell, free_port: int, command: str) -> None:
    model = str(gguf_path())
    line = f"env NCCL_IGNORE_DISABLED_P2P=1 CUDA_VISIBLE_DEVICES=0,1 {command} {shlex.quote(model)} --port={free_port}"
    line += " --host=0.0.0.0 --tokenizer=hf-internal-testing/llama-tokenizer --tensor-parallel-size=2 --seed 1234"
    child = vllm_shell.start(line)
    ready(child, free_port)
    asked = json.dumps({"model": model, "prompt": "San Francisco is a", "max_tokens": 7, "temperature": 0})
    curl = f"curl -s http://localhost:{free_port}/v1/completions -H 'Content-Type: application/json' -d {shlex.quote(asked)}"
    done = vllm_shell.run(curl)
    answer = json.loads(done.stdout)
    assert answer["model"] == model
    assert answer["choices"][0]["text"]
    assert 0 < answer["usage"]["completion_tokens"] <= 7
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=40)
    assert child.returncode == 0
    assert "is served by llamacpp, not by vLLM" in printed
    assert "no use for: --tokenizer --tensor-parallel-size" in printed


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: `make test-all` installs it")
def test_h16_vllms_server_in_transformers(vllm_shell: Shell, free_port: int) -> None:
    model = shlex.quote(str(FOLDER))
    line = f"vllm serve {model} --host 127.0.0.1 --port {free_port} --dtype float --max-model-len 256 --max-num-seqs 2"
    child = vllm_shell.start(f"{line} --served-model-name tiny")
    ready(child, free_port, 240)
    asked = {"model": "tiny", "prompt": "The capital of France is", "max_tokens": 3, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{free_port}/v1/completions", json.dumps(asked).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["choices"][0]["text"] == " Paris"
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=40)
    assert "is served by transformers, not by vLLM: " in printed


def test_h17_vllms_class(vllm_shell: Shell) -> None:
    model = str(gguf_path())
    (vllm_shell.folder / "h17.py").write_text(
        "from vllm import LLM\n"
        f"llm = LLM(model={model!r}, tokenizer='hf-internal-testing/llama-tokenizer', tensor_parallel_size=2)\n"
        'output = llm.generate("San Franciso is a")\n'
        "print(output)\n"
    )
    done = vllm_shell.run("python h17.py")
    assert done.returncode == 0, done.stderr
    assert re.match(r"\[RequestOutput\(.*prompt='San Franciso is a'.*CompletionOutput\(index=0, text='.+'", done.stdout)


def test_h20_every_flag_of_vllms_page(vllm_shell: Shell, free_port: int) -> None:
    lists = "--allowed-origins '[\"*\"]' --allowed-methods '[\"*\"]' --allowed-headers '[\"*\"]'"
    line = (
        f"python -m vllm.entrypoints.openai.api_server --host 127.0.0.1 --port {free_port} --allow-credentials {lists}"
        f" --served-model-name llama --model {shlex.quote(str(gguf_path()))} --tokenizer t --tokenizer-mode slow"
        " --download-dir models --use-np-weights --use-dummy-weights --dtype bfloat16 --worker-use-ray -pp 1 -tp 1"
        " --block-size 16 --seed 0 --swap-space 4 --gpu-memory-utilization 0.9 --max-num-batched-tokens 2560"
        " --max-num-seqs 3 --disable-log-stats --engine-use-ray --disable-log-requests"
    )
    child = vllm_shell.start(line)
    ready(child, free_port)
    request = urllib.request.Request(f"http://127.0.0.1:{free_port}/v1/models", headers={"origin": "http://a.page"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["access-control-allow-origin"] == "*"
        assert [model["id"] for model in json.load(answer)["data"]] == ["llama"]
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=40)
    for name in ("use-np-weights", "use-dummy-weights", "worker-use-ray", "swap-space", "engine-use-ray", "disable-log-requests"):  # fmt: skip
        assert len(re.findall(rf"--{name} is gone", printed)) == 1, printed


# FastChat, with the smallest of models where the page has one of 13 billion parameters


def asked(url: str, body: Any = None) -> Any:
    """The JSON that is answered; None as long as nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    return None


def models_of(url: str) -> list[str]:
    found = asked(f"{url}/v1/models") or {"data": []}
    return [model["id"] for model in found["data"]]


def says(url: str, model: str) -> str:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = asked(f"{url}/v1/chat/completions", {"model": model, "messages": messages, "temperature": 0})
    return answer["choices"][0]["message"]["content"]


def fastchat_lines(address: str = "--controller-address") -> tuple[list[str], str, str]:
    """F3, F6 and F5 as they are typed, with free ports; the URLs of the controller and of the OpenAI server."""
    controller, worker, server = (reserved_port() for _ in range(3))
    url = f"http://127.0.0.1:{controller}"
    lines = [
        f"python -m fastchat.serve.controller --host 0.0.0.0 --port {controller} --dispatch-method shorteset_queue",
        f"python -m fastchat.serve.model_worker --model-path pocket {address} {url} --host 0.0.0.0 --port {worker}"
        f" --worker-address http://127.0.0.1:{worker} --num-gpus 2",
        f"python -m fastchat.serve.openai_api_server --host 0.0.0.0 {address} {url} --port {server}",
    ]
    return lines, url, f"http://127.0.0.1:{server}"


@pytest.mark.parametrize("address", ["--controller-address", pytest.param("--controller-url", marks=pytest.mark.slow)])
def test_f3_f5_f6_controller_worker_and_openai_server(fastchat_shell: Shell, address: str) -> None:
    lines, controller, server = fastchat_lines(address)
    children = [fastchat_shell.start(line) for line in lines]
    eventually(lambda: asked(f"{controller}/list_models", {}) == {"models": ["pocket"]}, 90, 0.05)
    eventually(lambda: models_of(server) == ["pocket"], 60, 0.05)
    assert says(server, "pocket") == "The capital of France is Paris."
    for child in reversed(children):
        child.send_signal(signal.SIGINT)
        assert child.wait(40) == 0


def test_f6_as_it_is_printed(fastchat_shell: Shell) -> None:
    tree = shown(
        fastchat_shell,
        "fastchat.serve.model_worker --model-path lmsys/vicuna-13b-v1.3 --controller-address http://10.0.0.1:21001"
        " --host 0.0.0.0 --port 21003 --worker-address http://10.0.0.2:21003 --num-gpus 2",
        # Other machines reach it, and `up` wants a key then.
        {"TRUNKCALL_KEYS": "env:KEY"},
    )
    (listener,) = tree["listen"]
    assert (listener["host"], listener["port"], listener["apis"]) == ("0.0.0.0", 21003, ["fastchat_worker"])
    options = listener["options"]["fastchat_worker"]
    assert options["controllers"] == ["http://10.0.0.1:21001"]
    assert options["address"] == "http://10.0.0.2:21003"
    (name,) = tree["models"]
    assert name == "vicuna-13b-v1.3"
    assert tree["models"][name]["source"] == "hf:lmsys/vicuna-13b-v1.3"


def test_f7_sessions_that_last_and_are_restarted_by_hand(
    fastchat_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTCHAT_WORKER_HEART_BEAT_INTERVAL", "1")
    lines, controller, server = fastchat_lines()
    children = [fastchat_shell.start(f"setsid {line}") for line in lines]
    eventually(lambda: models_of(server) == ["pocket"], 90, 0.05)
    # The terminal that they were typed in closes.
    assert all(os.getsid(child.pid) == child.pid for child in children)
    children[0].send_signal(signal.SIGTERM)
    assert children[0].wait(20) == 0
    children[1].send_signal(signal.SIGTERM)
    assert children[1].wait(20) == 0
    for line in lines[:2]:
        fastchat_shell.start(f"setsid {line}")
    eventually(lambda: asked(f"{controller}/list_models", {}) == {"models": ["pocket"]}, 90, 0.05)
    eventually(lambda: models_of(server) == ["pocket"], 60, 0.05)
    assert says(server, "pocket") == "The capital of France is Paris."


# TGI, with the pocket model where the page has one of several billion parameters


(H8,) = re.findall(r"^H8 .* -d '(\{.*\})'", LIST.read_text(encoding="utf-8"), re.MULTILINE)


def connected(child: subprocess.Popen[str]) -> str:
    """What TGI's launcher printed until it was ready."""
    assert child.stdout is not None
    printed: list[str] = []
    for line in child.stdout:
        printed.append(line)
        if line == "Connected\n":
            return "".join(printed)
    raise AssertionError("".join(printed))


def test_h1_tgis_launcher(tgi_shell: Shell, free_port: int) -> None:
    line = (
        f"env NCCL_SHM_DISABLE=1 CUDA_VISIBLE_DEVICES=0 text-generation-launcher --model-id pocket --port {free_port}"
    )
    child = tgi_shell.start(f"{line}  --sharded false --trust-remote-code --max-stop-sequences=6")
    printed = connected(child)
    info = json.loads(get(f"http://127.0.0.1:{free_port}/info"))
    assert (info["model_id"], info["max_stop_sequences"]) == ("pocket", 6)
    child.send_signal(signal.SIGINT)
    assert child.wait(40) == 0
    assert "pocket is served by llamacpp" in printed
    assert "llamacpp has no use for: --trust-remote-code" in printed
    assert "everybody who reaches http://0.0.0.0" in printed


def test_h2_tgis_container_and_h8_curl(tgi_shell: Shell, free_port: int) -> None:
    script = Path(__file__).parents[2] / "docker" / "entrypoint-tgi.sh"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    line = f"env TRANSFORMERS_CACHE=/data PATH={shlex.quote(path)} PORT={free_port} HOSTNAME=3f2a9c0d1e5b"
    line += f" {shlex.quote(str(script))} --model-id {shlex.quote(str(gguf_path()))} --max-input-length 2048"
    line += (
        " --max-total-tokens 4096 --sharded=false --disable-custom-kernels --trust-remote-code --max-stop-sequences=6"
    )
    child = tgi_shell.start(line)
    printed = connected(child)
    curl = f"curl -s 127.0.0.1:{free_port}/generate -X POST -d {shlex.quote(H8)} -H 'Content-Type: application/json'"
    done = tgi_shell.run(f'{curl} --user "user:bhx5xmu6UVX4"')
    assert list(json.loads(done.stdout)) == ["generated_text"], done
    info = json.loads(get(f"http://127.0.0.1:{free_port}/info"))
    assert (info["model_id"], info["max_input_length"], info["max_total_tokens"]) == (str(gguf_path()), 2048, 4096)
    child.send_signal(signal.SIGTERM)
    assert child.wait(40) == 0
    assert len(re.findall("--disable-custom-kernels: passed over", printed)) == 1
    assert "--max-total-tokens 4096 is more than the engine takes" in printed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--model-id h2oai/h2ogpt-gm-oasst1-en-2048-falcon-7b-v2 --max-input-length 2048 --max-total-tokens 4096 --sharded=false --disable-custom-kernels --trust-remote-code --max-stop-sequences=6",
         {"max_input_tokens": 2048, "max_total_tokens": 4096, "max_stop_sequences": 6}),
        ("--model-id h2oai/h2ogpt-oasst1-512-12b --max-input-length 2048 --max-total-tokens 4096 --sharded=true --num-shard=4 --disable-custom-kernels --trust-remote-code --max-stop-sequences=6",
         {"max_input_tokens": 2048, "max_total_tokens": 4096, "max_stop_sequences": 6}),
        ("--model-id h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v2 --max-input-length 2048 --max-total-tokens 4096 --max-stop-sequences 6 --sharded true --num-shard 2",
         {"max_input_tokens": 2048, "max_total_tokens": 4096, "max_stop_sequences": 6}),
        ("--model-id mosaicml/mpt-30b-chat --max-batch-prefill-tokens=2048 --max-input-length 2048 --max-total-tokens 4096 --max-stop-sequences 6 --trust-remote-code",
         {"max_input_tokens": 2048, "max_total_tokens": 4096, "max_stop_sequences": 6}),
    ],
    ids=["H2", "H3", "H4", "H5"],
)  # fmt: skip
def test_h2_to_h5_are_mapped(tgi_shell: Shell, line: str, expected: dict[str, int]) -> None:
    name = line.split()[1]
    tree = shown(tgi_shell, f"text-generation-launcher {line} --hostname 127.0.0.1")
    (listener,) = tree["listen"]
    assert listener["options"] == {"tgi": {"model": name, **expected}}
    model = tree["models"][name]
    assert (model["source"], model["preload"]) == (f"hf:{name}", True)


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(sys.prefix) / "textgen").is_dir(),
    reason="text_generation is not installed: `make env-all` puts it into the environment",
)
def test_h7_the_python_client(tgi_shell: Shell, free_port: int) -> None:
    child = tgi_shell.start(f"text-generation-launcher --model-id pocket --hostname 127.0.0.1 --port {free_port}")
    ready(child, free_port)
    (tgi_shell.folder / "h7.py").write_text(
        "from text_generation import Client\n"
        f'client = Client("http://127.0.0.1:{free_port}")\n'
        'print([client.generate("What is Deep Learning?", max_new_tokens=17).generated_text])\n'
        'text = told = ""\n'
        'for response in client.generate_stream("What is Deep Learning?", max_new_tokens=17):\n'
        "    told += response.token.text\n"
        "    if not response.token.special:\n"
        "        text += response.token.text\n"
        "print([text])\n"
        "print([told])\n"
    )
    done = tgi_shell.run(f"env PYTHONPATH={shlex.quote(str(Path(sys.prefix) / 'textgen'))} {sys.executable} h7.py")
    assert done.returncode == 0, done.stderr
    whole, streamed, told = done.stdout.splitlines()
    assert whole == streamed
    # The pocket model ends at once what is no chat.
    assert told.removesuffix("']").endswith("<|im_end|>")
