"""`kuwa-executor`: its list, its help, and what each of its command lines becomes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from takeover.kuwa_started import ask, started

from trunkcall import config
from trunkcall.backends import debug, dummy, openai, sysinfo
from trunkcall.config import Flags, load
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine, ModelSettings, Source
from trunkcall.engines.llamacpp import LlamaCpp
from trunkcall.pocket import gguf_path
from trunkcall.protocols.kuwa_words import NO_KEY_OPENAI, NO_KEY_THIRD_PARTY
from trunkcall.takeover import kuwa_executor, kuwa_serving
from trunkcall.takeover.kuwa_flags import new_executor_parser
from trunkcall.takeover.kuwa_models import Chosen, choose
from trunkcall.takeover.plan import Plan, show, start

# What the real executor 0.3.4 prints; scripts read its rows.
LISTED = """\
Available model executors:

sysinfo    : [Tool] System information executor. It will print the system information for debugging.
debug      : [Tool] Debugging executor. It will reflect the last input.
dummy      : [Tool] Dummy executor. It will reply fixed message regardless of the user prompt.
geminipro  : [Cloud model] Google Gemini-Pro. Need API key.
chatgpt    : [Cloud model] OpenAI ChatGPT. Need API key.
huggingface: [On-premises model] Download and run Huggingface model locally.
llamacpp   : [On-premises model] Run the GGUF model locally.
ollama     : [On-premises model] Run a proxy that connected to the Ollama API server.

Use "kuwa-executor [executor] --help" to get more information.

"""

# What the real dummy executors 0.1.0 and 0.3.4 answered.
DUMMY_SAYS = (
    "Hello, I am a language model nice to meet you...etc. xD\n<<<WARNING>>>\nThis is a test warning\n"
    "This is the second test warning\n<<</WARNING>>>\nWarning can be outputted in the middle\n<<<WARNING>>>\n"
    "Warning 2, hi\n<<</WARNING>>>\nEnd of simulated text output\n"
)

GENERAL = "access_code version ignore_kernel https host port executor_path kernel_url log concurrent_req_limit".split()
OWN = {
    "sysinfo": "",
    "debug": "delay",
    "dummy": "delay",
    "chatgpt": "api_key base_url model context_window system_prompt no_system_prompt no_override_api_key"
    " use_third_party_api_key multimodal generation_config frequency_penalty max_completion_tokens max_tokens n"
    " presence_penalty seed temperature top_logprobs top_p timeout",
    "geminipro": "api_key model limit system_prompt no_system_prompt multimodal generation_config candidate_count"
    " max_output_tokens temperature top_p top_k",
    "huggingface": "model_path visible_gpu system_prompt no_system_prompt limit override_chat_template stop timeout"
    " load_8bits trust_remote_code tokenizer processor generation_config generation_kwargs",
    "llamacpp": "model_path visible_gpu ngl limit system_prompt no_system_prompt context_window stop"
    " override_chat_template generation_config max_tokens temperature top_p min_p typical_p logprobs frequency_penalty"
    " presence_penalty repeat_penalty top_k seed tfs_z mirostat_mode mirostat_tau mirostat_eta",
    "ollama": "ollama_host model context_window limit system_prompt no_system_prompt generation_config"
    " generation_kwargs",
}
DEFAULTS = {
    "debug": {"delay": "0.02", "access_code": "None", "executor_path": "/chat", "log": "INFO", "version": "v1.0"}
    | {"kernel_url": "http://127.0.0.1:9000/", "concurrent_req_limit": "1", "ignore_kernel": "False"},
    "chatgpt": {"base_url": "https://api.openai.com/v1", "model": "gpt-3.5-turbo", "temperature": "0.5"},
    "geminipro": {"model": "gemini-1.0-pro", "limit": "30720"},
    "huggingface": {"limit": "3072", "timeout": "10.0"},
    "llamacpp": {"ngl": "0", "limit": "3072", "temperature": "0.8", "top_p": "0.95", "min_p": "0.05", "top_k": "40"}
    | {"typical_p": "1.0", "tfs_z": "1.0", "mirostat_mode": "0", "mirostat_tau": "5.0", "mirostat_eta": "0.1"},
    "ollama": {"model": "llama3", "context_window": "8192", "limit": "7168"},
}


def as_executor(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkcall", "as", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "COLUMNS": "80", **environ},
    )


def plan_of(line: str, *more: str) -> Plan:
    return kuwa_executor.read([*line.split(), *more])


def model_of(plan: Plan) -> ModelSettings:
    (model,) = plan.settings.models.values()
    return model


def served(plan: Plan) -> dict[str, Any]:
    (listener,) = plan.settings.listen
    assert listener.apis == ("kuwa_executor",)
    return listener.options["kuwa_executor"]


def generation(plan: Plan) -> dict[str, Any]:
    return served(plan).get("generation", {})


# Its list and its help


def test_the_list_is_the_original_ones_byte_for_byte() -> None:
    done = as_executor("kuwa-executor", "--list")
    assert (done.returncode, done.stdout, done.stderr) == (0, LISTED, "")


def test_the_list_loads_neither_settings_nor_engines() -> None:
    code = (
        "import sys\n"
        "from trunkcall.cli import main\n"
        "sys.argv[1:] = ['as', 'kuwa-executor', '--list']\n"
        "assert main() == 0\n"
        "heavy = {'yaml', 'trunkcall.config', 'trunkcall.app', 'asyncio', 'typer'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: executor"),
        (["dbug"], "invalid choice: 'dbug' (choose from 'sysinfo', 'debug',"),
        (["--port", "1", "debug"], "invalid choice: '1'"),
        (["debug", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["debug", "--delay", "soon"], "argument --delay: invalid float value: 'soon'"),
        (["debug", "--port", "many"], "argument --port"),
        (["debug", "--port", "70000"], "argument --port"),
        (["debug", "--log", "loud"], "argument --log: invalid choice: 'LOUD'"),
        (["debug", "--concurrent_req_limit", "0"], "argument --concurrent_req_limit"),
        (["debug", "--access_code"], "expected at least one argument"),
        (["debug", "--access_code", ""], "--access_code: a code is empty"),
        (["debug", "--kernel_url", "127.0.0.1:9000"], "--kernel_url: '127.0.0.1:9000'"),
        (["chatgpt", "--temperature", "hot"], "argument --temperature: invalid float value: 'hot'"),
        (["chatgpt", "--temperature", "nan"], "--temperature: nan cannot be sent"),
        (["chatgpt", "--max_tokens", "1.5"], "argument --max_tokens: invalid int value: '1.5'"),
        (["chatgpt", "--base_url", "api.openai.com/v1"], "--base_url: 'api.openai.com/v1'"),
        (["llamacpp", "--ngl", "all"], "argument --ngl: invalid int value: 'all'"),
        (["llamacpp", "--limit", "-1"], "argument --limit: '-1' is not a number of tokens"),
        (["ollama", "--generation_kwargs", "seed"], "'seed' is not NAME=VALUE"),
    ],
)
def test_wrong_use_ends_with_code_2_and_names_the_flag(arguments: list[str], said: str) -> None:
    done = as_executor("kuwa-executor", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("executor", kuwa_executor.EXECUTORS)
def test_help_has_the_form_and_the_flags_of_the_original(executor: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        kuwa_executor.read([executor, "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert told.startswith(f"usage: kuwa-executor {executor} [-h]")
    own, group, general = told.partition("\nGeneral Options:\n")
    assert group
    flag = re.compile(r"^  (?:-\w [A-Z_]+, )?--(\w+)", re.MULTILINE)
    assert set(flag.findall(general)) == set(GENERAL)
    assert set(flag.findall(own)) == {*OWN[executor].split()}
    entries = re.split(r"\n+(?=  -|\w)", told)
    words = {name[1]: " ".join(text.split()) for text in entries if (name := re.search(r"--(\w+)", text))}
    for name, default in DEFAULTS.get(executor, {}).items():
        assert words[name].endswith(f"(default: {default})"), words[name]
    assert "--log {NOTSET,DEBUG,INFO,WARNING,ERROR,CRITICAL}" in words["log"]
    assert "--access_code ACCESS_CODE [ACCESS_CODE ...]" in words["access_code"]


# From a command line to settings


def test_general_options_become_a_listener_and_a_home() -> None:
    plan = plan_of(
        "debug --access_code a/b b a/b --version v2 --host 127.0.0.1 --port 9301 --executor_path /talk/"
        " --kernel_url https://kernel:9000/k --https --log warning --concurrent_req_limit 3"
    )
    (listener,) = plan.settings.listen
    assert (listener.host, listener.port) == ("127.0.0.1", 9301)
    assert served(plan) == {
        "codes": ("a/b", "b"),
        "path": "/talk",
        "kernel": "https://kernel:9000/k",
        "interface": "v2",
        "endpoint": "https://127.0.0.1:9301",
        "limit": 3,
    }
    model = model_of(plan)
    assert (model.name, model.slots, model.preload) == ("a/b", 3, True)
    assert (plan.settings.log_level, plan.settings.pocket) == ("warning", False)
    assert (plan.home, plan.shared) == ("kuwa-executor-9301", False)


def test_without_a_port_several_can_run_and_the_home_is_named_after_the_code() -> None:
    plan = plan_of("debug --access_code ../x --host 127.0.0.1 --ignore_kernel")
    assert (plan.home, plan.shared) == ("kuwa-executor-.._x", True)
    assert plan.settings.listen[0].port == 0
    assert served(plan)["kernel"] == ""
    assert served(plan)["endpoint"] == "http://127.0.0.1:0"
    config.model(model_of(plan_of("debug", "--access_code", "a b\n")).name, "debug", base=Path())


@pytest.mark.parametrize(
    ("host", "listens", "endpoint"),
    [
        ("", "10.9.8.7", "http://10.9.8.7:7"),
        ("--host 0.0.0.0", "0.0.0.0", "http://10.9.8.7:7"),
        ("--host 10.1.1.1", "10.1.1.1", "http://10.1.1.1:7"),
        ("--host ::1", "::1", "http://[::1]:7"),
    ],
)
def test_the_host_is_this_machines_unless_said(
    host: str, listens: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kuwa_serving.socket, "gethostbyname", lambda name: "10.9.8.7")
    plan = plan_of(f"debug --port 7 {host}")
    assert (plan.settings.listen[0].host, served(plan)["endpoint"]) == (listens, endpoint)


def test_a_machine_whose_name_has_no_address_is_served_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(kuwa_serving.socket, "gethostbyname", unknown)
    assert plan_of("debug").settings.listen[0].host == "127.0.0.1"


@pytest.mark.parametrize(
    ("line", "code", "source", "options"),
    [
        ("sysinfo", "sysinfo", "sysinfo", {}),
        ("debug", "debug", "debug", {"unit": "character", "history": "all", "delay": 0.02}),
        ("dummy --delay 0.1", "dummy", "dummy", {"unit": "character", "delay": 0.1, "text": DUMMY_SAYS}),
        ("chatgpt", "chatgpt", "openai:https://api.openai.com/v1#gpt-3.5-turbo", {}),
        ("chatgpt --model gpt-4 --timeout 9", "chatgpt", "openai:https://api.openai.com/v1#gpt-4",
         {"first_byte_timeout": 9.0, "idle_timeout": 9.0}),
        ("llamacpp --model_path /m.gguf", "gguf", "llamacpp:/m.gguf", {"gpu_layers": 0}),
        ("llamacpp --model_path /a/../m.gguf --ngl -1 --context_window 512 --override_chat_template {{x}}", "gguf",
         "llamacpp:/m.gguf", {"gpu_layers": -1, "context": 512, "template": "{{x}}"}),
        ("ollama", "ollama", "openai:http://127.0.0.1:11434/v1#llama3", {}),
        ("ollama --ollama_host box --model m", "ollama", "openai:http://box:11434/v1#m", {}),
        ("ollama --ollama_host 0.0.0.0:99", "ollama", "openai:http://127.0.0.1:99/v1#llama3", {}),
        ("ollama --ollama_host https://box/o/", "ollama", "openai:https://box/o/v1#llama3", {}),
    ],
)  # fmt: skip
def test_executors_become_sources(
    line: str, code: str, source: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    plan = plan_of(line)
    model = model_of(plan)
    assert (str(model.sources[0]), dict(model.options)) == (source, options)
    assert (model.name, served(plan)["codes"]) == (code, (code,))


def test_ollamas_own_variable_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "box:1")
    assert str(model_of(plan_of("ollama")).sources[0]) == "openai:http://box:1/v1#llama3"
    assert str(model_of(plan_of("ollama --ollama_host own:2")).sources[0]) == "openai:http://own:2/v1#llama3"


@pytest.mark.parametrize("line", ["sysinfo", "debug --delay 0", "dummy", "chatgpt --timeout 3", "ollama"])
def test_backends_take_the_options(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    model = model_of(plan_of(line))
    (source,) = model.sources
    connect: Callable[[str, ModelSettings, str], Any]
    connect = {"sysinfo": sysinfo, "debug": debug, "dummy": dummy, "openai": openai}[source.scheme].connect
    assert connect(source.target, model, source.model) is not None


def test_llamacpp_as_printed_starts_an_engine_and_trims_to_what_it_holds() -> None:
    plan = plan_of(f"llamacpp --model_path {gguf_path()} --visible_gpu 0 --system_prompt Hi --stop END STOP")
    model = model_of(plan)
    assert model.env == {"CUDA_VISIBLE_DEVICES": "0"}
    assert any("--ngl -1" in note for note in plan.notes)
    spec = LlamaCpp().plan(model, Machine(2, 2**33))
    assert spec.slots == 1
    # The pocket model was made for 1024 tokens.
    assert served(plan)["input_tokens"] == 768
    assert served(plan)["system_prompt"] == "Hi"
    assert generation(plan) == {"temperature": 0.8, "top_p": 0.95, "min_p": 0.05, "top_k": 40, "stop": ["END", "STOP"]}
    assert served(plan_of(f"llamacpp --model_path {gguf_path()} --limit 99"))["input_tokens"] == 99


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("llamacpp", "no_model", "You need to configure a GGUF model path!"),
        ("huggingface", "no_model", "You need to configure a model path!"),
    ],
)
def test_what_cannot_start_says_so_with_code_1(line: str, kind: str, said: str) -> None:
    with pytest.raises(ServingError) as caught:
        start(plan_of(line), "kuwa-executor")
    assert (caught.value.kind, said in caught.value.message) == (kind, True)
    done = as_executor("kuwa-executor", *line.split())
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_huggingface_is_a_source_with_the_engines_options(tmp_path: Path) -> None:
    line = "--model_path org/name --visible_gpu 1 --stop END --tokenizer t --override_chat_template {{x}}"
    chosen = chosen_of("huggingface", line)
    assert (str(chosen.source), chosen.env) == ("hf:org/name", {"CUDA_VISIBLE_DEVICES": "1"})
    assert chosen.serving["generation"] == {
        "max_new_tokens": 4096,
        "do_sample": False,
        "repetition_penalty": 1.0,
        "stop": ["END"],
    }
    assert chosen.serving["input_tokens"] == 3072
    assert chosen.options == {"engine": "transformers", "template": "{{x}}"}
    assert chosen.notes == ("no use is made of: --tokenizer",)
    chosen = chosen_of("huggingface", f"--model_path {tmp_path} --load_8bits --trust_remote_code --limit 99")
    assert chosen.source == Source("folder", str(tmp_path))
    assert chosen.options == {"engine": "transformers", "load_in_8bit": True, "trust_remote_code": True}
    assert (chosen.serving["input_tokens"], chosen.notes) == (99, ())
    assert chosen_of("huggingface", "--model_path gpt2").options == {}


@pytest.mark.parametrize("path", ["/nowhere/model", "./nowhere", "~/nowhere"])
def test_huggingface_does_not_take_a_path_for_a_name(path: str) -> None:
    done = as_executor("kuwa-executor", "huggingface", "--model_path", path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr and "does not exist" in done.stderr


def test_huggingface_trims_to_what_a_folders_model_holds() -> None:
    folder = Path(__file__).parents[2] / "pocket" / "hf"
    assert chosen_of("huggingface", f"--model_path {folder}").serving["input_tokens"] == 768


def test_llamacpp_takes_a_file_of_the_hub() -> None:
    chosen = chosen_of("llamacpp", "--model_path hf://org/repo?file.gguf")
    assert str(chosen.source) == "hf:org/repo:file.gguf"
    assert str(chosen_of("llamacpp", "--model_path hf://org/repo").source) == "hf:org/repo"
    assert chosen.serving["input_tokens"] == 3072


def test_geminipro_is_a_source_with_a_key() -> None:
    chosen = chosen_of("geminipro", "--api_key sk-hidden --top_k 3")
    assert (str(chosen.source), chosen.code, chosen.key) == (
        "gemini:gemini-1.0-pro",
        "gemini-pro",
        "env:TRUNKCALL_AS_KEY",
    )
    assert chosen.serving["generation"] == {"top_k": 3}
    assert chosen.serving["tokens"] == ("google_token",)
    assert "sk-hidden" not in repr(chosen)
    assert "switched gemini-1.0-pro off" in chosen.notes[0]
    assert chosen_of("geminipro", "--model gemini-2.5-flash").notes == ()


def chosen_of(executor: str, line: str) -> Chosen:
    return choose(executor, new_executor_parser(executor).parse_args(line.split()))


# Keys


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", {"tokens": ("openai_token",), "needs_key": True, "missing_key": NO_KEY_OPENAI}),
        ("--api_key k --no_override_api_key",
         {"tokens": ("openai_token",), "needs_key": True, "missing_key": NO_KEY_OPENAI, "has_key": True,
          "own_key_wins": True}),
        ("--use_third_party_api_key",
         {"tokens": ("third_party_token",), "needs_key": True, "missing_key": NO_KEY_THIRD_PARTY}),
    ],
)  # fmt: skip
def test_whose_key_is_used(flags: str, expected: dict[str, Any]) -> None:
    asked = served(plan_of(f"chatgpt {flags}"))
    names = ("tokens", "needs_key", "missing_key", "has_key", "own_key_wins")
    assert {name: asked[name] for name in names if name in asked} == expected


def test_the_key_is_a_secret() -> None:
    plan = plan_of("chatgpt --api_key sk-hidden")
    assert plan.secrets == {"TRUNKCALL_AS_KEY": "sk-hidden"}
    assert model_of(plan).key == "env:TRUNKCALL_AS_KEY"
    done = as_executor("--show", "kuwa-executor", "chatgpt", "--api_key", "sk-hidden")
    assert done.returncode == 0
    assert "TRUNKCALL_AS_KEY" in done.stdout
    assert "sk-hidden" not in done.stdout + done.stderr
    assert model_of(plan_of("chatgpt")).key == ""
    refused = as_executor("kuwa-executor", "chatgpt", "--base_url", "http://u:sk-hidden@h/v1")
    assert refused.returncode == 2
    assert "sk-hidden" not in refused.stderr


@pytest.mark.parametrize(
    "line",
    [
        "sysinfo",
        "debug",
        "dummy",
        "chatgpt --api_key k -c FILE",
        "llamacpp --model_path /m.gguf --visible_gpu 0,1",
        "ollama",
    ],
)
def test_what_is_shown_can_be_read_again(line: str, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text('stop: ["END"]\nlogit_bias: {1: 2}\n')
    plan = plan_of(line.replace("FILE", str(tmp_path / "g.yaml")) + " --host 127.0.0.1")
    file = tmp_path / "trunkcall.yaml"
    file.write_text(show(plan))
    again = load(config=file, home=tmp_path, environ={}, flags=Flags()).settings
    assert config.show(again)["models"] == config.show(plan.settings)["models"]
    assert config.show(again)["listen"] == config.show(plan.settings)["listen"]


# Generation parameters


@pytest.mark.parametrize(
    ("name", "text", "flags", "expected"),
    [
        ("g.yaml", "", "", {"temperature": 0.5}),
        ("g.yaml", "temperature: 0.9", "", {"temperature": 0.9}),
        ("g.yml", "temperature: 0.9", "--temperature 0.1", {"temperature": 0.1}),
        ("g.yaml", "temperature: 0.9", "--temperature=0.1", {"temperature": 0.1}),
        ("g.yaml", "temperature: 0.9", "--temperature 0.5", {"temperature": 0.5}),
        ("g.YAML", "temperature: null\ntop_p: null", "", {"temperature": 0.5}),
        ("g.json", '{"temperature": 1, "stop": ["END"], "logit_bias": {"7": -1}}', "--seed 7 --n=2",
         {"temperature": 1, "stop": ["END"], "logit_bias": {"7": -1}, "seed": 7, "n": 2}),
    ],
)  # fmt: skip
def test_flags_win_over_the_file_and_the_file_over_what_is_built_in(
    name: str, text: str, flags: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert generation(plan_of(f"chatgpt -c {tmp_path / name} {flags}")) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("g.toml", "temperature = 1", ".yaml, .yml, .json"),
        ("g.yaml", "- 1", "must be a mapping"),
        ("g.json", "[1]", "must be a mapping"),
        ("g.json", "{", "is damaged"),
        ("g.yaml", "a: [", "is damaged"),
        ("g.json", "[" * 100_000, "is damaged"),
        ("g.yaml", "temperature: hot", "temperature: 'hot' is not a number"),
        ("g.yaml", "max_tokens: 1.5", "max_tokens: 1.5 is not a whole number"),
        ("g.yaml", "max_tokens: true", "max_tokens: True is not a whole number"),
        ("g.yaml", "temperature: .nan", "temperature: nan cannot be sent"),
        ("g.yaml", "until: 2024-01-01", "until: datetime.date(2024, 1, 1) cannot be sent"),
        ("g.yaml", "a: &a [*a]", "cannot be sent"),
        ("g.yaml", "1: 2", "1: the name of a parameter must be text"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_name(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ServingError) as caught:
        plan_of(f"chatgpt --generation_config {tmp_path / name}")
    assert caught.value.kind == "bad_request"
    assert str(tmp_path / name) in caught.value.message
    assert said in caught.value.message


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ServingError, match=r"/nowhere/g\.yaml cannot be read"):
        plan_of("chatgpt -c /nowhere/g.yaml")


def test_words_and_pairs_are_parameters_too() -> None:
    plan = plan_of("ollama --generation_kwargs num_predict=9 temperature=0.1 stop=END top_k=4")
    assert generation(plan) == {"max_tokens": 9, "temperature": 0.1, "stop": "END", "top_k": 4}
    assert any("top_k" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", None), ("--system_prompt Be_kind", "Be_kind"), ("--system_prompt Be_kind --no_system_prompt", None)],
)
def test_a_system_prompt_can_be_left_out(flags: str, expected: str | None) -> None:
    assert served(plan_of(f"chatgpt {flags}")).get("system_prompt") == expected


# Real starts


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("line", "said", "answer"),
    [
        ("debug --delay 0 --executor_path /talk", "h\u00e9llo", "h\u00e9llo"),
        ("dummy --delay 0", "hi", DUMMY_SAYS),
        ("debug --delay 0", "", "[No input message entered]"),
        ("chatgpt", "hi", NO_KEY_OPENAI),
        ("chatgpt --use_third_party_api_key", "hi", NO_KEY_THIRD_PARTY),
    ],
)
def test_it_serves(line: str, said: str, answer: str, tmp_path: Path) -> None:
    path = "/talk" if "/talk" in line else "/chat"
    with started(tmp_path / "home", "kuwa-executor", *line.split(), "--ignore_kernel", "--port", "0") as (process, url):
        assert ask(url, said, path) == (200, answer)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.timeout(180)
def test_two_of_one_kind_run_side_by_side(tmp_path: Path) -> None:
    with (
        started(tmp_path, "kuwa-executor", "debug", "--ignore_kernel", "--delay", "0") as (_, one),
        started(tmp_path, "kuwa-executor", "debug", "--ignore_kernel", "--delay", "0") as (_, other),
    ):
        assert ask(one, "a") == (200, "a")
        assert ask(other, "b") == (200, "b")


@pytest.mark.timeout(180)
def test_chatgpt_asks_its_upstream_with_the_users_key_or_its_own(tmp_path: Path) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    with upstream(seen) as base:
        line = f"chatgpt --base_url {base}/v1 --model m --temperature 0.25 --system_prompt Be --api_key own"
        with started(tmp_path, "kuwa-executor", *line.split(), "--ignore_kernel") as (_, url):
            assert ask(url, "hi")[1] == "yes"
            modelfile = '[{"name":"parameter","args":"llm_temperature 1"}]'
            assert ask(url, "hi", openai_token="user", modelfile=modelfile)[1] == "yes"
    keys = [key for key, _ in seen]
    assert keys == ["Bearer own", "Bearer user"]
    first, second = (body for _, body in seen)
    assert (first["model"], first["temperature"], second["temperature"]) == ("m", 0.25, 1)
    assert [one["role"] for one in first["messages"]] == ["system", "user"]


@contextmanager
def upstream(seen: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """An OpenAI server that says yes, and notes keys and bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.headers["authorization"], json.loads(body)))
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            said = {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}
            data = f"data: {json.dumps({**chunk, 'choices': [said]})}\n\ndata: [DONE]\n\n".encode()
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join(5)
        server.server_close()
